"""The engine: a unit's dns roles as one `pdns_server` and its keeper."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tierline.engines import binaries
from tierline.engines.answers import kept
from tierline.engines.base import Binary, Process
from tierline.errors import EngineError

if TYPE_CHECKING:
    from tierline.engines.context import Context
    from tierline.plan.model import Unit

_INSTALL = "apt-get install pdns-server pdns-backend-geoip"
_MODULES = ("/usr/lib/*/pdns", "/usr/lib64/pdns", "/usr/lib/pdns", "/usr/local/lib/pdns")


class PowerDNS:
    """Fulfils engines/base.py's Engine."""

    name = "powerdns"

    def binary(self) -> Binary:
        return binaries.find("powerdns", commands=("pdns_server",), install=_INSTALL)

    def version(self) -> str:
        return binaries.version(self.binary().path, "--version")

    def processes(self, unit: Unit, context: Context) -> list[Process]:
        config = kept.config(unit, context)
        argv = (self.binary().path, "--config-dir=.", f"--module-dir={_modules()}")
        return kept.processes(unit, context, config, engine=self.name, argv=argv, first="pdns.conf")


def _modules() -> str:
    """The folder with the geoip backend, which is a package of its own."""
    for pattern in _MODULES:
        for found in Path("/").glob(f"{pattern[1:]}/libgeoipbackend.so"):
            return str(found.parent)
    raise EngineError(f"powerdns has no geoip backend here. Install it: {_INSTALL}")


ENGINE = PowerDNS()
