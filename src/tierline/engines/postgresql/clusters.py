"""One leads, the others follow: who, by which commands that changes, and what a follower does before it starts.

A commit is acknowledged when one follower has it on disk (`synchronous_standby_names = 'ANY 1 (…)'`), so the follower
that is promoted has everything that was acknowledged. While there is no follower the leader goes on alone, and
nobody is promoted in its place.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from tierline.engines.base import Cluster
from tierline.engines.context import Context
from tierline.engines.postgresql import configuration
from tierline.plan.model import Role, Unit

FOLLOWING = "SELECT application_name FROM pg_stat_replication WHERE state = 'streaming'"
POSITION = "SELECT pg_wal_lsn_diff(pg_last_wal_receive_lsn(), '0/0')"
# Its checkpoint is what tells pg_rewind that a new timeline began.
PROMOTE = "SELECT CASE WHEN pg_is_in_recovery() THEN pg_promote(true, 10) END"


class Member(msgspec.Struct, frozen=True):
    """A unit's place among the units of one server."""

    leader: Unit
    others: tuple[Unit, ...]
    marker: Path

    def leads(self, unit: Unit) -> bool:
        return unit.id == self.leader.id


def member(unit: Unit, context: Context) -> Member:
    """Who leads, as the marker says; at first the one with the primary."""
    units = [each for each in context.plan.units if _together(each, unit)]
    primary = next(each for each in units if each.roles[0].part in ("primary", ""))
    marker = context.data(primary.id) / "leader"
    try:
        name = marker.read_text().strip()
    except FileNotFoundError:
        name = primary.id
    leader = next((each for each in units if each.id == name), primary)
    return Member(leader, tuple(each for each in units if each.id != unit.id), marker)


def cluster(unit: Unit, found: Member, psql: str, connection: str, synchronous: Path) -> Cluster | None:
    """What the supervisor needs to keep the unit's data served. None: there is nobody else."""
    if not found.others:
        return None
    ask = _ask(psql, connection)
    return Cluster(
        name=unit.engine,
        leader=found.leader.id,
        marker=str(found.marker),
        following=(*ask, FOLLOWING),
        position=(*ask, POSITION),
        promote=promoting(psql, connection),
        alone={str(synchronous): configuration.confirmed(())},
        together={str(synchronous): configuration.confirmed([each.id for each in found.others])},
    )


def promoting(psql: str, connection: str) -> tuple[str, ...]:
    """The command that makes a follower lead; it does nothing on who leads already."""
    return (*_ask(psql, connection), PROMOTE, "-c", "CHECKPOINT")


def _ask(psql: str, connection: str) -> tuple[str, ...]:
    return (psql, "-XqAt", "-w", "-v", "ON_ERROR_STOP=1", "-d", connection, "-c")


def _together(one: Unit, other: Unit) -> bool:
    """Whether two units hold the same databases."""
    if one.engine != other.engine:
        return False
    return bool(_names(one.roles) & _names(other.roles))


def _names(roles: tuple[Role, ...]) -> set[tuple[str, str]]:
    return {(role.slot, role.name) for role in roles}
