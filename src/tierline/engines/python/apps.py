"""Loading applications: ASGI, WSGI, journeys and functions, all as ASGI with a lifespan."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from tierline.engines.python import wsgi
from tierline.engines.python.config import App, Config, Services
from tierline.engines.python.traced import Entered, Traced
from tierline.engines.telemetry.events import pseudonym
from tierline.errors import EngineError, choices, nearest
from tierline.journeys.inprocess import InProcess
from tierline.resources.calling import here as neighbours
from tierline.trips import record


class Loaded:
    """An application of this process: `app` is what is served, `inner` is what the user wrote."""

    def __init__(self, told: App, inner: Any, app: Any) -> None:
        self.told = told
        self.inner = inner
        self.app = app
        self._inbox: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        self._outbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._life: asyncio.Task[None] | None = None
        self.state: dict[str, Any] = {}

    async def start(self) -> None:
        """ASGI lifespan start-up. An application without lifespan is one that raises on it."""
        if (begin := getattr(self.inner, "begin", None)) is not None and self.told.kind == "function":
            await begin()
        self._life = asyncio.create_task(self._lifespan())
        await self._inbox.put({"type": "lifespan.startup"})
        answer = await self._answer()
        if answer is not None and answer["type"] == "lifespan.startup.failed":
            raise RuntimeError(f"{self.told.name}: start-up failed: {answer.get('message', '')}")

    async def stop(self) -> None:
        """ASGI lifespan shut-down, five seconds at most."""
        if self._life is not None and not self._life.done():
            await self._inbox.put({"type": "lifespan.shutdown"})
            await asyncio.wait({self._life}, timeout=5)

    async def _answer(self) -> dict[str, Any] | None:
        assert self._life is not None
        got = asyncio.create_task(self._outbox.get())
        await asyncio.wait({got, self._life}, return_when=asyncio.FIRST_COMPLETED)
        if got.done():
            return got.result()
        got.cancel()
        return None

    async def _lifespan(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.3"}, "state": self.state}
        try:
            await self.inner(scope, self._inbox.get, self._outbox.put)
        except Exception as error:
            if self._outbox.empty() and not isinstance(
                error, KeyError | AssertionError | NotImplementedError | TypeError
            ):
                await self._outbox.put({"type": "lifespan.startup.failed", "message": repr(error)})


def load(told: App, config: Config, before: Sequence[Loaded]) -> Loaded:
    """Import one application. Its module is imported with its own environment in place."""
    if told.kind == "journeys":
        inner = _journeys(told, config, before)
        return Loaded(told, inner, Traced(inner, told.name, None, told.health, config.proof))
    if told.kind == "function":
        from tierline.engines.python.function import Worker

        worker = Worker(told, sys.argv[1])
        return Loaded(told, worker, worker)
    inner = attribute(told.target)
    if told.kind == "wsgi":
        inner = wsgi.asgi(inner)
    else:
        _asgi(inner, told)
    return Loaded(told, inner, Traced(inner, told.name, "process", proof=config.proof, checked=told.health))


def attribute(target: str) -> Any:
    """What `module:attribute` names. Raises EngineError when it isn't there."""
    module, _, path = target.partition(":")
    try:
        found: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name != module[: len(error.name)]:
            raise  # something that it imports
        folder = Path.cwd()
        there = [
            each.stem for each in folder.iterdir() if each.suffix == ".py" or (each / "__init__.py").exists()
        ]
        raise EngineError(
            f"{target!r}: no module {error.name!r}{nearest(error.name, there)} in {folder} there are: {choices(there)}"
        ) from None
    for name in path.split("."):
        if not hasattr(found, name):
            named = [
                each for each in dir(found) if not each.startswith("_") and callable(getattr(found, each))
            ]
            raise EngineError(
                f"{target!r}: {module} has no {name!r}{nearest(name, named)} there are: {choices(named)}"
            )
        found = getattr(found, name)
    return found


def _asgi(app: Any, told: App) -> Any:
    """The application. Raises EngineError for one of the other kind, which would fail with every request."""
    if not callable(app):
        raise EngineError(f"{told.target!r} is a {type(app).__name__}, not an application")
    try:
        taken = inspect.signature(app).parameters.values()
    except (TypeError, ValueError):
        return app
    needed = [
        each
        for each in taken
        if each.default is each.empty and each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)
    ]
    if any(each.kind is each.VAR_POSITIONAL for each in taken) or len(needed) == 3:
        return app
    if len(needed) == 2:
        raise EngineError(
            f"{told.target!r} takes (environ, start_response): that is WSGI, say Service({told.name!r}, interface='wsgi')"
        )
    if len(needed) != 1:  # ASGI 2 takes the scope alone
        raise EngineError(
            f"{told.target!r} is no ASGI application: it takes {len(needed)} values, not (scope, receive, send)"
        )
    return app


elsewhere: dict[str, Any] = {}
"""The journeys' connections to services in other processes, by name."""


def answered() -> dict[str, tuple[int, int]]:
    """What instances in other processes have answered this one: by address requests and microseconds, which grow."""
    found: dict[str, tuple[int, int]] = {}
    for pool in (*elsewhere.values(), *neighbours.pools.values()):
        for address in pool.addresses:
            if address.answered:
                many, us = found.get(address.where, (0, 0))
                found[address.where] = (many + address.answered, us + round(address.took * 1e6))
    return found


def read_services(config: Config) -> Services:
    """Whom the journeys call, as the file says now. Addresses of the line, not URLs: the Host of calls is the service's name."""
    found: Services = msgspec.json.decode(Path(config.services).read_bytes(), type=Services)
    return {
        name: tuple((where.removeprefix("http://").rstrip("/"), distance) for where, distance in addresses)
        for name, addresses in found.items()
    }


def told_again(config: Config) -> None:
    """SIGHUP: instances came or went. Connections to those that stay are kept."""
    services = read_services(config)
    for name, addresses in services.items():
        if name in elsewhere:
            elsewhere[name].set_addresses(list(addresses))
    neighbours.told(services)


def acquaint(config: Config, loaded: Sequence[Loaded]) -> None:
    """What `tierline.resources.service` knows: who is in this process, and where the others are.

    `loaded` grows as the applications start.
    """

    def transport(name: str) -> Callable[[], InProcess | None]:
        def made() -> InProcess | None:
            each = next((each for each in loaded if each.told.name == name), None)
            return None if each is None else _in_process(each, config)

        return made

    services = read_services(config)
    for app in config.apps:
        if app.kind in ("asgi", "wsgi") and app.name in services:
            neighbours.applications[app.name] = transport(app.name)
    neighbours.told(services)


def _in_process(neighbour: Loaded, config: Config) -> InProcess:
    """Its lifespan has been started here already, in its own environment."""
    name = neighbour.told.name
    return InProcess(
        Entered(neighbour.inner, name), name, zone=config.zone, lifespan=False, state=neighbour.state,
        observe=neighbour.app.meter.observe,
    )  # fmt: skip


def _journeys(told: App, config: Config, before: Sequence[Loaded]) -> Any:
    from tierline.journeys import HTTP, SessionStore, build
    from tierline.journeys.cached import Cached
    from tierline.journeys.store import store
    from tierline.stack import load as load_stack
    from tierline.tiers.client.tier import Web

    stack, _ = load_stack(config.stack)
    calls = read_services(config)
    here = {each.told.name: each for each in before}
    services: dict[str, Any] = {}
    for name, addresses in calls.items():
        if name in here:
            services[name] = _in_process(here[name], config)
        else:
            services[name] = elsewhere[name] = HTTP(list(addresses), name=name)
    services.update({each.name: each for each in stack.outside})
    sessions = told.env.get("SESSION_STORE")
    return build(
        stack.journeys,
        services=services,
        passages=stack.passages,
        clients=stack.clients or (Web(),),
        session=SessionStore(sessions) if sessions else "memory:",
        # Part answers that other code has made are not used again (TIERLINE_GENERATION: reload in development).
        cache=Cached(
            store(told.env.get("CACHE_STORE", "memory:")), "1" + os.environ.get("TIERLINE_GENERATION", "")
        ),
        zone=config.zone,
        forward={
            each.name: each.forward for each in stack.services if each.forward and each.name in services
        },
        secret=config.events_key,
        trust_bearer=False,
        on_event=_to_warehouse(config),
    )


def _to_warehouse(config: Config) -> Callable[[dict[str, Any]], None]:
    """A journey's step goes the way of the hops; its session under a name that leads nowhere."""

    def tell(event: dict[str, Any]) -> None:
        session = pseudonym(config.events_key, event.get("session", ""))
        record.recorder.event({**event, "session": session, "zone": config.zone})

    return tell
