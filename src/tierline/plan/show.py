"""The plan for people: a tree and a picture. Both are the same for the same plan."""

from __future__ import annotations

from collections.abc import Mapping
from xml.sax.saxutils import escape

from tierline.plan.budgets import shown
from tierline.plan.bypass import Rule, rules
from tierline.plan.model import TIERS, Budget, Plan, Role, Unit


def text(plan: Plan, addresses: Mapping[str, str]) -> str:
    """The tree of tiers and roles. addresses: `role/endpoint` → `host:port`, when the line is up."""
    units = {role.id: unit for unit in plan.units for role in unit.roles}
    lines = [f"{plan.stack}  {plan.domain}  {plan.region} zones {', '.join(plan.zones)}"]
    for tier in TIERS:
        roles = [role for role in plan.roles.values() if role.tier == tier]
        if not roles:
            continue
        lines.append(f"{tier}")
        for role in roles:
            unit = units[role.id]
            fused = f"  in {unit.id} with {len(unit.roles) - 1} more" if len(unit.roles) > 1 else ""
            at = ", ".join(
                f"{endpoint.name} {addresses.get(f'{role.id}/{endpoint.name}', '')}".rstrip()
                for endpoint in role.endpoints
            )
            place = f"{role.region}{'/' + role.zone if role.zone else ''}"
            lines.append(f"  {role.id:<22} {role.system:<12} {place:<16} {at}{fused}")
            lines += [f"    → {name}: {_targets(role, name)}" for name in role.upstreams]
            lines += [f"    bypass {_bypassing(rule)}" for rule in rules(role)]
            if role.environment:
                lines.append(f"    env {' '.join(sorted(role.environment))}")
    lines.append(f"{len(plan.roles)} roles in {len(plan.units)} processes")
    asleep = dict.fromkeys(role.name for unit in plan.asleep for role in unit.roles)
    lines += [f"asleep  {name}: no process until a message waits" for name in asleep]
    lines += [f"budget  {_limits(budget)}" for budget in plan.budgets]
    lines += [f"loss  {loss.tier}.{loss.system}: {loss.feature}: {loss.why}" for loss in plan.losses] or [
        "no losses"
    ]
    lines += [f"note  {note}" for note in plan.notes]
    return "\n".join(lines)


def difference(fused: Plan, alone: Plan) -> str:
    """What fusion does: who shares a process, who could and doesn't, and how many processes that saves."""
    lines = []
    for unit in fused.units:
        apart = [each for each in alone.units if {r.id for r in each.roles} <= {r.id for r in unit.roles}]
        if len(apart) > 1:
            names = ", ".join(role.name for role in unit.roles)
            lines.append(f"fused {unit.id}: {names} in 1 process instead of {len(apart)}")
    lines.append(f"{len(fused.units)} processes with fusion, {len(alone.units)} without (--no-fusion)")
    return "\n".join(lines)


def _limits(budget: Budget) -> str:
    words = {
        "body": "body", "request_line": "request line", "request_fields": "request fields", "answer_fields": "answer fields",
        "first_byte": "answer within", "upload": "body within", "idle": "silence", "total": "in all",
    }  # fmt: skip
    found = ", ".join(f"{word} {shown(field, getattr(budget, field))}" for field, word in words.items())
    return f"{budget.of} {budget.path}: {found}"


def _targets(role: Role, name: str) -> str:
    return ", ".join(
        f"{upstream.role}{'' if upstream.distance == 0 else ' (backup)' if upstream.distance == 1 else ' (far)'}"
        for upstream in role.upstreams[name]
    )


def _bypassing(rule: Rule) -> str:
    below = " and below" if rule.match == "prefix" and rule.path != "/" else ""
    return f"{rule.path}{below} → {rule.to} ({rule.why})"


_WIDTH, _HEIGHT, _GAP = 190, 44, 22


def picture(plan: Plan) -> str:
    """An SVG: a column per tier, a box per role, an outline around roles that share a process."""
    columns = [(tier, [r for r in plan.roles.values() if r.tier == tier]) for tier in TIERS]
    columns = [(tier, roles) for tier, roles in columns if roles]
    height = 60 + max(len(roles) for _, roles in columns) * (_HEIGHT + _GAP)
    width = 20 + len(columns) * (_WIDTH + 60)
    at: dict[str, tuple[int, int]] = {}
    boxes: list[str] = []
    units = {role.id: unit for unit in plan.units for role in unit.roles}
    for number, (tier, roles) in enumerate(columns):
        x = 20 + number * (_WIDTH + 60)
        boxes.append(f'<text class="tier" x="{x}" y="28">{escape(tier)}</text>')
        for row, role in enumerate(roles):
            y = 44 + row * (_HEIGHT + _GAP)
            at[role.id] = (x, y)
            boxes.append(_box(role, units[role.id], x, y))
    arrows = [
        _arrow(at[role.id], at[upstream.role], upstream.distance)
        for role in plan.roles.values()
        for upstreams in role.upstreams.values()
        for upstream in upstreams
    ]
    arrows += [_arrow(at[role.id], at[need], 1) for role in plan.roles.values() for need in role.needs]
    style = (
        "text{font:13px system-ui,sans-serif;fill:#1b2733}.tier{font-weight:600}.small{font-size:11px;fill:#5b6b7b}"
        "rect{fill:#f4f7fa;stroke:#8fa3b5;rx:6}path{fill:none;stroke:#9db2c6}path.far{stroke-dasharray:4 4}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img"><title>{escape(plan.stack)}</title><style>{style}</style>{"".join(arrows)}{"".join(boxes)}</svg>'
    )


def _box(role: Role, unit: Unit, x: int, y: int) -> str:
    shared = f" · in {unit.id}" if len(unit.roles) > 1 else ""
    return (
        f'<rect x="{x}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}"/>'
        f'<text x="{x + 10}" y="{y + 18}">{escape(role.id)}</text>'
        f'<text class="small" x="{x + 10}" y="{y + 35}">{escape(role.system + shared)}</text>'
    )


def _arrow(start: tuple[int, int], end: tuple[int, int], distance: int) -> str:
    x1, y1 = start[0] + _WIDTH, start[1] + _HEIGHT // 2
    x2, y2 = end[0], end[1] + _HEIGHT // 2
    bend = 30 if x2 > x1 else -40
    far = ' class="far"' if distance else ""
    return f'<path{far} d="M{x1} {y1}C{x1 + bend} {y1} {x2 - bend} {y2} {x2} {y2}"/>'
