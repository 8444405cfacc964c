"""The stack: the whole line as its owner describes it, in one Python file."""

from __future__ import annotations

import importlib.util
import os
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tierline import outside
from tierline.errors import StackError, choices, nearest
from tierline.intent import Duration, Intent, Name, setting
from tierline.tiers.analytics.tier import Telemetry
from tierline.tiers.cache.tier import HTTPCache
from tierline.tiers.cdn.tier import CDN
from tierline.tiers.client.tier import Client, Visit
from tierline.tiers.dns.common.places import REGIONS
from tierline.tiers.dns.tier import DNS
from tierline.tiers.feature.common.season import Season
from tierline.tiers.feature.tier import Function, Resource, Scale, Service
from tierline.tiers.gateway.tier import JWT, Gateway
from tierline.tiers.lb.tier import LoadBalancer


def _region(value: str) -> str | None:
    return None if value in REGIONS else f"an AWS region{nearest(value, REGIONS)} known: {choices(REGIONS)}"


def _zone(value: str) -> str | None:
    return None if value.isalnum() and value.islower() and len(value) <= 8 else 'short names such as "a", "b"'


class Stack(Intent):
    """The whole line. Nothing is started or opened by building one.

    Tiers that are left out are not started: the line closes up over them.
    """

    name: Name = setting("The stack's name.")
    clients: tuple[Client, ...] = setting("Who comes.", default=())
    dns: DNS | None = setting("Name service.", default=None)
    cdn: CDN | None = setting("Content delivery network.", default=None)
    lb: LoadBalancer | None = setting("Load balancer.", default=None)
    cache: HTTPCache | None = setting("Shared HTTP cache.", default=None)
    gateway: Gateway | None = setting("API gateway.", default=None)
    journeys: tuple[Any, ...] = setting("Journeys of the experience layer.", default=())
    passages: tuple[Any, ...] = setting(
        "Uploads and downloads of services that the journeys' process passes through.", default=()
    )
    services: tuple[Service, ...] = setting("Services.", default=())
    outside: tuple[Any, ...] = setting(
        "Services outside that journeys call: tierline.journeys.HTTP with a name and a URL.", default=()
    )
    functions: tuple[Function, ...] = setting("Functions.", default=())
    scale: Scale | None = setting(
        "Instances of the journeys per zone; None: as many as of the services that share their process.",
        default=None,
    )
    seasons: tuple[Season, ...] = setting("Times whose visitors are known before.", default=())
    workload: tuple[Visit, ...] = setting("What clients ask, for compare and kill --watch.", default=())
    telemetry: Telemetry = setting("Where hops land.", factory=Telemetry)
    region: str = setting("The region in which the zones are.", default="eu-west-1", allowed=_region)
    zones: tuple[str, ...] = setting("Availability zones.", default=("a", "b"), allowed=_zone)
    hang_after: Duration = setting(
        "How long a process may answer nothing before it is restarted.", default="10s", above=2, below=3600
    )
    fuse: bool = setting("Let neighbours share processes.", default=True)

    def check(self) -> None:
        if not self.zones or len(set(self.zones)) != len(self.zones):
            raise self.wrong("zones", self.zones, "at least one zone, each once")
        for place in self.cdn.places if self.cdn else ():
            if allowed := _region(place):
                raise self.cdn.wrong("places", place, allowed)  # type: ignore[union-attr]
        self._names()
        self._exposed()
        self._references()
        self._cycles()
        self._seasons()

    @property
    def apps(self) -> tuple[Service | Function, ...]:
        """Services, then functions."""
        return (*self.services, *self.functions)

    @property
    def resources(self) -> tuple[Resource, ...]:
        """Every resource that a service or function uses, in order of first use."""
        found: dict[str, Resource] = {}
        for user in self.apps:
            for used in (*user.uses, *([user.on] if isinstance(user, Function) else [])):
                if isinstance(used, Resource):
                    found.setdefault(used.name, used)
        return tuple(found.values())

    def _names(self) -> None:
        # A service may be called like a resource (orders has an orders queue), but like no other service.
        seen: dict[tuple[bool, str], Any] = {}
        for each in (*self.apps, *self._every_resource()):
            other = seen.setdefault((isinstance(each, Resource), each.name), each)
            if other is not each:
                raise self.wrong(
                    "resources" if isinstance(each, Resource) else "services",
                    each.name,
                    f"names that differ: {type(other).__name__} and {type(each).__name__} are both called {each.name!r}",
                )
        reserved = {
            "dns",
            "cdn",
            "lb",
            "cache",
            "gateway",
            "experience",
            "assets",
            "telemetry",
            "identity",
            "limits",
        } & {name for _, name in seen}
        for taken in sorted(reserved):
            raise self.wrong("services", taken, "a name that is not a tier's own")
        journeys = [each.name for each in (*self.journeys, *self.passages) if hasattr(each, "name")]
        for twice in {name for name in journeys if journeys.count(name) > 1}:
            raise self.wrong("journeys", twice, "journeys whose names differ")
        for journey in self.journeys:
            if not hasattr(journey, "name") or not hasattr(journey, "path"):
                raise self.wrong("journeys", journey, "tierline.Journey objects")
        outside.check(self, {name for _, name in seen})

    def _every_resource(self) -> Iterable[Resource]:
        """Resources by identity, so that two of one name are noticed."""
        found: dict[int, Resource] = {}
        for user in self.apps:
            for used in (*user.uses, *([user.on] if isinstance(user, Function) else [])):
                if isinstance(used, Resource):
                    found.setdefault(id(used), used)
        return found.values()

    def _exposed(self) -> None:
        """Who answers a path is said once: by one service's `expose`, or by the gateway's routes."""
        said = {route.path.rstrip("/") for route in self.gateway.routes} if self.gateway else set()
        first: dict[str, str] = {}
        for service in self.services:
            for path in service.expose:
                other = first.setdefault(path.rstrip("/"), service.name)
                if other != service.name and path.rstrip("/") not in said:
                    raise service.wrong(
                        "expose", path, f"a path that no other service exposes: Service({other!r}) does;"
                        f" or say who answers it with Gateway(routes=[Route({path!r}, to=…)])",
                    )  # fmt: skip

    def _references(self) -> None:
        if self.cdn is not None and self.lb is not None and hasattr(self.lb.certificate, "directory"):
            raise self.lb.wrong(
                "certificate",
                self.lb.certificate,
                "a file or nothing: clients meet the CDN, and so would the authority",
            )
        mails = {each.name for each in self.resources if each.slot == "feature.mail"}
        if self.lb is not None and self.lb.mail is not None and self.lb.mail not in mails:
            raise self.lb.wrong(
                "mail",
                self.lb.mail,
                f"a Mail resource that a service uses{nearest(self.lb.mail, mails)} there are: {choices(mails)}",
            )
        buckets = {each.name for each in self.resources if each.slot == "feature.bucket"}
        for bucket in self.cdn.buckets.values() if self.cdn else ():
            if bucket not in buckets:
                raise self.cdn.wrong(  # type: ignore[union-attr]
                    "buckets",
                    bucket,
                    f"a Bucket resource that a service uses{nearest(bucket, buckets)} {choices(buckets)}",
                )
        names = {service.name for service in self.services}
        for user in self.apps:
            for used in user.uses:
                called = used.name if isinstance(used, Service) else used
                if isinstance(called, str) and called not in names:
                    raise user.wrong(
                        "uses",
                        called,
                        f"a service of this stack{nearest(called, names)} there are: {choices(names)}",
                    )
                if isinstance(used, JWT) and (self.gateway is None or self.gateway.auth is not used):
                    raise user.wrong("uses", used.name, "the JWT that is also the gateway's auth")

    def _seasons(self) -> None:
        if self.scale is not None and (self.scale.min < 1 or self.scale.queue):
            raise self.wrong("scale", self.scale, "min=1 or more, and rps=, cpu= or latency=")
        names = [season.name for season in self.seasons]
        known = {service.name: service for service in self.services}
        for season in self.seasons:
            if names.count(season.name) > 1:
                raise self.wrong("seasons", season.name, "seasons whose names differ")
            for each in season.services:
                name = each.name if isinstance(each, Service) else each
                if name not in known:
                    raise season.wrong(
                        "services",
                        name,
                        f"a service of this stack{nearest(name, known)} there are: {choices(known)}",
                    )
                if known[name].scale.max < season.min:
                    raise season.wrong(
                        "min", season.min, f"at most {known[name].scale.max}, the max of {name}'s scale"
                    )
            resources = {id(resource) for resource in self._every_resource()}
            for each in season.warm_up:
                if isinstance(each, Resource) and id(each) not in resources:
                    raise season.wrong("warm_up", each.name, "a resource that a service uses")

    def _cycles(self) -> None:
        graph = {
            service.name: [
                u.name if isinstance(u, Service) else u for u in service.uses if isinstance(u, Service | str)
            ]
            for service in self.services
        }
        done: set[str] = set()

        def visit(name: str, path: tuple[str, ...]) -> None:
            if name in path:
                cycle = " → ".join((*path[path.index(name) :], name))
                raise self.wrong("services", name, f"no dependency cycle, but there is one: {cycle}")
            if name not in done:
                for used in graph[name]:
                    visit(used, (*path, name))
                done.add(name)

        for name in graph:
            visit(name, ())


def find(target: str | os.PathLike[str] | None) -> Path:
    """The stack file that a command means: a file, a folder with `stack.py`, or the current folder.

    Raises StackError when there is none, or when what is named is no Python file that can be read.
    """
    path = Path(target) if target is not None else Path.cwd()
    try:
        if path.is_dir():
            path = path / "stack.py"
        if not path.is_file():
            hint = "name one, or make stack.py; examples/cinema/stack.py is a whole one"
            raise StackError(f"no stack file at {path}: {hint}")
        path = path.resolve()
        if path.suffix != ".py":
            raise StackError(
                f"{path} is no stack file: a stack is written in Python, in a file that ends in .py "
                "(examples/cinema/stack.py is a whole one)"
            )
        path.open("rb").close()
    except OSError as error:  # a name that is too long, a folder that may not be read
        raise StackError(f"no stack file at {path}: {error.strerror}") from None
    return path


def load(target: str | os.PathLike[str] | None) -> tuple[Stack, Path]:
    """Import a stack file and return its Stack and path. The stack file's folder is put on sys.path.

    Raises StackError; for an error in the user's own code file, line and what, then their frames, without ours.
    """
    path = find(target)
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location("stack", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["stack"] = module
    try:
        spec.loader.exec_module(module)
    except StackError:
        raise
    except SyntaxError as error:
        quoted = "".join(traceback.format_exception_only(error)).rstrip().splitlines()
        where = f"{error.filename}:{error.lineno}: " if error.filename else f"{path}: "
        raise StackError("\n".join([f"{where}{quoted[-1]}", *quoted[1:-1]])) from None
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        raise StackError(_own_traceback(error, path)) from None
    stacks = {name: value for name, value in vars(module).items() if isinstance(value, Stack)}
    found = stacks.get("stack") or (next(iter(stacks.values())) if len(stacks) == 1 else None)
    if found is not None:
        _paths(found, path.parent)
        return found, path
    problem = "has no Stack" if not stacks else f"has several ({choices(stacks)}) and none is called `stack`"
    raise StackError(f"{path}: the stack file {problem}; write `stack = Stack('name', …)`")


def _paths(stack: Stack, folder: Path) -> None:
    """Files and folders that the stack names, beside the stack file."""
    if stack.cdn is not None and stack.cdn.assets and not (folder / stack.cdn.assets).is_dir():
        raise stack.cdn.wrong(
            "assets", stack.cdn.assets, f"a folder; there is none at {folder / stack.cdn.assets}"
        )
    for resource in stack.resources:
        schema = resource.data().get("schema")
        if schema and not (folder / schema).is_dir():
            raise resource.wrong(
                "schema", schema, f"a folder of .sql files; there is none at {folder / schema}"
            )
    for given, fields in _credentials(stack):
        for field in fields:
            file = getattr(given, field)
            if file and "://" not in file and not (folder / file).is_file():
                raise given.wrong(field, file, f"a file; there is none at {folder / file}")


def _credentials(stack: Stack) -> Iterable[tuple[Intent, tuple[str, ...]]]:
    """What the gateway's ways to authenticate name as files."""
    gateway = stack.gateway
    if gateway is not None and gateway.auth is not None:
        yield gateway.auth, ("jwks", "ca")
    if gateway is not None and gateway.login is not None:
        yield gateway.login, ("client_secret", "ca")
    if gateway is not None and gateway.mtls is not None:
        yield gateway.mtls, ("ca",)


def _own_traceback(error: BaseException, path: Path) -> str:
    """Where and what, then the user's frames: from the stack file on, without tierline's and the importer's."""
    frames = traceback.extract_tb(error.__traceback__)
    first = next((i for i, frame in enumerate(frames) if frame.filename == str(path)), 0)
    here = str(Path(__file__).parent)
    shown = [f for f in frames[first:] if not f.filename.startswith(here) and "importlib" not in f.filename]
    said = "".join(traceback.format_exception_only(error)).rstrip()
    where = f"{shown[-1].filename}:{shown[-1].lineno}: " if shown else ""
    listed = "".join(traceback.format_list(shown)).rstrip()
    meant = "" if "did you mean" in said.lower() else _meant(error)  # newer Pythons say it by themselves
    return f"{where}{said}{meant}\n{listed}"


def _meant(error: BaseException) -> str:
    """For a misspelt name of tierline's, where it is imported or where it is used: the nearest right one."""
    import tierline

    if isinstance(error, NameError) and error.name:
        given = error.name
    elif isinstance(error, ImportError) and error.name == "tierline":
        given = str(error).partition("'")[2].partition("'")[0]
    else:
        return ""
    return nearest(given, tierline.__all__).rstrip(";")
