"""A journey as its owner writes it: a path, parts, views and steps. Inert: nothing runs by importing it."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from tierline.errors import StackError
from tierline.journeys.adding import Adding, F
from tierline.journeys.annotations import annotations_of, waits
from tierline.journeys.declared import (
    BUILTINS,
    LAST,
    METHODS,
    RESERVED,
    Part,
    Place,
    Step,
    View,
    kind_of,
    place_of,
)
from tierline.journeys.markup import HTML
from tierline.journeys.policy import Cache, Requires, bound

if TYPE_CHECKING:
    from tierline.journeys.dimensions import Dimension
    from tierline.journeys.entity import Entities
    from tierline.journeys.schedule import Shape
    from tierline.journeys.testing import Outcome


_PATH = re.compile(r"(/([A-Za-z0-9._~!$&'()*+,;=:@%-]+|\{[A-Za-z_]\w*\}))+|/")
__all__ = [
    "BUILTINS",
    "LAST",
    "METHODS",
    "RESERVED",
    "Journey",
    "Part",
    "Place",
    "Step",
    "View",
    "kind_of",
    "place_of",
]


class Journey(Adding):
    """A business journey of a user, answered as one request.

    name: what trips, metrics and generated clients call it.
    path: `/film/{film_id}`; names in braces are values that parts can ask for.
    deadline: what all parts together may take; a request that brings less time has less.
    methods: how it is asked for; anything but GET is never cached.
    cache: the cache policy of parts that have none of their own and depend on nobody in particular.
    requires: what the caller's verified token must say before anything runs: True, a scope, a list of scopes, or
    claims; 401 without a token, 403 otherwise.
    most: the largest answer in bytes; a larger one is refused, naming the part.
    most_calls: how many calls to services one request may make; the next one fails its part.
    private: answers are each caller's own: `Cache-Control: private`, and requests bypass the HTTP cache.
    uses: what parts and views may name and other journeys use too: dimensions, entities.
    """

    def __init__(
        self,
        name: str,
        path: str,
        *,
        deadline: str | float = "5s",
        methods: Iterable[str] = ("GET",),
        cache: Cache | str | float | None = None,
        requires: bool | str | Iterable[str] | Mapping[str, Any] | None = None,
        most: int = 8 * 1024 * 1024,
        most_calls: int = 200,
        private: bool = False,
        uses: Iterable[Dimension | Entities] = (),
        about: str = "",
    ) -> None:
        frame = sys._getframe(1)
        self.place = Place(frame.f_code.co_filename, frame.f_lineno)
        if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9_-]*", name):
            raise StackError(
                f"Journey.name: {name!r} is not allowed; allowed: lower case letters, digits, '-' and '_' "
                f"({self.place})"
            )
        if not isinstance(path, str) or not _PATH.fullmatch(path):
            raise StackError(
                f"Journey {name!r}, path: {path!r} is not a path such as /film/{{film_id}} ({self.place})"
            )
        if path == "/-" or path.startswith("/-/"):
            raise StackError(
                f"Journey {name!r}, path: {path!r} is among the application's own, such as /-/health; allowed: paths that don't "
                f"begin with /-/ ({self.place})"
            )
        self.name = name
        self.path = path
        self.path_names: tuple[str, ...] = tuple(re.findall(r"\{(\w+)\}", path))
        if len(set(self.path_names)) != len(self.path_names):
            raise StackError(f"Journey {name!r}, path: {path!r} names a value twice ({self.place})")
        self.deadline = bound(deadline, f"Journey {name!r}, deadline")
        self.methods = (methods.upper(),) if isinstance(methods, str) else tuple(m.upper() for m in methods)
        for method in self.methods:
            if method not in METHODS:
                raise StackError(
                    f"Journey {name!r}, methods: {method!r} is not allowed; allowed: {', '.join(METHODS)} "
                    f"({self.place})"
                )
        self.cache = Cache(cache) if isinstance(cache, (str, int, float)) else cache
        try:
            self.requires = None if requires is None else Requires(requires)
        except StackError as error:
            raise StackError(f"Journey {name!r}, {error} ({self.place})") from None
        self.most = most
        self.most_calls = most_calls
        self.private = private
        self.about = about
        for value in self.path_names:
            if value in RESERVED:
                raise StackError(
                    f"Journey {name!r}, path: {value!r} in {path!r} is the name of {RESERVED[value]} ({self.place})"
                )
        self.parts: dict[str, Part] = {}
        self.compensations: dict[str, Part] = {}
        self.complete = True
        """False for a copy some of whose parts are faked: what these need is not read any more."""
        self.views: list[View] = []
        self.pieces: list[View] = []
        """The views of deferred parts."""
        self.steps: list[Step] = []
        self.dimensions: dict[str, Dimension] = {}
        for each in uses:
            if not hasattr(each, "joins"):
                raise self.wrong(self.place, f"uses: {each!r} is neither a Dimension nor Entities")
            each.joins(self)

    def __repr__(self) -> str:
        return f"Journey({self.name!r}, {self.path!r}, parts={list(self.parts)})"

    def view(
        self, client: Any, *, media: str = "", since: str = "", stream: bool = False, of: str = ""
    ) -> Callable[[F], F]:
        """Add a view: what this kind of client sees of the parts that the function names.

        media: "text/html" for a view that returns HTML; else by the function's return annotation.
        since: the first app version (header `x-app-version`) that understands it, e.g. "3.2".
        stream: `?stream` may send this client the parts themselves, as they are before the view.
        of: the deferred part that this is the piece of the client's page for.
        """
        kind = kind_of(client)

        def add(function: F) -> F:
            place = place_of(function)
            if waits(function):
                raise self.wrong(
                    place,
                    "a view is a plain function that returns its answer, neither async nor a generator; move what it "
                    "waits for into a part that it names",
                )
            try:
                version = tuple(int(number) for number in since.split(".")) if since else ()
            except ValueError:
                raise self.wrong(place, f"view since={since!r} is not a version such as '3.2'") from None
            returns = annotations_of(function).get("return")
            html = returns is HTML or returns == "HTML"
            found = media or ("text/html" if html else "application/json")
            if of and (since or stream or found != "text/html"):
                raise self.wrong(
                    place, "a piece of a page, view(of=…), returns HTML; since= and stream= are its page's"
                )
            views = self.pieces if of else self.views
            for other in views:
                if (other.kind, other.media, other.since, other.of) == (kind, found, version, of):
                    raise self.wrong(place, f"{kind} has a view for {found} already, at {other.place}")
            name = getattr(function, "__name__", kind)
            views.append(View(kind, name, function, found, version, stream, place, of))
            return function

        return add

    def step(self, funnel: str, *, after: Journey | str = "", required: bool = False) -> Journey:
        """Make this journey a step of a funnel, after another: `checkout.step("buy", after=film)`.

        required: a visitor who has not reached the step before is refused: 409, with `go_to`, the path of that step.
        """
        if required and not isinstance(after, Journey):
            raise self.wrong(
                self.place, "step(required=True) needs after=, the journey that has to come first"
            )
        before = after.name if isinstance(after, Journey) else after
        index = 0
        if isinstance(after, Journey):
            found = [step for step in after.steps if step.funnel == funnel]
            if not found:
                raise self.wrong(self.place, f"step after {before!r}, which is not in the funnel {funnel!r}")
            index = found[0].index + 1
        back = after.path if isinstance(after, Journey) else ""
        self.steps.append(Step(funnel, index, before, required, back))
        return self

    def shape(self, services: Iterable[str] | None = None) -> Shape:
        """Every name resolved and every type checked. Raises StackError with file and line.

        services: the names that parts may ask for besides their inputs; None takes any.
        """
        from tierline.journeys.schedule import resolve

        return resolve(self, None if services is None else set(services))

    @property
    def needs(self) -> tuple[str, ...]:
        """The services and resources that the parts ask for by name."""
        return self.shape().services

    def call(
        self,
        *,
        client: Any = "web",
        fakes: Mapping[str, Any] | None = None,
        session: Mapping[str, Any] | None = None,
        identity: Mapping[str, Any] | None = None,
        locale: str = "en",
        version: str = "",
        affiliate: str = "",
        headers: Mapping[str, str] | None = None,
        body: Any = None,
        **values: Any,
    ) -> Coroutine[Any, Any, Outcome]:
        """Call the journey without a line: `asyncio.run(film.call(film_id=1, client="mobile", fakes={...}))`.

        fakes: by name of a part (its value, or a function to run instead) or of a service (any object, or
        `{"GET /films/1": {...}}`). values: path and query values; one that the journey doesn't take is a TypeError,
        what a fake service doesn't know an AssertionError. version: of the mobile application. affiliate: the partner.
        """
        from tierline.journeys.testing import call

        asks = {"accept-language": locale, "x-app-version": version, "x-affiliate": affiliate}
        sent = {**{name: said for name, said in asks.items() if said}, **(headers or {})}
        return call(self, values, fakes or {}, kind_of(client), session, identity, sent, body)
