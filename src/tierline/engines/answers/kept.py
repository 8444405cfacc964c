"""The processes of a name server whose files a keeper writes: the keeper first, then the server itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tierline.engines.answers.engine import ENGINE, alive, written
from tierline.engines.base import Probe, Process

if TYPE_CHECKING:
    from tierline.engines.answers.config import Config
    from tierline.engines.context import Context
    from tierline.plan.model import Unit


def processes(
    unit: Unit, context: Context, config: Config, *, engine: str, argv: tuple[str, ...], first: str
) -> list[Process]:
    """`argv`: the server's, run in the unit's folder. `first`: the file that it begins with."""
    folder = context.folder(unit.id)
    path = str(folder / "dns.json")
    keeper = (context.python, "-m", "tierline.engines.answers.keeper")
    health = f"{unit.id}.health"
    return [
        Process(
            name=health,
            engine=engine,
            argv=(*keeper, engine, path),
            cwd=str(folder),
            region=unit.region,
            zone=unit.zone,
            files={path: written(config)},
            folders=(str(folder),),
            unprivileged=True,
            check=(*keeper, "--check", engine, path),
            ready=Probe(kind="exec", argv=("test", "-s", str(folder / first))),
            alive=Probe(kind="say", target=f"unix:{config.stats}"),
            reload="HUP",
        ),
        Process(
            name=unit.id,
            engine=engine,
            argv=argv,
            cwd=str(folder),
            region=unit.region,
            zone=unit.zone,
            roles=tuple(role.id for role in unit.roles),
            folders=(str(folder),),
            unprivileged=True,
            after=(health,),
            ready=Probe(kind="udp-dns", target=config.listen[0], name=unit.roles[0].settings["domain"]),
            alive=alive(config.listen[0]),
        ),
    ]


def config(unit: Unit, context: Context) -> Config:
    """The same as for tierline's own server."""
    return ENGINE.config(unit, context)
