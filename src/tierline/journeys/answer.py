"""From a plan's values to the bytes and headers of an answer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from zlib import crc32

import msgspec

from tierline.journeys.degraded import Degraded, degraded
from tierline.journeys.encoding import plain
from tierline.journeys.fault import BadInput, TooLarge, WrongType, released
from tierline.journeys.journey import View
from tierline.journeys.markup import HTML
from tierline.journeys.negotiate import among, pick, unknown_field, wanted_of
from tierline.journeys.plan import Plan
from tierline.journeys.policy import CREDENTIALS, MISSING, Cache
from tierline.journeys.reply import Reply
from tierline.journeys.request import Filler
from tierline.journeys.run import Failure, Run
from tierline.journeys.tags import OWN, names_in, token

Headers = list[tuple[bytes, bytes]]

JSON = b"application/json"
PAGE = b"text/html; charset=utf-8"
DEGRADED = b"x-tierline-degraded"


_encode = msgspec.json.Encoder(enc_hook=plain).encode


class Choice:
    """One way to answer: a plan, and all of its answer's headers that can be known before a request."""

    __slots__ = (
        "age", "control", "direct", "filler", "headers", "kept", "keys", "media", "only", "paged", "plan",
        "staged", "static", "view",
    )  # fmt: skip

    def __init__(
        self, plan: Plan, positions: dict[str, int], vary: Iterable[str], only: tuple[str, ...] | None = None
    ) -> None:
        self.plan = plan
        self.only = only
        self.staged = bool(plan.before or plan.shape.requires or any(s.required for s in plan.journey.steps))
        """Something has to succeed before the parts of the answer run."""
        self.view: View | None = plan.view
        self.media = plan.view.media if plan.view else "application/json"
        self.direct = plan.view is None and not plan.absent
        """Nothing is made of the parts: they are the answer."""
        self.paged = bool(plan.pieces)
        """It is a page that is sent in pieces."""
        self.filler = Filler(plan, positions)
        self.control = control(plan)
        self.kept = self.control != b"no-store"
        self.age = next(
            (int(w[8:]) for w in self.control.decode().split(", ") if w.startswith("max-age=")), 0
        )
        """What `max-age` says."""
        content = PAGE if self.media == "text/html" else self.media.encode()
        self.headers: Headers = [
            (b"content-type", content),
            (b"cache-control", self.control),
            (b"vary", ", ".join(dict.fromkeys((*vary, *varies(plan)))).encode()),
        ]
        self.keys = surrogate_keys(plan)
        self.static = not any("{" in key for key in self.keys)
        if self.static:
            self.headers.append((b"surrogate-key", " ".join(self.keys).encode()))

    def surrogates(self, values: list[Any]) -> bytes:
        names = {name: values[slot] for name, slot in self.plan.slots.items()}
        return " ".join(token(key.format_map(names)) for key in self.keys).encode()


def policies(plan: Plan) -> list[Cache | None]:
    """What each part says about how long it holds. A part that only combines others, and a guard that reads only what
    the URL says, have nothing to say."""
    found: list[Cache | None] = []
    shape = plan.shape
    for name in plan.covered:
        part = shape.journey.parts[name]
        if part.batch:
            continue
        cache = shape.cache(name)
        if cache is None:
            given = {p.name for p in shape.functions[name].parameters}
            calls = any(plan.inputs[n].source == "service" for n in given & set(plan.inputs))
            for other in given & set(shape.functions):
                if shape.journey.parts[other].batch:
                    # What a look-up gives holds as long as it says itself.
                    found.append(shape.cache(other))
            if part.live:
                found.append(None)
            silent = part.kind == "guard" or bool(given & set(shape.functions))
            if silent and not calls and "request" not in given:
                continue
        found.append(cache)
    if any(view is plan.view and "request" in {p.name for p in f.parameters} for view, f in shape.views):
        found.append(None)
    return found


def varies(plan: Plan) -> list[str]:
    """The request's fields that cached parts read, and those that go with calls."""
    caches = [cache for name in plan.covered if (cache := plan.shape.cache(name)) is not None]
    read = [header for cache in caches for header in cache.vary]
    return list(dict.fromkeys([*read, *(header for header in plan.forwards if header not in CREDENTIALS)]))


def control(plan: Plan) -> bytes:
    """Cache-Control from the parts' policies: the shortest holds, and one private part makes all private."""
    if plan.journey.methods != ("GET",):
        return b"no-store"
    found = policies(plan)
    private = (
        plan.journey.private
        or plan.personal
        or any(cache is not None and cache.per == "user" for cache in found)
    )
    words = ["private"] if private else []
    known = [cache for cache in found if cache is not None]
    if len(known) < len(found) or not known or not min(cache.max_age for cache in known):
        words.append("no-cache")
        return ", ".join(words).encode()
    if not private:
        words.append("public")
    words.append(f"max-age={int(min(cache.max_age for cache in known))}")
    if stale := int(min(cache.stale for cache in known)):
        words.append(f"stale-while-revalidate={stale}")
    if stale := int(min(cache.stale_if_error for cache in known)):
        words.append(f"stale-if-error={stale}")
    return ", ".join(words).encode()


def surrogate_keys(plan: Plan) -> tuple[str, ...]:
    """The journey's name, and what its parts add; not what is of one user, which no cache in front has."""
    keys = [plan.journey.name]
    for name in plan.covered:
        cache = plan.shape.cache(name)
        if cache is not None:
            keys.extend(cache.keys)
    if plan.journey.cache is not None:
        keys.extend(plan.journey.cache.keys)
    return tuple(dict.fromkeys(key for key in keys if not set(names_in(key)) & set(OWN)))


def tag(body: bytes) -> bytes:
    """A weak validator: it tells an answer's versions apart, and guards nothing.

    A change within four bytes always changes it, a larger one of the same length all but once in 2**32 times.
    """
    return b'W/"%x-%x"' % (len(body), crc32(body))


def matches(header: bytes, etag: bytes) -> bool:
    """If-None-Match, compared weakly as RFC 9110 asks."""
    etag = etag.removeprefix(b"W/")
    return header.strip() == b"*" or any(
        candidate.strip().removeprefix(b"W/") == etag for candidate in header.split(b",")
    )


def encoded(choice: Choice, run: Run) -> bytes:
    """The parts themselves, whole, as JSON: the way of most."""
    plan = choice.plan
    body = plan.finish(run.values)
    try:
        data = _encode(body)
    except (TypeError, ValueError, RecursionError) as error:
        raise _culprit(choice, run, error) from None
    return data if len(data) <= plan.journey.most else _bytes(choice, run, body, None)


def compose(choice: Choice, run: Run, fields: str | None = None) -> bytes:
    """The body. Raises the fault of a view, or of a part whose value can't be sent or is too large."""
    plan, values = choice.plan, run.values
    if run.degraded is not None or plan.view is not None:
        values[plan.slots["degraded"]] = told(run)
    body = plan.finish(values)
    if isinstance(body, Reply):
        run.reply, body = body, body.body
    if run.checked is not None and choice.only is None:
        run.checked(body)
    if type(body) is dict and fields is None and run.degraded is None and not plan.absent:
        try:
            data = _encode(body)
        except (TypeError, ValueError, RecursionError) as error:
            raise _culprit(choice, run, error) from None
        if len(data) <= plan.journey.most:
            return data
    return _bytes(choice, run, body, fields)


def _bytes(choice: Choice, run: Run, body: Any, fields: str | None) -> bytes:
    if isinstance(body, str) and choice.media == "text/html":
        # What is no markup is text, whatever the view meant it to be.
        data = (body if hasattr(body, "__html__") else HTML(body)).encode()
    elif isinstance(body, HTML) or (type(body) is str and choice.media != "application/json"):
        data = body.encode()
    else:
        if fields is not None:
            body = _picked(body, fields)
        if absent := choice.plan.absent:
            body = {name: value for name, value in body.items() if value is not None or name not in absent}
        if run.degraded is not None:
            body = _with(body, told(run))
        try:
            data = _encode(body)
        except (TypeError, ValueError, RecursionError) as error:
            raise _culprit(choice, run, error) from None
    if len(data) > choice.plan.journey.most:
        return _contained(choice, run, len(data), fields)
    return data


def _picked(body: Any, fields: str) -> Any:
    whole = msgspec.to_builtins(body, enc_hook=plain)
    wanted = wanted_of(fields)
    picked, missing = pick(whole, wanted)
    if missing or not wanted:
        raise BadInput([unknown_field(name, among(whole, name)) for name in missing or [""]])
    return picked


def told(run: Run) -> list[Degraded]:
    """What the answer lacks, or shows an old copy of."""
    return list(run.degraded.values()) if run.degraded is not None else []


def _with(body: Any, degraded: list[Degraded]) -> Any:
    """The body with what is missing from it, when the body can hold that."""
    if not isinstance(body, dict):
        body = msgspec.to_builtins(body, enc_hook=plain)
    return {**body, "degraded": degraded} if isinstance(body, dict) else body


def _culprit(choice: Choice, run: Run, error: Exception) -> Exception:
    """Which part's value can't be sent."""
    plan = choice.plan
    for node in plan.every:
        if node.name in plan.shown:
            try:
                _encode(run.values[node.slot])
            except (TypeError, ValueError, RecursionError) as why:
                run.failure = Failure(node, why)
                released(why)
                return WrongType(f"part {node.name!r} returned what can't be sent: {why}", part=node.name)
    what = f"view {plan.view.name!r}" if plan.view else "the answer"
    return WrongType(f"{what} returned what can't be sent: {error}")


def _contained(choice: Choice, run: Run, size: int, fields: str | None) -> bytes:
    """An answer over its limit without the part that is to blame, when that has a fallback."""
    plan = choice.plan
    sizes = []
    for node in plan.every:
        if node.name in plan.shown and node.name not in (run.degraded or ()):
            try:
                value = run.values[node.slot]
                sizes.append((len(value) if type(value) in (str, bytes) else len(_encode(value)), node))
            except (TypeError, ValueError, RecursionError):
                continue
    most = plan.journey.most
    blamed = max(sizes, key=lambda pair: pair[0], default=None)
    if blamed is None or blamed[0] < most // 2:
        raise TooLarge(f"the answer has {size} bytes, more than its {most}", status=500)
    node = blamed[1]
    error = TooLarge(
        f"part {node.name!r} returned {blamed[0]} bytes, the answer may have {most}", part=node.name
    )
    policy = node.part.policy
    if policy.fallback is MISSING:
        raise error
    run.engine.failed(plan, node, error, degraded=True)
    run.values[node.slot] = policy.stand_in()
    if run.degraded is None:
        run.degraded = {}
    run.degraded[node.name] = degraded(plan, node.name, error)
    values = run.values
    values[plan.slots["degraded"]] = told(run)
    body = plan.finish(values)
    return _bytes(choice, run, body.body if isinstance(body, Reply) else body, fields)
