"""What a journey is made of, as its owner adds it: parts, guards, effects, look-ups."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from tierline.errors import StackError, choices, nearest
from tierline.journeys.annotations import signature_of
from tierline.journeys.declared import LAST, RESERVED, Part, Place, place_of
from tierline.journeys.policy import MISSING, Bulkhead, Cache, Policy, bound, policy

if TYPE_CHECKING:
    from tierline.journeys.dimensions import Dimension

F = TypeVar("F", bound=Callable[..., Any])

_NOT_GUARDS = {
    "when": "a guard runs for every request; write the condition in its body, `if not express: return`",
    "fallback": "a guard that fails refuses, and nothing may stand in for it",
    "cache": "a guard runs for every request; give the cache to a part that it names",
    "requires": "write it at the journey, Journey(requires=…), or raise Forbidden in the guard",
    "retries": "move the call into a part with retries=, and name that part",
    "hedge": "move the call into a part with hedge=, and name that part",
    "bulkhead": "move the call into a part with bulkhead=, and name that part",
    "forward_errors": "move the call into a part with forward_errors=, and name that part",
    "hidden": "a guard is never part of the answer",
}
_NOT_EFFECTS = {
    "when": "write the condition in its body, `if not express: return None`; then it changes nothing, and its None is "
    "what is answered for the same idempotency key",
    "fallback": "an effect that fails fails the request; what undoes the effects before it is @journey.compensate",
    "cache": "an effect's value is kept under its idempotency key",
    "hedge": "a second call would change things twice; retries= sends again with the same idempotency key",
    "bulkhead": "effects run one after the other; bound calls at the service",
    "defer": "effects run before anything is answered",
}
"""Words of parts that others haven't, and what to write instead."""


class Adding:
    """The half of a Journey that takes its parts."""

    name: str
    path: str
    place: Place
    path_names: tuple[str, ...]
    methods: tuple[str, ...]
    parts: dict[str, Part]
    compensations: dict[str, Part]
    dimensions: dict[str, Dimension]

    def wrong(self, place: Place, text: str) -> StackError:
        """A mistake in this journey, with where it is."""
        return StackError(f"journey {self.name!r}: {text} ({place})")

    def _refuse(self, kind: str, words: Mapping[str, Any], why: Mapping[str, str]) -> None:
        """Raises StackError for a word of parts, with what to write instead, and TypeError for any other."""
        for word in words:
            if word not in why:
                raise TypeError(f"Journey.{kind}() got an unexpected keyword argument {word!r}")
            frame = sys._getframe(2)
            raise self.wrong(
                Place(frame.f_code.co_filename, frame.f_lineno), f"{kind}({word}=…): {why[word]}"
            )

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
    def guard(
        self, function: Any = None, /, *, deadline: str | float | None = None, name: str = "", **others: Any
    ) -> Any:
        """Add a guard: it runs before every part, for every view, and refuses by raising (Unauthorized, Forbidden, …).

        It names what it needs as a part does, and what it needs is all that runs before it. What it returns can be
        named by parts. One that fails or takes longer than `deadline` refuses.
        """
        self._refuse("guard", others, _NOT_GUARDS)
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
        **others: Any,
    ) -> Any:
        """Add an effect: a part that changes something. Effects run one after the other, in the order written, once all
        that they need has succeeded, and before the parts that only the answer needs.

        One that has begun is not cancelled: neither by a client that leaves nor by another part's failure. Each
        has an idempotency key (the request's `Idempotency-Key`, else one that is kept in the session), which goes with
        its calls; a request with the same key gets the same value without running it again. `retries` use that key.
        drops: what it makes old in this application's caches: Entities, or tags, `"products:{product_id}"`, with the names of
        the effect's parameters; a Cache's `keys` are tags too.
        """
        self._refuse("effect", others, _NOT_EFFECTS)
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
