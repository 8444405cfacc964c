"""Squid as an engine: one role as an accelerator in front of the next tier."""

from __future__ import annotations

import msgspec

from tierline.engines import binaries
from tierline.engines.base import Binary, Probe, Process
from tierline.engines.context import Context
from tierline.plan.model import Unit
from tierline.tiers.base import system

ALIVE = "TIERLINE-ALIVE"
"""A method that is refused, and logged nowhere."""


class Fragment(msgspec.Struct, kw_only=True):
    """What a role adds: lines of squid.conf."""

    lines: str


class Squid:
    """See the module."""

    name = "squid"

    def binary(self) -> Binary:
        return binaries.find("squid", commands=("squid",), install="apt-get install squid")

    def version(self) -> str:
        return binaries.version(self.binary().path, "-v")

    def processes(self, unit: Unit, context: Context) -> list[Process]:
        (role,) = unit.roles
        fragment: Fragment = system(role.slot, role.system).contribute(role, context)
        folder, hops = context.folder(unit.id), str(context.hops(role.id))
        config = folder / "squid.conf"
        host, port = context.address(role.id, "http")
        argv = (self.binary().path, "-N", "-f", str(config))
        return [
            Process(
                name=unit.id,
                engine=self.name,
                argv=argv,
                cwd=str(folder),
                region=unit.region,
                zone=unit.zone,
                roles=(role.id,),
                files={str(config): fragment.lines},
                folders=(str(folder),),
                writes=(hops,),
                unprivileged=True,
                check=(self.binary().path, "-k", "parse", "-f", str(config)),
                ready=Probe(kind="tcp", target=f"{host}:{port}"),
                alive=Probe(
                    kind="say",
                    target=f"{host}:{port}",
                    say=f"{ALIVE} / HTTP/1.0\r\nHost: squid\r\n\r\n".encode(),
                    expect=b"HTTP/1.1 403",
                ),
                reload="HUP",
                stop_signal="TERM",
                stop_timeout=3.0,
            )
        ]


ENGINE = Squid()
