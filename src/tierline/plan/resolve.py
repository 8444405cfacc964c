"""Stack + lineup → plan.

place      every tier at every place it is needed      placement.py
connect    each role to the roles that follow it       here
wire       what services receive in the environment    wiring.py
fuse       neighbours on one engine share a unit       fusion.py
bypass     what goes past the HTTP cache               bypass.py
budget     limits and time-outs of each path           budgets.py
scale      as many instances as each needs at least    scaling.py
report     what the lineup's systems can't do          parity.py
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import msgspec

from tierline.errors import PlanError
from tierline.plan import messages
from tierline.plan.budgets import worked_out
from tierline.plan.bypass import bypassed
from tierline.plan.fusion import fuse
from tierline.plan.model import Plan, Role
from tierline.plan.parity import losses, unheld
from tierline.plan.placement import PATH, Line, place
from tierline.plan.scaling import scaled, scales
from tierline.plan.wiring import wire
from tierline.stack import Stack
from tierline.tiers.base import system
from tierline.tiers.client.tier import Web
from tierline.tiers.feature.common.season import Season
from tierline.tiers.feature.tier import Resource, Service


def resolve(stack: Stack, lineup: Mapping[str, str], *, fusion: bool = True) -> Plan:
    """The plan of a stack in a lineup. Deterministic: equal input gives equal output.

    Raises PlanError when a slot that the stack uses has no system in the lineup.
    """
    messages.check(stack)
    line = Line(stack, lineup)
    roles = wire(stack, line, place(stack, line))
    entry = line.path[0] if line.path else ""
    _checked(stack, roles)
    plan = Plan(
        stack=stack.name,
        domain=stack.dns.domain if stack.dns else f"{stack.name}.localhost",
        region=stack.region,
        zones=stack.zones,
        places=line.places,
        lineup={slot: system for slot, system in sorted(lineup.items()) if slot in line.used},
        entry=tuple(role.id for role in roles if role.name == entry),
        fusion=fusion,
        hang_after=stack.hang_after,
        units=fuse(stack, roles, fusion=fusion),
        seasons=tuple(_season(stack, season) for season in stack.seasons),
        losses=losses(stack, line),
        notes=_notes(stack, line, roles),
    )
    plan = bypassed(stack, plan)
    plan = msgspec.structs.replace(plan, budgets=worked_out(plan))
    plan = msgspec.structs.replace(plan, losses=(*plan.losses, *unheld(plan)))
    plan = scaled(plan, {key: each.min for key, each in scales(plan).items()})
    return _described(stack, plan)


def _described(stack: Stack, plan: Plan) -> Plan:
    """The plan with the document that its gateways serve, when the stack asks for one."""
    if stack.gateway is None or stack.gateway.openapi is None:
        return plan
    from tierline.openapi.document import text

    found, notes = text(stack, plan)

    def told(role: Role) -> Role:
        more = {**role.settings, "document": found}
        return msgspec.structs.replace(role, settings=more) if role.slot == "gateway" else role

    units = tuple(msgspec.structs.replace(u, roles=tuple(map(told, u.roles))) for u in plan.units)
    return msgspec.structs.replace(plan, units=units, notes=(*plan.notes, *notes))


def _season(stack: Stack, season: Season) -> dict[str, Any]:
    """A season as data: whom it names by name alone."""
    return {
        **season.data(),
        "asks": [headers for client in stack.clients or (Web(),) for headers in client.asks()],
        "services": [each.name if isinstance(each, Service) else each for each in season.services],
        "warm_up": [
            {"kind": type(each).__name__, "name": each.name} if isinstance(each, Resource) else each
            for each in season.warm_up
        ],
    }


def _checked(stack: Stack, roles: list[Role]) -> None:
    """Raises PlanError for a tier that could only fail: nothing is behind it. And StackError for a journey that can't be
    answered: a name that nobody provides, a circle, a type that doesn't fit."""
    for journey in stack.journeys:
        if journey.parts:
            journey.shape(each.name for each in (*stack.services, *stack.outside))
    for role in roles:
        # Files and mail pass beside the requests that an application answers.
        behind = set(role.upstreams) - {"assets", role.settings.get("mail")}
        passes_on = (
            role.name in PATH and role.tier in PATH and role.tier != "gateway" and role.part != "origin"
        )
        if passes_on and not behind:
            raise PlanError(
                f"Stack({stack.name!r}): nothing is behind {role.name} that answers requests: add a service "
                "(services=), journeys, or a gateway"
            )
        if role.tier == "dns" and not role.upstreams:
            raise PlanError(
                f"Stack({stack.name!r}): the name service has nothing to answer with: add a service (services=), "
                "journeys, or a tier that clients reach"
            )


def _notes(stack: Stack, line: Line, roles: list[Role]) -> tuple[str, ...]:
    notes = []
    if not any(role.tier in ("experience", "feature") for role in roles):
        notes.append("the stack has no services and no journeys: every request ends in 404")
    if stack.gateway is None:
        front = line.path[-1] if line.path else ""
        behind = next((list(role.upstreams) for role in roles if role.name == front and role.upstreams), [])
        if front not in PATH:
            behind = [front, *(service.name for service in stack.services if service.expose)]
        inbox = stack.lb.mail if stack.lb is not None else None
        behind = [name for name in dict.fromkeys(behind) if name not in ("assets", inbox)]
        if len(behind) > 1:
            notes.append(
                f"without a gateway every request goes to {behind[0]}: clients don't reach {', '.join(behind[1:])}"
            )
    asked = {name for role in roles if role.tier in PATH for name in role.upstreams} | set(line.path)
    hidden = [
        s.name for s in stack.services
        if not s.expose and not _used(stack, s.name) and not stack.journeys and s.name not in asked
    ]  # fmt: skip
    notes += [f"nothing calls {name}: no expose=, no journey and no other service uses it" for name in hidden]
    for service in stack.services:
        local = system("feature.service", line.lineup["feature.service"]).engine
        if local and service.command and (service.scale.rps or service.scale.latency):
            before = {
                role.slot: role.system
                for role in roles
                if service.name in role.upstreams and role.tier in PATH
            }
            blind = [found for slot, name in before.items() if not (found := system(slot, name)).measures]
            notes += [
                f"{service.name}: {found.title} doesn't tell who answered it, so what it sends a command doesn't count for "
                "rps= and latency= of its scale; cpu= and queue= are followed"
                for found in blind
            ]
    return (*notes, *_in_memory(stack), *messages.notes(stack))


def _in_memory(stack: Stack) -> list[str]:
    """Journeys that remember something, where no store is there that outlives a process and that all of them share."""
    if any(resource.slot == "core.sessions" for resource in stack.resources):
        return []
    named = [
        journey.name
        for journey in stack.journeys
        if journey.steps
        or any(
            part.kind == "effect" or "session" in inspect.signature(part.function).parameters
            for part in journey.parts.values()
        )
    ]
    if not named:
        return []
    return [
        f"no service uses Sessions, so what journeys remember ({', '.join(named)}: sessions, steps, effects that have been done) "
        "is in each process's own memory, is lost when it restarts, and isn't shared by zones; "
        'give a service uses=[Sessions("session")]'
    ]


def _used(stack: Stack, name: str) -> bool:
    return any(name == getattr(used, "name", used) for service in stack.services for used in service.uses)
