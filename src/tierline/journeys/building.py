"""From journeys and services to the application that answers them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

from tierline.errors import StackError, choices, nearest
from tierline.journeys.app import Experience
from tierline.journeys.cached import Cached
from tierline.journeys.engine import Engine
from tierline.journeys.inprocess import InProcess
from tierline.journeys.journey import RESERVED, Journey, kind_of
from tierline.journeys.paging import sign_with
from tierline.journeys.passage import Passage
from tierline.journeys.request import Reading
from tierline.journeys.routes import VIEWERS, Route
from tierline.journeys.service import ServiceClient, Transport
from tierline.journeys.session import SessionStore
from tierline.journeys.store import Store, store


def build(
    journeys: Iterable[Journey],
    *,
    services: Mapping[str, Transport | Any] | None = None,
    clients: Iterable[Any] = VIEWERS,
    session: SessionStore | Store | str | None = "memory:",
    cache: Cached | Store | str | None = "memory:",
    on_event: Callable[[dict[str, Any]], Any] | None = None,
    locales: Iterable[str] = (),
    zone: str = "",
    trust_bearer: bool = False,
    origins: Iterable[str] = (),
    forward: Mapping[str, Iterable[str]] | None = None,
    secret: str = "",
    on_drop: Callable[[list[str]], Any] | None = None,
    most_reply: int = 8 * 1024 * 1024,
    most_body: int = 1024 * 1024,
    passages: Iterable[Passage] = (),
) -> Experience:
    """The journeys as one ASGI application. Every name is checked here: StackError with file and line.

    services: by the name that parts ask for: a Transport (InProcess, HTTP), an ASGI application to call in
    this process, a ServiceClient, or any other object, which is handed to parts as it is.
    clients: the kinds that are answered; the header `x-client` says which one asks, "web" when it is missing.
    An Affiliate's `header` and a Mobile's `version_header` are where `affiliate` and `version` come from.
    session, cache: a store, its URL (`redis://…`, `memory:`), or None for none.
    on_event: called with a dict for each step of a funnel; may be async.
    on_drop: called with the tags that an effect or `application.drop(…)` has dropped, to purge caches in front; may be async.
    locales: the languages there are; `locale` is the best of them for the caller, or its wish without any.
    origins: other origins, `https://app.example`, whose pages may send what a visitor's cookie authorises.
    forward: by service, the client's header fields that go with every call: `{"members": ["authorization"]}`. What is
    cached is then kept by their values.
    secret: what cursors are signed with, the same in all processes; made up when it is missing.
    passages: paths whose requests a service answers as streams: uploads and downloads.
    trust_bearer: take `identity` from the Authorization header too. Only behind a gateway that verifies it.
    """
    if secret:
        sign_with(secret)
    passed = {name: tuple(headers) for name, headers in (forward or {}).items()}
    for name in passed.keys() - (services or {}).keys():
        known = services or {}
        raise StackError(
            f"forward: there is no service {name!r}{nearest(name, known)} available: {choices(known)}"
        )
    for name in (services or {}).keys() & RESERVED.keys():
        raise StackError(f"services: {name!r} is the name of {RESERVED[name]}; give it another")
    given: dict[str, Any] = {}
    transports: list[Any] = []
    for name, service in (services or {}).items():
        if isinstance(service, ServiceClient):
            transports.append(service.transport)
            given[name] = service
        elif hasattr(service, "request") and hasattr(service, "open") and hasattr(service, "close"):
            transports.append(service)
            own = tuple(getattr(service, "forward", ()))
            if own and name in passed:
                raise StackError(
                    f"forward: what goes with calls of {name!r} is written twice, in build(forward=…) and HTTP(forward=…); "
                    "write it once"
                )
            fields = own or passed.get(name, ())
            given[name] = ServiceClient(name, service, most=most_reply, forward=fields)
        elif _is_asgi(service):
            transport = InProcess(cast(Any, service), name, zone=zone)
            transports.append(transport)
            given[name] = ServiceClient(name, transport, most=most_reply, forward=passed.get(name, ()))
        else:
            given[name] = service
    asking = list(clients)
    kinds = list(dict.fromkeys(kind_of(client) for client in asking))
    engine = Engine(
        cached=cache if cache is None or isinstance(cache, Cached) else Cached(store(cache)),
        sessions=_sessions(session),
        on_event=on_event,
        zone=zone,
        on_drop=on_drop,
    )
    listed = list(journeys)
    names: dict[str, Journey] = {}
    for journey in listed:
        other = names.setdefault(journey.name, journey)
        if other is not journey:
            raise StackError(f"two journeys are named {journey.name!r}: {other.place} and {journey.place}")
    headers = {kind_of(client): client for client in asking}
    reading = Reading(
        locales=tuple(locales),
        trust_bearer=trust_bearer,
        origins=frozenset(origins),
        affiliate=str(getattr(headers.get("affiliate"), "header", "x-affiliate")).lower(),
        version=str(getattr(headers.get("mobile"), "version_header", "x-app-version")).lower(),
    )
    routes = [
        Route(journey, journey.shape(given), given, kinds, engine.loaders, reading) for journey in listed
    ]
    words = (routes, engine, list(dict.fromkeys(transports)), reading, most_body)
    if passing := list(passages):
        from tierline.journeys.passing import Passing

        return Passing(*words, passages=passing, services=given)
    return Experience(*words)


def _sessions(session: Any) -> SessionStore | None:
    if session is None or hasattr(session, "load"):
        return cast("SessionStore | None", session)
    return SessionStore(session)


def _is_asgi(service: Any) -> bool:
    """An ASGI application: called with scope, receive and send, as a function or an object."""
    if not callable(service):
        return False
    call = service if inspect.isfunction(service) or inspect.ismethod(service) else type(service).__call__
    code = getattr(call, "__code__", None)
    if code is None or not inspect.iscoroutinefunction(call):
        return False
    return bool(code.co_varnames[: code.co_argcount][-3:] == ("scope", "receive", "send"))
