"""The engine: a unit's dns roles as one `named` and its keeper."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from tierline.engines import binaries
from tierline.engines.answers import kept
from tierline.engines.answers.config import Subnet
from tierline.engines.answers.networks import behind_loopback
from tierline.engines.base import Binary, Process

if TYPE_CHECKING:
    from tierline.engines.context import Context
    from tierline.plan.model import Unit


class Bind9:
    """Fulfils engines/base.py's Engine."""

    name = "bind9"

    def binary(self) -> Binary:
        return binaries.find("bind9", commands=("named",), install="apt-get install bind9")

    def version(self) -> str:
        return binaries.version(self.binary().path, "-v")

    def processes(self, unit: Unit, context: Context) -> list[Process]:
        """BIND knows a client by its address alone, so the simulated ones also have loopback addresses."""
        config = kept.config(unit, context)
        local = [
            Subnet(net=net, region=subnet.region, country=subnet.country, continent=subnet.continent)
            for subnet in config.subnets
            if (net := behind_loopback(subnet.net))
        ]
        config = msgspec.structs.replace(config, subnets=[*config.subnets, *local])
        # Only names relative to its folder: named gives up what lets it pass a closed folder above (root's
        # home). -D tells instances apart in a list of processes.
        argv = (self.binary().path, "-f", "-c", "named.conf", "-D", str(context.folder(unit.id)))
        return kept.processes(unit, context, config, engine=self.name, argv=argv, first="named.conf")


ENGINE = Bind9()
