"""A journey called in plain pytest: no server, no line, with fakes for whatever it needs."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import string
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import msgspec

from tierline.errors import choices, nearest
from tierline.journeys.annotations import signature_of
from tierline.journeys.app import Experience
from tierline.journeys.building import build
from tierline.journeys.inputs import PERSONAL, type_hints
from tierline.journeys.journey import Journey, Part
from tierline.journeys.routes import VIEWERS
from tierline.journeys.schedule import Shape
from tierline.journeys.service import Call, ServiceClient, ServiceReply, Transport
from tierline.journeys.session import Session
from tierline.journeys.stream import LINES
from tierline.journeys.target import target_of

_ALWAYS = {"fields", "stream"}
"""Query values of every journey."""


class Outcome:
    """What a journey answered: `status`, `body` (decoded JSON, a stream's events, or text), `headers`, and
    `session` afterwards.

    `parts` holds every part's value, `degraded` the parts that fell back, `problem` the problem document.
    """

    def __init__(self) -> None:
        self.status = 0
        self.body: Any = None
        self.headers: dict[str, str] = {}
        self.parts: dict[str, Any] = {}
        self.degraded: list[str] = []
        self.problem: dict[str, Any] | None = None
        self.session: Session = Session()
        self.events: list[dict[str, Any]] = []

    def __repr__(self) -> str:
        return f"Outcome(status={self.status}, body={self.body!r}, degraded={self.degraded})"


class FakeTransport(Transport):
    """A service as a dict: `{"GET /films/1": {...}}`. Without a method it is the reply to every method.

    A value is the reply's JSON, `(status, JSON)`, an exception to raise, or a function of the target.
    """

    def __init__(self, name: str, replies: Mapping[str, Any]) -> None:
        self._name = name
        self._replies = replies
        self.calls: list[str] = []
        self.mistake = ""
        """What was asked of it that it doesn't know."""

    async def request(self, call: Call) -> ServiceReply:
        method, target = call.method, call.target
        self.calls.append(f"{method} {target}")
        path = target.partition("?")[0]
        key = next(
            (k for k in (f"{method} {target}", f"{method} {path}", target, path) if k in self._replies), None
        )
        if key is None:
            knows = f"it knows: {choices(self._replies)}" if self._replies else "give it to fakes="
            self.mistake = f"the fake {self._name!r} was asked for {method} {target}; {knows}"
            raise AssertionError(self.mistake)
        value = self._replies[key]
        if callable(value):
            value = value(target)
            if inspect.isawaitable(value):
                value = await value
        if isinstance(value, BaseException):
            raise value
        status, value = value if isinstance(value, tuple) else (200, value)
        data = value if isinstance(value, bytes) else msgspec.json.encode(value)
        return ServiceReply(status, [(b"content-type", b"application/json")], data)


class _Sessions:
    """One session, given and taken."""

    cookie = "session"

    def __init__(self, session: Session) -> None:
        self.session = session

    async def load(self, headers: Mapping[bytes, bytes], identity: Mapping[str, Any] | None) -> Session:
        return self.session

    def begin(self, session: Session) -> str:
        session.id = session.id or "test-session"
        return ""

    async def hold(self, session: Session) -> str:
        return ""

    async def release(self, session: Session, token: str) -> None:
        return None

    async def refresh(self, session: Session) -> None:
        return None

    async def save(self, session: Session, *, held: bool = False) -> str:
        self.begin(session)
        session.changed = False
        return ""

    async def close(self) -> None:
        return None


def faked(journey: Journey, fakes: Mapping[str, Any]) -> tuple[Journey, dict[str, Any]]:
    """The journey with the faked parts in place of its own, and the faked services."""
    copy = Journey.__new__(Journey)
    copy.__dict__.update(journey.__dict__)
    copy.parts = dict(journey.parts)
    copy.complete = False
    shape = journey.shape()
    needs = shape.services
    services: dict[str, Any] = {}
    for name, fake in fakes.items():
        if name in copy.parts:
            copy.parts[name] = _fake_part(copy.parts[name], fake, shape)
        elif name in needs:
            is_replies = isinstance(fake, Mapping)
            services[name] = ServiceClient(name, FakeTransport(name, fake), retries=0) if is_replies else fake
        else:
            known = {*copy.parts, *needs}
            raise AssertionError(
                f"journey {journey.name!r} has no part or service {name!r}{nearest(name, known)} "
                f"there are: {choices(known)}"
            )
    missing = [name for name in copy.needs if name not in services]
    for name in missing:
        services[name] = ServiceClient(name, FakeTransport(name, {}), retries=0)
    return copy, services


def _fake_part(part: Part, fake: Any, shape: Shape) -> Part:
    returns = shape.functions[part.name].returns
    if isinstance(fake, (dict, list)):
        # Plain data for a part that returns a Struct or a dataclass.
        with contextlib.suppress(msgspec.ValidationError, TypeError):
            fake = msgspec.convert(fake, returns)
    if callable(fake):
        return replace(part, function=_asking(fake, part, shape))

    async def stands_in() -> Any:
        if isinstance(fake, BaseException):
            raise fake
        return fake

    if not isinstance(fake, BaseException):
        stands_in.__annotations__ = {"return": returns}
    return replace(part, function=_asking(stands_in, part, shape), batch=0)


def _asking(function: Callable[..., Any], part: Part, shape: Shape) -> Callable[..., Any]:
    """The function, asking besides for what the part's cache policy speaks of: whose it is, and its keys."""
    cache = shape.cache(part.name)
    if cache is None:
        return function
    named = {name for key in cache.keys for _, name, _, _ in string.Formatter().parse(key)}
    signature = signature_of(function)
    more = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=shape.inputs[name].default)
        for name in sorted(
            shape.needed([part.name])
            & (named | PERSONAL | ({"request"} if cache.vary else set()))
            & set(shape.inputs)
        )
        if name not in signature.parameters
    ]
    if not more:
        return function

    def asks(*values: Any, **words: Any) -> Any:
        for parameter in more:
            del words[parameter.name]
        return function(*values, **words)

    asks.__signature__ = signature.replace(parameters=[*signature.parameters.values(), *more])  # type: ignore[attr-defined]
    asks.__annotations__ = {
        **type_hints(function),
        **{parameter.name: shape.inputs[parameter.name].type for parameter in more},
    }
    return asks


async def call(
    journey: Journey,
    values: Mapping[str, Any],
    fakes: Mapping[str, Any],
    client: str,
    session: Mapping[str, Any] | None,
    identity: Mapping[str, Any] | None,
    headers: Mapping[str, str],
    body: Any,
) -> Outcome:
    """See Journey.call."""
    copy, services = faked(journey, fakes)
    outcome = Outcome()
    outcome.session = Session("test-session", session) if session is not None else Session()
    takes = {n for n, i in journey.shape().inputs.items() if i.source in ("path", "query", "dimension")}
    for name in sorted(set(values) - takes - set(copy.path_names) - _ALWAYS):
        raise TypeError(
            f"journey {journey.name!r} takes no {name!r}{nearest(name, takes)} it takes: {choices(takes)}"
        )
    application = build(
        [copy], services=services, clients=(*VIEWERS, *(view.kind for view in copy.views)),
        session=_Sessions(outcome.session), cache=None, on_event=outcome.events.append,  # type: ignore[arg-type]
    )  # fmt: skip
    paths = {name: values[name] for name in copy.path_names if name in values}
    said: dict[str, str] = {}
    query = {name: value for name, value in values.items() if name not in paths}
    for name in journey.dimensions.keys() & query.keys():
        journey.dimensions[name].say(query.pop(name), query, said)
    missing = [name for name in copy.path_names if name not in values]
    if missing:
        raise TypeError(f"{copy.path} needs {', '.join(f'{name}=…' for name in missing)}")
    sent = {
        "x-client": client,
        **said,
        **({} if body is None else {"content-type": "application/json"}),
        **{k.lower(): v for k, v in headers.items()},
    }
    if identity is not None:
        sent["x-tierline-claims"] = msgspec.json.encode(identity).decode("latin-1")
    await ask(application, copy.methods[0], target_of(copy.path, {**paths, **query}), sent, body, outcome)
    for name, service in services.items():
        fake = service.transport if isinstance(service, ServiceClient) else None
        # Where a fake was given, or its lack failed the journey, the test is wrong, not the journey.
        if isinstance(fake, FakeTransport) and fake.mistake and (name in fakes or outcome.status >= 500):
            raise AssertionError(fake.mistake)
    return outcome


async def ask(
    application: Experience, method: str, target: str, headers: Mapping[str, str], body: Any, outcome: Outcome
) -> Outcome:
    """One request to an application in this process."""
    path, _, query = target.partition("?")
    from urllib.parse import unquote

    scope = {
        "type": "http",
        "method": method,
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(k.encode("latin-1"), v.encode("latin-1")) for k, v in headers.items()],
        "client": ("127.0.0.1", 0),
    }
    data = b"" if body is None else msgspec.json.encode(body)
    told = False
    pieces: list[bytes] = []

    async def receive() -> dict[str, Any]:
        nonlocal told
        if told:
            await asyncio.get_running_loop().create_future()
        told = True
        return {"type": "http.request", "body": data, "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            outcome.status = message["status"]
            outcome.headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in message["headers"]}
        else:
            pieces.append(message.get("body", b""))

    with application.observed(outcome.parts):
        await application(scope, receive, send)
    raw = b"".join(pieces)
    media = outcome.headers.get("content-type", "")
    if media == LINES:
        outcome.body = [msgspec.json.decode(line) for line in raw.splitlines()]
    else:
        outcome.body = msgspec.json.decode(raw) if raw and "json" in media else raw.decode()
    if media.startswith("application/problem"):
        outcome.problem = outcome.body
    degraded = outcome.headers.get("x-tierline-degraded", "")
    outcome.degraded = [name.strip() for name in degraded.split(",") if name.strip()]
    return outcome
