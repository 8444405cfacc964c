"""A journey as its owner writes it: a path, parts, views and steps. Inert: nothing runs by importing it."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from tierline.errors import StackError, choices, nearest
from tierline.journeys.annotations import annotations_of, signature_of, waits
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
from tierline.journeys.policy import MISSING, Bulkhead, Cache, Policy, Requires, bound, policy

if TYPE_CHECKING:
    from tierline.journeys.dimensions import Dimension
    from tierline.journeys.entity import Entities
    from tierline.journeys.schedule import Shape
    from tierline.journeys.testing import Outcome

F = TypeVar("F", bound=Callable[..., Any])

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


class Journey:
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

    def wrong(self, place: Place, text: str) -> StackError:
        """A mistake in this journey, with where it is."""
        return StackError(f"journey {self.name!r}: {text} ({place})")

    @overload
    def part(self, function: F, /) -> F: ...
    @overload
    def part(
        self,
        /,
        *,
        deadline: str | float | None = None,
        retries: int = 0,
        hedge: str | float | None = None,
        fallback: Any = MISSING,
        cache: Cache | str | float | None = None,
        bulkhead: Bulkhead | int | None = None,
        hidden: bool = False,
        requires: bool | str | Iterable[str] | Mapping[str, Any] | None = None,
        forward_errors: int | Iterable[int] = (),
        when: Callable[..., Any] | str | None = None,
        defer: bool = False,
        name: str = "",
    ) -> Callable[[F], F]: ...
    def part(
        self,
        function: Any = None,
        /,
        *,
        deadline: str | float | None = None,
        retries: int = 0,
        hedge: str | float | None = None,
        fallback: Any = MISSING,
        cache: Cache | str | float | None = None,
        bulkhead: Bulkhead | int | None = None,
        hidden: bool = False,
        requires: bool | str | Iterable[str] | Mapping[str, Any] | None = None,
        forward_errors: int | Iterable[int] = (),
        when: Callable[..., Any] | str | None = None,
        defer: bool = False,
        name: str = "",
    ) -> Any:
        """Add a part. It names what it needs by its parameters, and is returned unchanged.

        deadline: what it may take. retries: how often it is tried again, with jitter.
        hedge: start a second call when the first has not answered for this long.
        fallback: the value (or a function without parameters) that stands in when it fails.
        cache: a Cache, or a duration for a public one. bulkhead: a Bulkhead, or how many may run at once.
        hidden: other parts and views see it, the default answer does not.
        requires: what the caller's token must say, as for a Journey. For another caller the part isn't run: its fallback
        stands in; without one the whole request is refused.
        forward_errors: statuses (400 to 499) of services whose problem documents may be shown to the client.
        when: the name of an input, dimension or part, or a function of such: the part runs only if that is true. Else it,
        and what nobody else needs, is not run, and its value is None: its field is missing where its type has no None.
        defer: where the answer is sent in pieces, a stream or a page, it comes after the first screen.
        """
        words = {
            "deadline": deadline,
            "retries": retries,
            "hedge": hedge,
            "fallback": fallback,
            "cache": cache,
            "bulkhead": bulkhead,
            "hidden": hidden,
            "requires": requires,
            "forward_errors": forward_errors,
            "when": when,
            "defer": defer,
        }
        if function is None:
            return lambda given: self._add(given, name, words, 0)
        return self._add(function, name, words, 0)

    def live(
        self,
        *,
        deadline: str | float | None = None,
        fallback: Any = MISSING,
        heartbeat: str | float = "15s",
        requires: bool | str | Iterable[str] | Mapping[str, Any] | None = None,
        name: str = "",
    ) -> Callable[[F], F]:
        """Add a live part: an async generator. A stream sends each of its values, until the client leaves or it ends; any
        other answer has the first one.

        It yields values, or `Event(value, id="42")`; with a parameter `last_event_id` it is told the id of the last event
        that a client which connects again has had, "" the first time. deadline, fallback: of the first value.
        heartbeat: a comment is sent after so much silence, so that no tier in between ends the stream.
        """
        words = {"deadline": deadline, "fallback": fallback, "requires": requires}

        def add(function: F) -> F:
            if not inspect.isasyncgenfunction(function):
                raise self.wrong(
                    place_of(function), "a live part is an async generator: async def with yield"
                )
            beat = bound(heartbeat, f"live part {name or function.__name__!r}, heartbeat")
            return self._add(function, name, words, 0, live=beat)

        return add

    @overload
    def guard(self, function: F, /) -> F: ...
    @overload
    def guard(self, /, *, deadline: str | float | None = None, name: str = "") -> Callable[[F], F]: ...
    def guard(self, function: Any = None, /, *, deadline: str | float | None = None, name: str = "") -> Any:
        """Add a guard: it runs before every part, for every view, and refuses by raising (Unauthorized, Forbidden, …).

        It names what it needs as a part does, and what it needs is all that runs before it. What it returns can be
        named by parts. One that fails or takes longer than `deadline` refuses.
        """
        words = {"deadline": deadline, "hidden": True}
        if function is None:
            return lambda given: self._add(given, name, words, 0, "guard")
        return self._add(function, name, words, 0, "guard")

    @overload
    def effect(self, function: F, /) -> F: ...
    @overload
    def effect(
        self,
        /,
        *,
        deadline: str | float | None = None,
        retries: int = 0,
        hidden: bool = False,
        requires: bool | str | Iterable[str] | Mapping[str, Any] | None = None,
        forward_errors: int | Iterable[int] = (),
        drops: Iterable[Any] = (),
        name: str = "",
    ) -> Callable[[F], F]: ...
    def effect(
        self,
        function: Any = None,
        /,
        *,
        deadline: str | float | None = None,
        retries: int = 0,
        hidden: bool = False,
        requires: bool | str | Iterable[str] | Mapping[str, Any] | None = None,
        forward_errors: int | Iterable[int] = (),
        drops: Iterable[Any] = (),
        name: str = "",
    ) -> Any:
        """Add an effect: a part that changes something. Effects run one after the other, in the order written, once all
        that they need has succeeded, and before the parts that only the answer needs.

        One that has begun is not cancelled: neither by a client that leaves nor by another part's failure. Each
        has an idempotency key (the request's `Idempotency-Key`, else one that is kept in the session), which goes with
        its calls; a request with the same key gets the same value without running it again. `retries` use that key.
        drops: what it makes old in this application's caches: Entities, or tags, `"products:{product_id}"`, with the names of
        the effect's parameters; a Cache's `keys` are tags too.
        """
        words = {
            "deadline": deadline,
            "retries": retries,
            "hidden": hidden,
            "requires": requires,
            "forward_errors": forward_errors,
            "drops": drops,
        }
        if function is None:
            return lambda given: self._add(given, name, words, 0, "effect")
        return self._add(function, name, words, 0, "effect")

    def compensate(self, effect: str) -> Callable[[F], F]:
        """Add what undoes an effect when a later one fails: `@checkout.compensate("payment")`.

        The function names what it needs, the effect's own value too. Compensations run in reverse order.
        """

        def add(function: F) -> F:
            place = place_of(function)
            part = self.parts.get(effect)
            if part is None or part.kind != "effect":
                known = [name for name, each in self.parts.items() if each.kind == "effect"]
                raise self.wrong(
                    place,
                    f"compensate({effect!r}): no such effect{nearest(effect, known)} available: {choices(known)}",
                )
            if effect in self.compensations:
                raise self.wrong(
                    place, f"{effect!r} has a compensation already, at {self.compensations[effect].place}"
                )
            self.compensations[effect] = Part(effect, function, Policy(hidden=True), place)
            return function

        return add

    def batch(
        self, *, most: int = 100, name: str = "", deadline: str | float | None = None
    ) -> Callable[[F], F]:
        """Add a look-up: a function of a list of keys, called once for all keys asked for at one moment.

        Parts receive it as a function of one key: `await poster_of(film_id)`, or `await poster_of.many(ids)`.
        Its first parameter is the list of keys; it returns a mapping, or a sequence in the order of the keys.
        """
        if most < 1:
            raise self.wrong(self.place, f"batch(most={most}): at least 1")
        return lambda given: self._add(given, name, {"deadline": deadline, "hidden": True}, most)

    def _add(
        self,
        function: F,
        name: str,
        words: Mapping[str, Any],
        batch: int,
        kind: Literal["part", "guard", "effect"] = "part",
        live: float = 0,
    ) -> F:
        place = place_of(function)
        name = name or getattr(function, "__name__", "")
        if (inspect.isasyncgenfunction(function) and not live) or inspect.isgeneratorfunction(function):
            raise self.wrong(
                place, f"part {name!r} is a generator; a part returns one value, @journey.live yields several"
            )
        try:
            found = policy(**words)
        except StackError as error:
            raise self.wrong(place, f"part {name!r}, {error}") from None
        resumes = bool(live) and LAST in signature_of(function).parameters
        self.add(Part(name, function, found, place, batch, kind, None, bool(live), live or 15.0, resumes))
        return function

    def add(self, part: Part) -> None:
        """Adds a part whose name is free. Raises StackError for another."""
        name, place = part.name, part.place
        if not name.isidentifier():
            raise self.wrong(place, f"a part needs a name that can be a parameter, not {name!r}")
        if name in self.parts:
            raise self.wrong(place, f"part {name!r} exists already, at {self.parts[name].place}")
        if name in RESERVED:
            raise self.wrong(place, f"part {name!r} has the name of {RESERVED[name]}; give it another")
        if part.kind == "effect" and set(self.methods) & {"GET"}:
            raise self.wrong(
                place,
                f'effect {name!r}: {self.path} answers GET, which must change nothing; methods=["POST"]',
            )
        if name in self.path_names or name in self.dimensions:
            what = f"a value in the path {self.path}" if name in self.path_names else "a dimension"
            raise self.wrong(place, f"part {name!r} has the name of {what}")
        self.parts[name] = part

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
