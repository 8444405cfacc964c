"""The plan: a stack resolved against a lineup, as pure data.

The same for every executor: `run` gives its endpoints local ports, `deploy` gives them CloudFormation
attributes. Nothing here knows about processes, ports or CloudFormation.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

TIERS = (
    "client", "dns", "cdn", "lb", "cache", "gateway", "experience", "feature", "core", "domain", "analytics",
)  # fmt: skip
"""The tiers in the order in which a request meets them."""


class Endpoint(msgspec.Struct, frozen=True):
    """Something a role listens on. `role` and `name` together are its address in the plan."""

    role: str
    name: str
    protocol: Literal["http", "https", "dns", "postgresql", "redis", "nats", "smtp", "s3", "tcp"]


class Ref(msgspec.Struct, frozen=True, tag="ref"):
    """An attribute of a role that is known late: a local port in `run`, an Fn::GetAtt in `deploy`.

    attribute: `<endpoint>.host`, `<endpoint>.port`, `secret.<name>` or a name the system defines.
    """

    role: str
    attribute: str


class Text(msgspec.Struct, frozen=True, tag="text"):
    """A string with references in it, in order."""

    parts: tuple[str | Ref, ...]


class Upstream(msgspec.Struct, frozen=True):
    """A role that traffic goes on to. `distance` 0: the same zone, 1: another zone, 2: another region."""

    role: str
    endpoint: str
    distance: int


class Role(msgspec.Struct, frozen=True, kw_only=True):
    """What one tier needs from its system at one place."""

    id: str
    """`<name>` or `<name>.<place>`, e.g. `gateway.a`, `cdn.eu-west-1`, `films.replica-1`."""
    name: str
    tier: str
    slot: str
    """What a lineup chooses a system for: `gateway`, `feature.service`, `domain.relational`, …"""
    system: str
    engine: str
    region: str
    zone: str = ""
    part: str = ""
    """Which part of a resource: `primary`, `replica-1`, …; `standby-1`: takes over, but isn't read."""
    settings: dict[str, Any] = {}
    """The intent's fields as plain data."""
    endpoints: tuple[Endpoint, ...] = ()
    upstreams: dict[str, tuple[Upstream, ...]] = {}
    """By the name of the next role (`gateway`, `catalog`, `assets`), nearest first."""
    environment: dict[str, Text] = {}
    """What a service receives, by variable."""
    needs: tuple[str, ...] = ()
    """Roles that must be ready first."""


class Unit(msgspec.Struct, frozen=True, kw_only=True):
    """Roles that share one process: what fusion decided."""

    id: str
    engine: str
    region: str
    zone: str
    roles: tuple[Role, ...]


class Loss(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the parity report: what the stack asks for and the lineup's system can't do."""

    tier: str
    system: str
    feature: str
    why: str
    instead: str = ""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The whole line."""

    stack: str
    domain: str
    region: str
    zones: tuple[str, ...]
    places: tuple[str, ...]
    lineup: dict[str, str]
    entry: tuple[str, ...]
    """Roles that clients connect to: the first tier of the path after dns."""
    fusion: bool = True
    units: tuple[Unit, ...]
    asleep: tuple[Unit, ...] = ()
    """Functions that have no process until a message waits."""
    seasons: tuple[dict[str, Any], ...] = ()
    losses: tuple[Loss, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def roles(self) -> dict[str, Role]:
        return {role.id: role for unit in self.units for role in unit.roles}
