"""The parity report: what the stack asks for and the lineup's system can't do. Told before anything starts."""

from __future__ import annotations

from tierline.plan import bypass
from tierline.plan.budgets import held, refused_by
from tierline.plan.model import Loss, Plan
from tierline.plan.placement import Line
from tierline.stack import Stack
from tierline.tiers.base import system


def losses(stack: Stack, line: Line) -> tuple[Loss, ...]:
    """One loss per feature asked of a system that lacks it, in the order of the path."""
    found: list[Loss] = []
    for slot, intent in (
        ("dns", stack.dns),
        ("cdn", stack.cdn),
        ("lb", stack.lb),
        ("cache", stack.cache),
        ("gateway", stack.gateway),
    ):
        if intent is None:
            continue
        plays = line.system(slot)
        for feature, asked in intent.features().items():
            if feature in intent.between_zones and len(stack.zones) < 2:
                continue
            if feature not in plays.supports:
                why = plays.lacks.get(feature, f"{plays.title} doesn't do it")
                found.append(
                    Loss(tier=slot, system=line.lineup[slot], feature=feature, why=f"{asked}: {why}")
                )
    return (*found, *bypass.losses(stack, line))


def unheld(plan: Plan) -> tuple[Loss, ...]:
    """One loss per limit or time-out that a tier's system can't hold, in the order of the path: of all paths together,
    then of those that have others."""
    firsts = {role.name: role for role in reversed(plan.roles.values()) if role.part != "origin"}
    found: dict[tuple[str, str], Loss] = {}
    for tier in ("cdn", "lb", "cache", "gateway"):
        if (role := firsts.get(tier)) is None:
            continue
        for budget in (held(plan, role), *refused_by(plan, role)):
            for setting, why in system(role.slot, role.system).unheld(role, budget).items():
                loss = Loss(tier=tier, system=role.system, feature=setting, why=why)
                found.setdefault((tier, setting), loss)
    return tuple(found.values())
