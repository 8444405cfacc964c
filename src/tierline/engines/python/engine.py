"""Python as an engine: applications of one unit in one process, each on its own address; commands as they are."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import msgspec

from tierline.engines.base import Binary, Probe, Process
from tierline.engines.context import Context
from tierline.engines.forwarded import PROOF
from tierline.engines.postgresql.engine import attributes
from tierline.engines.python.config import App, Config, Journeys, Services
from tierline.engines.telemetry.engine import EVENTS_KEY
from tierline.plan.model import Role, Unit
from tierline.tiers.base import system


class Python:
    """See the module."""

    name = "python"

    def binary(self) -> Binary:
        return Binary(path=sys.executable, version=platform.python_version(), source="path")

    def version(self) -> str:
        return platform.python_version()

    def processes(self, unit: Unit, context: Context) -> list[Process]:
        fragments = [system(role.slot, role.system).contribute(role, context) for role in unit.roles]
        apps: list[App] = [each.app if isinstance(each, Journeys) else each for each in fragments]
        services: Services = {}
        for role, each in zip(unit.roles, fragments, strict=True):
            services |= each.services if isinstance(each, Journeys) else _called(role, context)
        after = tuple(dict.fromkeys(context.unit_of(need) for role in unit.roles for need in role.needs))
        if apps[0].kind == "command":
            return [self._command(unit, apps[0], after, context)]
        folder = context.folder(unit.id)
        config, calls = folder / "apps.json", folder / "services.json"
        resources = {
            at: (role.id, role.system)
            # Where several databases are at one address and a library doesn't say which, one that is read there counts.
            for role in sorted(context.plan.roles.values(), key=lambda r: not r.part.startswith("standby"))
            for endpoint in role.endpoints
            if endpoint.protocol in ("postgresql", "redis", "nats", "s3", "smtp")
            for host, port in [context.address(role.id, endpoint.name)]
            for at in (
                f"{host}:{port}",
                *(
                    [f"{host}:{port}/{attributes(role)['database']}"]
                    if endpoint.protocol == "postgresql"
                    else ()
                ),
            )
        }
        told = Config(
            unit=unit.id, region=unit.region, zone=unit.zone, project=str(context.project), stack=str(context.stack),
            hops=str(context.hops(unit.id)), apps=tuple(apps), services=str(calls), resources=resources,
            proof=context.secret(PROOF),
            events_key=context.secret(EVENTS_KEY) if any(app.kind == "journeys" for app in apps) else "",
        )  # fmt: skip
        return [
            Process(
                name=unit.id,
                engine=self.name,
                argv=(context.python, "-m", "tierline.engines.python", str(config)),
                # A file saved twice in a second has the same time stamp: its byte code would be that of the first.
                env={"PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"},
                cwd=str(context.project),
                umask=-1,
                region=unit.region,
                zone=unit.zone,
                roles=tuple(role.id for role in unit.roles),
                files={
                    str(config): msgspec.json.format(msgspec.json.encode(told)).decode(),
                    str(calls): msgspec.json.format(msgspec.json.encode(services)).decode(),
                },
                reload="HUP",
                live=(str(calls),),
                voice=True,
                after=after,
                ready=Probe(kind="tcp", target=f"{apps[-1].host}:{apps[-1].port}"),
                ready_timeout=30.0,
                stop_timeout=2.0,
                drained=max(app.drain for app in apps),
            )
        ]

    def _command(self, unit: Unit, app: App, after: tuple[str, ...], context: Context) -> Process:
        argv = tuple(part.replace("$PORT", str(app.port)).replace("$HOST", app.host) for part in app.command)
        if argv[0] in ("python", "python3"):
            argv = (context.python, *argv[1:])
        elif "/" in argv[0]:
            argv = (str(Path(context.project) / argv[0]), *argv[1:])
        return Process(
            name=unit.id,
            engine=self.name,
            argv=argv,
            env=app.env,
            cwd=str(context.project),
            umask=-1,
            region=unit.region,
            zone=unit.zone,
            roles=tuple(role.id for role in unit.roles),
            after=after,
            ready=Probe(
                kind="http",
                target=f"http://{app.host}:{app.port}{app.health}",
                advice=f"its command has to listen on $HOST:$PORT, here {app.host}:{app.port}, and answer GET {app.health} "
                "(the service's health=) with less than 500; what takes longer to start needs start_timeout=",
            ),
            ready_timeout=30.0,
            stop_timeout=2.0,
            drained=app.drain,
        )


def _called(role: Role, context: Context) -> Services:
    """The services that a service or function uses."""
    found: Services = {}
    for name, targets in role.upstreams.items():
        at = [(*context.address(target.role, target.endpoint), target.distance) for target in targets]
        found[name] = tuple((f"http://{host}:{port}", distance) for host, port, distance in at)
    return found


ENGINE = Python()
