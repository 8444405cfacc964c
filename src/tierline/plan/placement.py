"""Where each tier stands: a role at every place it is needed, connected to the roles that follow it.

dns                      one
cdn                      one per place (region)
assets                   one per zone, the origin of static files and of buckets' objects
lb, cache, gateway       one per zone
experience, services     the first instance of each zone; scaling.py adds the others
resources                in the first zone; replicas in the next ones
analytics                one
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from tierline.errors import PlanError
from tierline.intent import Intent
from tierline.plan.model import Endpoint, Role, Upstream
from tierline.stack import Stack
from tierline.tiers.base import System, system, tier_of
from tierline.tiers.dns.common.places import table
from tierline.tiers.feature.tier import Function, Resource, Service

_DRAIN = 10.0
"""Seconds for journeys that are being answered when their process has a successor; more where one may take longer."""
PATH = ("cdn", "lb", "cache", "gateway")
"""Tiers that a request passes in this order, each at most once."""
PLACES = "places"
"""The endpoint for places of the line's CDN, where a system has one for them."""


class Line:
    """Which tiers this stack has, and the systems that play them."""

    def __init__(self, stack: Stack, lineup: Mapping[str, str]) -> None:
        self.lineup = lineup
        self.used: set[str] = set()
        self.path = tuple(tier for tier in PATH if getattr(stack, tier) is not None)
        self.last = "experience" if stack.journeys else ""
        self.places = (stack.cdn.places or (stack.region,)) if stack.cdn else (stack.region,)
        if not self.path:
            self.path = ("experience",) if stack.journeys else tuple(s.name for s in stack.services[:1])

    def system(self, slot: str) -> System:
        """The system of a slot. Raises PlanError when the lineup has none."""
        self.used.add(slot)
        if slot not in self.lineup:
            raise PlanError(f"the lineup has no system for {slot}: add --use {slot}=SYSTEM")
        return system(slot, self.lineup[slot])


def place(stack: Stack, line: Line) -> list[Role]:
    """Every role of the line, connected, in the order of the path."""
    roles = [
        *_edge(stack, line),
        *_apps(stack, line),
        *_resources(stack, line),
        *_identity(stack, line),
        *_limits(stack, line),
        _analytics(stack, line),
    ]
    return [_connected(stack, line, role, roles) for role in roles]


def _edge(stack: Stack, line: Line) -> Iterable[Role]:
    if stack.dns is not None:
        world = {**_said(stack.dns), "places": table(stack.region)}
        yield _role(line, "dns", "dns", world, region=stack.region)
    if stack.cdn is not None:
        for region in line.places:
            yield _role(line, "cdn", "cdn", _said(stack.cdn), region=region, place=region)
        if stack.cdn.assets is not None or stack.cdn.buckets:
            for zone in stack.zones:
                yield _role(
                    line, "cdn", "assets", _said(stack.cdn), region=stack.region, zone=zone, part="origin"
                )
    for tier in PATH[1:]:
        intent = getattr(stack, tier)
        if intent is not None:
            for zone in stack.zones:
                yield _role(line, tier, tier, _said(intent), region=stack.region, zone=zone)


def _said(intent: Intent) -> dict[str, Any]:
    """The intent as data, with where the stack has its raw lines, for who says that they are wrong."""
    said = intent.data()
    if said.get("raw"):
        file, line = intent.__dict__["__where__"]
        said["raw_at"] = f"{type(intent).__name__}(raw=) at {Path(file).name}:{line}"
    return said


def _apps(stack: Stack, line: Line) -> Iterable[Role]:
    if stack.journeys:
        paths = [
            {"name": journey.name, "path": journey.path, "private": journey.private}
            for journey in (*stack.journeys, *stack.passages)
        ]
        for zone in stack.zones:
            told = {
                "journeys": paths,
                "scale": stack.scale.data() if stack.scale else None,
                "drain": max(_DRAIN, *(each.deadline for each in (*stack.journeys, *stack.passages))),
            }
            yield _role(line, "experience", "experience", told, region=stack.region, zone=zone)
    for app in stack.apps:
        for zone in stack.zones:
            yield _role(line, app.slot, app.name, app.data(), region=stack.region, zone=zone)


def _resources(stack: Stack, line: Line) -> Iterable[Role]:
    for resource in stack.resources:
        plays = line.system(resource.slot)
        replicas = getattr(resource, "replicas", 0)
        parts = ["primary", *(f"replica-{n}" for n in range(1, replicas + 1))]
        if plays.group == "server":
            # Databases of one server share its replicas: what asked for none isn't read there, but goes on there
            # when the primary is lost.
            most = max(
                getattr(other, "replicas", 0)
                for other in stack.resources
                if line.system(other.slot).engine == plays.engine
            )
            parts += [f"standby-{n}" for n in range(replicas + 1, most + 1)]
        for number, part in enumerate(parts):
            # Databases stand in zones; queues, buckets, caches and mail belong to the region, as their managed
            # counterparts do: a zone that dies doesn't take them away.
            zone = stack.zones[number % len(stack.zones)] if tier_of(resource.slot) == "domain" else ""
            yield _role(
                line, resource.slot, resource.name, resource.data(), region=stack.region, zone=zone, part=part,
                place=part if replicas or part.startswith("standby") else "",
            )  # fmt: skip


def _identity(stack: Stack, line: Line) -> Iterable[Role]:
    """The local OpenID provider, where the gateway's login asks for one."""
    login = stack.gateway.login if stack.gateway else None
    if login is None or not login.local:
        return
    if "feature.identity" not in line.lineup:
        raise login.wrong("issuer", "local", "the https:// issuer of a real provider: this lineup plays none")
    yield _role(line, "feature.identity", "identity", login.data(), region=stack.region)


def _limits(stack: Stack, line: Line) -> Iterable[Role]:
    """The counter of limits and quotas, where the gateway has some and counts them with one."""
    gateway = stack.gateway
    if gateway is None or not (gateway.limits or (gateway.keys and gateway.keys.plans)):
        return
    slot = line.system("gateway").counter
    if slot in line.lineup:
        yield _role(line, slot, "limits", {}, region=stack.region)


def _analytics(stack: Stack, line: Line) -> Role:
    return _role(line, "analytics", "telemetry", stack.telemetry.data(), region=stack.region)


def _role(
    line: Line, slot: str, name: str, settings: dict[str, Any], *, region: str, zone: str = "", part: str = "",
    place: str | None = None,
) -> Role:  # fmt: skip
    chosen = line.lineup.get(slot, "")
    plays = line.system(slot)
    if part == "origin" and plays.origin:
        chosen, plays = plays.origin, system(slot, plays.origin)
    place = zone if place is None else place
    listens = dict(plays.listens(settings))
    if plays.listens_for_places and line.path[:2] == ("cdn", name):
        listens[PLACES] = "https" if "https" in listens else "http"
    id = f"{name}.{place}" if place else name
    return Role(
        id=id,
        name=name,
        tier=tier_of(slot),
        slot=slot,
        system=chosen,
        engine=plays.engine,
        region=region,
        zone=zone,
        part=part,
        settings=settings,
        endpoints=tuple(
            Endpoint(id, label, protocol)
            for label, protocol in listens.items()
            if (part != "origin" or label == "http")  # an origin of files is only reached from within
            and (label != "mtls" or settings.get("mtls"))
        ),
    )


def _connected(stack: Stack, line: Line, role: Role, roles: list[Role]) -> Role:
    following: dict[str, tuple[Upstream, ...]] = {}
    behind = {*PATH, "experience", "feature.service", "feature.mail"}
    if role.part == "origin":
        behind = {"feature.bucket"}
    needs: list[str] = []
    for name in _next(stack, line, role):
        targets = [other for other in roles if other.name == name and other.slot in behind]
        following[name] = tuple(
            sorted(
                (Upstream(other.id, _endpoint(other), _distance(role, other)) for other in targets),
                key=lambda upstream: (upstream.distance, upstream.role),
            )
        )
    for resource in _uses(stack, role):
        needs += [other.id for other in roles if other.name == resource.name and other.slot == resource.slot]
    if role.slot == "gateway" and (slot := line.system("gateway").counter):
        needs += [other.id for other in roles if other.slot == slot]
    return msgspec.structs.replace(role, upstreams=following, needs=tuple(needs))


def _next(stack: Stack, line: Line, role: Role) -> list[str]:
    """Names of what a role sends requests to."""
    called = stack.gateway.calls() if stack.gateway else set()
    behind = ["experience"] if stack.journeys else []
    behind += [s.name for s in stack.services if s.expose or s.name in called]
    if not behind and stack.gateway is None:
        behind = [
            service.name for service in stack.services[:1]
        ]  # nobody routes: who is there answers everything
    if role.name == "dns":
        return [line.path[0]] if line.path else []
    if role.part == "origin":
        return list(dict.fromkeys(role.settings["buckets"].values()))
    if role.name in line.path and role.tier in PATH:
        following = line.path[line.path.index(role.name) + 1 :]
        straight = list(following[:1]) or behind
        if role.settings.get("mail") and "mail" in line.system(role.slot).supports:
            straight = [*straight, role.settings["mail"]]
        return (["assets"] if role.name == "cdn" and _has_files(role) else []) + straight
    if role.tier == "experience":
        return [service.name for service in stack.services]
    app = next((each for each in stack.apps if each.name == role.name and each.slot == role.slot), None)
    return (
        [u.name if isinstance(u, Service) else u for u in app.uses if isinstance(u, Service | str)]
        if app
        else []
    )


def _has_files(role: Role) -> bool:
    return bool(role.settings.get("assets") or role.settings.get("buckets"))


def _uses(stack: Stack, role: Role) -> list[Resource]:
    for app in stack.apps:
        if app.name == role.name and app.slot == role.slot:
            on = [app.on] if isinstance(app, Function) else []
            return on + [used for used in app.uses if isinstance(used, Resource)]
    return []


def _endpoint(role: Role) -> str:
    """The endpoint that the tier before uses: one for places of a CDN, else TLS where there is."""
    names = [endpoint.name for endpoint in role.endpoints]
    return next((name for name in (PLACES, "https") if name in names), names[0])


def _distance(role: Role, other: Role) -> int:
    if role.region != other.region:
        return 2
    return 1 if role.zone and other.zone and role.zone != other.zone else 0
