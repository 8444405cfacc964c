"""From a path and a client to the plan that answers: worked out when the application is built."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tierline.errors import StackError
from tierline.journeys.answer import Choice
from tierline.journeys.fault import BadInput, Forbidden, Unauthorized
from tierline.journeys.journey import Journey
from tierline.journeys.negotiate import best_media, tree_of, unknown_field, version_of, wanted_of
from tierline.journeys.plan import Loaders, plan
from tierline.journeys.policy import MISSING
from tierline.journeys.request import Reading
from tierline.journeys.schedule import Shape
from tierline.journeys.selection import source_of

VIEWERS = ("web", "mobile", "affiliate")
CLIENT = b"x-client"
CHALLENGE = {"www-authenticate": "Bearer"}
_REMEMBERED = 256
"""Most outcomes of negotiation that a journey keeps; what clients say beyond that is worked out each time."""


class Route:
    """A journey with its ways to answer, by kind of client."""

    __slots__ = (
        "_chosen",
        "_dated",
        "_fields",
        "_loaders",
        "_partial",
        "_positions",
        "_variants",
        "_version",
        "choices",
        "journey",
        "methods",
        "services",
        "shape",
        "vary",
    )

    def __init__(
        self,
        journey: Journey,
        shape: Shape,
        services: Mapping[str, Any],
        kinds: Iterable[str],
        loaders: Loaders,
        reading: Reading,
    ) -> None:
        self.journey = journey
        self.shape = shape
        self.services = dict(services)
        self._loaders = loaders
        self.methods = frozenset((*journey.methods, *(("HEAD",) if "GET" in journey.methods else ())))
        pieces = journey.path.split("/")
        # From the end: the last piece may be all that there is of a path.
        self._positions = {
            piece[1:-1]: i - len(pieces) for i, piece in enumerate(pieces) if piece.startswith("{")
        }
        self._fields: dict[str, tuple[str, ...]] = {
            "locale": ("accept-language",),
            "affiliate": (reading.affiliate,),
            "version": (reading.version,),
            **{name: each.vary for name, each in journey.dimensions.items()},
        }
        """Which fields of a request an input is read from."""
        self.vary = _vary(journey, reading)
        self._version = reading.version.encode()
        self._dated = any(view.since for view in journey.views)
        self._chosen: dict[tuple[bytes, bytes | None, bytes | None, bool], Choice] = {}
        self._partial: dict[tuple[int, tuple[str, ...]], Choice] = {}
        self._variants: dict[tuple[int, tuple[str, ...] | None, frozenset[str]], Choice] = {}
        standard: Choice | None = None
        self.choices: dict[bytes, tuple[Choice, ...]] = {}
        for kind in kinds:
            views = [view for view in journey.views if view.kind == kind]
            found = [self._choice(view) for view in sorted(views, key=lambda v: v.since, reverse=True)]
            # The parts themselves are the JSON of a client that has no JSON view of its own.
            if not any(view.media == "application/json" and not view.since for view in views):
                standard = standard or self._choice(None)
                found.append(standard)
            self.choices[kind.encode()] = tuple(found)
        for view in journey.views:
            if view.kind.encode() not in self.choices:
                raise journey.wrong(
                    view.place,
                    f"view {view.name!r} is for {view.kind!r}; the clients are: {', '.join(kinds)}",
                )

        self._read_by_somebody()

    def _read_by_somebody(self) -> None:
        """A part that every client's view leaves out would never run."""
        run = {
            name for choices in self.choices.values() for choice in choices for name in choice.plan.covered
        }
        for name, part in self.journey.parts.items():
            if name not in run and self.journey.complete and part.entities is None:
                raise self.journey.wrong(
                    part.place,
                    f"part {name!r} is in no client's view and no other part needs it, so it would never run; name it "
                    "in a view, or, if it is to refuse callers, make it a guard: @journey.guard",
                )

    def _choice(
        self, view: Any, only: tuple[str, ...] | None = None, denied: frozenset[str] = frozenset()
    ) -> Choice:
        found = plan(self.shape, view, self.services, self._loaders, only, denied)
        fields = (field for name in found.inputs for field in self._fields.get(name, ()))
        return Choice(found, self._positions, (*self.vary, *fields), only)

    def permitted(self, choice: Choice, identity: Mapping[str, Any] | None) -> Choice:
        """The choice without what the caller's token doesn't allow. Raises Unauthorized or Forbidden."""
        denied = []
        for name, requires in self.shape.requires.items():
            if (name and name not in choice.plan.covered) or requires.met(identity):
                continue
            if not name or self.journey.parts[name].policy.fallback is MISSING:
                if identity is None:
                    raise Unauthorized(f"{self.journey.name} needs {requires}", headers=CHALLENGE)
                raise Forbidden(f"the token does not hold: {requires}")
            denied.append(name)
        return self.without(choice, frozenset(denied)) if denied else choice

    def without(self, choice: Choice, names: frozenset[str]) -> Choice:
        """The same answer where the values of these parts are given from elsewhere."""
        names |= frozenset(choice.plan.denied)
        asked = (id(choice.view), choice.only, names)
        found = self._variants.get(asked)
        if found is None:
            found = self._choice(choice.view, choice.only, names)
            if len(self._variants) < _REMEMBERED:
                self._variants[asked] = found
        return found

    def choose(self, headers: Mapping[bytes, bytes], streams: bool = False) -> Choice | None:
        """By kind of client, app's version, and what the client accepts; None when it accepts nothing there is."""
        kind = headers.get(CLIENT, b"web")
        asked = (kind, headers.get(b"accept"), headers.get(self._version) if self._dated else None, streams)
        choice = self._chosen.get(asked)
        if choice is not None:
            return choice
        choices = self.choices.get(kind)
        if choices is None:
            return None
        choice = self._negotiate(choices, headers, streams)
        if choice is not None and len(self._chosen) < _REMEMBERED:
            self._chosen[asked] = choice
        return choice

    def _negotiate(
        self, choices: tuple[Choice, ...], headers: Mapping[bytes, bytes], streams: bool
    ) -> Choice | None:
        version = version_of(headers.get(self._version, b"").decode("latin-1"))
        offered: dict[str, Choice] = {}
        for choice in choices:
            if choice.view is None or not choice.view.since or (version and choice.view.since <= version):
                offered.setdefault(choice.media, choice)
        accept = "application/json" if streams else headers.get(b"accept", b"").decode("latin-1")
        # A client that does not mind gets JSON: programs say nothing, browsers say text/html.
        names = tuple(sorted(offered, key=lambda media: media != "application/json"))
        best = best_media(accept, names)
        return None if best is None else offered[best]

    def partial(self, choice: Choice, fields: str) -> Choice:
        """`?fields=`: parts that only other fields need are not even called."""
        tree = tree_of(wanted_of(fields))
        names: tuple[str, ...] | None
        if choice.view is not None:
            made = source_of(choice.view.function) if choice.media == "application/json" else None
            names = made.paths(tree) if made is not None else None
        else:
            known = choice.plan.shown
            names = tuple(name for name in known if name in tree) if tree.keys() <= set(known) else None
        if not names:
            return choice
        asked = (id(choice.view), names)
        found = self._partial.get(asked)
        if found is None:
            if len(self._partial) >= _REMEMBERED:
                del self._partial[next(iter(self._partial))]
            found = self._partial[asked] = self._choice(choice.view, names)
        return found

    def known(self, choice: Choice, fields: str) -> None:
        """Refuses `?fields=` of fields that there are none of, before anything is changed."""
        shown: tuple[str, ...]
        if choice.view is not None:
            made = source_of(choice.view.function) if choice.media == "application/json" else None
            if made is None:
                return
            shown = tuple(made.fields)
        else:
            shown = choice.plan.shown if choice.only is None else tuple(self.shape.default_parts())
        unknown = {name.strip().split(".")[0] for name in fields.split(",")} - {"", *shown}
        if unknown or not fields.strip(", "):
            raise BadInput([unknown_field(name, shown) for name in sorted(unknown) or [""]])

    @property
    def media(self) -> list[str]:
        return sorted({choice.media for choices in self.choices.values() for choice in choices})


def _vary(journey: Journey, reading: Reading) -> list[str]:
    """Which fields of a request the choice of an answer depends on."""
    found = ["x-client"]
    if any(view.media != "application/json" for view in journey.views):
        found.append("accept")
    if any(view.since for view in journey.views):
        found.append(reading.version)
    return found


class Table:
    """All routes of an application."""

    def __init__(self, routes: list[Route]) -> None:
        self.routes = routes
        self._static: dict[str, list[Route]] = {}
        self._dynamic: dict[tuple[int, str], list[tuple[list[tuple[int, str]], Route]]] = {}
        taken: dict[tuple[str, str], Journey] = {}
        for route in routes:
            journey = route.journey
            shape = "/".join("{}" if piece.startswith("{") else piece for piece in journey.path.split("/"))
            for method in journey.methods:
                other = taken.setdefault((method, shape), journey)
                if other is not journey:
                    raise StackError(
                        f"journeys {other.name!r} ({other.place}) and {journey.name!r} ({journey.place}) "
                        f"both answer {method} {journey.path}"
                    )
            pieces = journey.path.split("/")
            literals = [(i, piece) for i, piece in enumerate(pieces) if not piece.startswith("{")]
            if len(literals) == len(pieces):
                self._static.setdefault(journey.path, []).append(route)
            else:
                first = "" if pieces[1].startswith("{") else pieces[1]
                self._dynamic.setdefault((len(pieces), first), []).append((literals, route))
        for entries in self._dynamic.values():
            entries.sort(key=lambda entry: -len(entry[0]))
        # Where all but the last piece says it all, as it mostly does: `/film/{film_id}`.
        self._ends: dict[str, list[Route]] = {}
        for (length, first), entries in self._dynamic.items():
            literals, route = entries[0]
            if first and len(entries) == 1 and len(literals) == length - 1:
                head, _, last = route.journey.path.rpartition("/")
                if last.startswith("{"):
                    self._ends[head] = [route]

    def find(self, path: str) -> tuple[list[Route], Sequence[str]]:
        """The routes of a path, and its pieces: all of them, or only the last."""
        found = self._static.get(path)
        if found is not None:
            return found, ()
        head, _, last = path.rpartition("/")
        found = self._ends.get(head)
        if found is not None and last:
            return found, (last,)
        pieces = path.split("/")
        if len(pieces) < 2:
            return [], pieces
        for key in ((len(pieces), pieces[1]), (len(pieces), "")):
            matching: list[Route] = []
            for literals, route in self._dynamic.get(key, ()):
                for position, text in literals:
                    if pieces[position] != text:
                        break
                else:
                    matching.append(route)
            if matching and all(pieces[1:]):
                return matching, pieces
        return [], pieces
