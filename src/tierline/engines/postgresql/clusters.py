"""One leads, the others follow: who, and by which commands that changes.

A commit is acknowledged when one follower has it on disk (`synchronous_standby_names = 'ANY 1 (…)'`), so the follower
that is promoted has everything that was acknowledged. While there is no follower the leader goes on alone, and
nobody is promoted in its place.

Who led goes on leading: where the line has lost that member, the primary takes its data over (inherit.py).
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from tierline.engines.base import Cluster, Together
from tierline.engines.context import Context
from tierline.engines.postgresql import configuration, inherit
from tierline.errors import EngineError
from tierline.plan.model import Role, Unit

# Who has the connection open, and how far it is behind: bytes that aren't on its disk, ms until it shows a write.
FOLLOWING = (
    "SELECT concat_ws(' ', application_name, CASE state WHEN 'streaming' THEN 'follows' ELSE 'catches-up' END,"
    " greatest(0, coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), flush_lsn), 0))::bigint,"
    " round(coalesce(extract(epoch FROM replay_lag) * 1000, 0), 1))"
    " FROM pg_stat_replication WHERE state IN ('streaming', 'catchup')"
)
POSITION = "SELECT pg_wal_lsn_diff(pg_last_wal_receive_lsn(), '0/0')"
# Its checkpoint is what tells pg_rewind that a new timeline began.
PROMOTE = "SELECT CASE WHEN pg_is_in_recovery() THEN pg_promote(true, 10) END"
# The process that makes checkpoints is the one that tells all others to wait for a follower: once it has made one, it
# has read the file. The message then waits itself, and all that was acknowledged before it is ahead of it.
CONFIRM = ("CHECKPOINT", "SELECT pg_logical_emit_message(true, 'tierline', 'confirmed')")


class Member(msgspec.Struct, frozen=True):
    """A unit's place among the units of one server."""

    leader: Unit
    primary: Unit
    """The one that is there in every line: its folder says who leads, and it names all databases."""
    others: tuple[Unit, ...]
    folder: Path
    """The primary's."""
    heir: str = ""
    """Who led, and isn't part of the line any more: the primary leads, with its data."""

    @property
    def marker(self) -> Path:
        return self.folder / inherit.MARKER

    @property
    def note(self) -> str:
        """What the user is told about data that is put aside."""
        if not self.heir:
            return ""
        aside = self.folder / f"{inherit.ASIDE}*"
        return (
            f"{self.heir} led and isn't part of the line any more: its data leads here now. What was here is older, "
            f"and kept aside; remove it with: rm -r {aside}"
        )

    def leads(self, unit: Unit) -> bool:
        return unit.id == self.leader.id


def member(unit: Unit, context: Context) -> Member:
    """Who leads, as the marker says; at first the one with the primary.

    Raises EngineError when who led isn't there any more, nor its data.
    """
    units = [each for each in context.plan.units if _together(each, unit)]
    primary = next(each for each in units if each.roles[0].part in ("primary", ""))
    others = tuple(each for each in units if each.id != unit.id)
    folder = context.data(primary.id)
    begun, name = inherit.journal(folder), inherit.led(folder) or primary.id
    leader = next((each for each in units if each.id == name), None)
    if begun is None and leader is not None:
        return Member(leader, primary, others, folder)
    heir = begun.heir if begun is not None else name
    if begun is None and not (folder.with_name(heir) / "cluster").is_dir():
        raise EngineError(
            f"{primary.id}: {heir} led when the line ended, and its data ({folder.with_name(heir) / 'cluster'}) is "
            f"gone. Put it back; or, to go on with the older data of {primary.id}, without what was written since: "
            f"rm {folder / inherit.MARKER}"
        )
    return Member(primary, primary, others, folder, heir)


def cluster(
    unit: Unit, found: Member, psql: str, connection: str, synchronous: Path, context: Context
) -> Cluster | None:
    """What the supervisor needs to keep the unit's data served. None: there is nobody else."""
    if not found.others:
        return None
    ask = _ask(psql, connection)
    leading = context.data(found.leader.id) / "cluster"
    return Cluster(
        name=unit.engine,
        leader=found.leader.id,
        marker=str(found.marker),
        following=(*ask, FOLLOWING),
        position=(*ask, POSITION),
        promote=promoting(psql, connection),
        confirm=(*ask, CONFIRM[0], "-c", CONFIRM[1]),
        complete=(
            context.python, "-m", "tierline.engines.postgresql.complete", psql, connection, str(leading),
        ),
        made=str(context.data(unit.id) / "cluster.made"),
        alone={str(synchronous): configuration.confirmed(())},
        together=_together_with(unit, found.others, synchronous),
    )  # fmt: skip


def _together_with(unit: Unit, others: tuple[Unit, ...], synchronous: Path) -> tuple[Together, ...]:
    """Who may confirm what a unit writes: those in other zones, else all."""
    apart = [each.id for each in others if each.zone != unit.zone]
    sets = [names for names in (apart, [each.id for each in others]) if names]
    return tuple(
        Together(frozenset(names), {str(synchronous): configuration.confirmed(names)})
        for number, names in enumerate(sets)
        if names not in sets[:number]
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
