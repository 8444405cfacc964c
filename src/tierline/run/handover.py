"""A change of the line takes away a process that leads (engines/base.py, Cluster): one that stays leads first.

It is done under the plan as it was, before anything of the new one: the leader ends in order, so that it sends all it
has, and only who has all of it takes over. Where nobody can, the change is refused, and nothing has happened.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tierline.errors import RunError, choices
from tierline.plan.model import Plan
from tierline.run.child import Child
from tierline.run.cluster import hand_over, leader, members

if TYPE_CHECKING:
    from tierline.run.line import Line


async def handed_over(line: Line, plan: Plan) -> list[Child]:
    """Those that led and are kept away until they are removed. Raises RunError: nobody who stays can take over."""
    stay = {unit.id for unit in plan.units}
    names = {child.process.cluster.name for child in line.children.values() if child.process.cluster}
    away = []
    for name in sorted(names):
        old = leader(line.children, name)
        left = {each: child for each, child in members(line.children, name).items() if each in stay}
        if old is None or old.process.name in stay or not left:
            continue
        who = old.process.name
        followers = [child for child in left.values() if child.ready.is_set()]
        told = None
        if old.ready.is_set() and followers:
            told = await hand_over(line.children, old, followers, line.described)
        if told is None:
            raise RunError(
                f"{who} leads and isn't part of the changed line, and {choices(left)} can't take over: "
                f"{_why(old, left)}. Nothing was changed. Wait until tierline status says that it follows "
                f"(tierline heal process NAME when it was killed), or let the data that leads be taken over by a new "
                f"start: tierline down, then tierline up"
            )
        new, seconds = told
        away.append(old)
        line.events.tell(
            "handover", who, f"{new.process.name} leads now; no writes for {seconds * 1000:.0f} ms"
        )
    return away


def _why(old: Child, left: dict[str, Child]) -> str:
    if not old.ready.is_set():
        return f"{old.process.name} is {old.phase}"
    if ready := [name for name, child in left.items() if child.ready.is_set()]:
        return f"{', '.join(ready)} hadn't received all that was written"
    return ", ".join(f"{name} is {child.phase}" for name, child in left.items())
