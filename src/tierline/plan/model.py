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


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """Limits and time-outs of one path, worked out by plan/budgets.py. Sizes in bytes, times in seconds; None: no limit."""

    of: str
    """What the path belongs to: `default`, `journey NAME`, `service NAME`, or `route N` of the gateway's `routes`."""
    path: str
    """The path, or the prefix of the paths, as clients write it."""
    body: int | None
    """Largest request body."""
    request_line: int
    """Longest request line."""
    request_fields: int
    """Request fields in all, as they are in HTTP/1.1."""
    field_count: int
    """Number of request fields; each crumb of a cookie in HTTP/2 counts as one."""
    answer_fields: int
    """The answer's fields in all."""
    connect: float
    """Time for a connection to the next tier."""
    first_byte: float
    """Time until the answer begins, once the request was sent."""
    upload: float | None
    """Time for a client to send its body."""
    idle: float
    """Silence, in either direction, after which an answer ends."""
    total: float | None
    """Time for a request and its whole answer."""
    settings: dict[str, str] = {}
    """By limit, the setting of the stack that it comes from: `Gateway.max_body`. The setting's tier is the one that
    refuses what is beyond."""


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
    hang_after: float = 10.0
    """Seconds after which a process that answers nothing is restarted, where its service says nothing else."""
    units: tuple[Unit, ...]
    asleep: tuple[Unit, ...] = ()
    """Functions that have no process until a message waits."""
    seasons: tuple[dict[str, Any], ...] = ()
    budgets: tuple[Budget, ...] = ()
    """Limits and time-outs: the default first, then those of the paths that have others."""
    losses: tuple[Loss, ...] = ()
    notes: tuple[str, ...] = ()

    def speaks_tls(self, target: Upstream) -> bool:
        """Whether TLS ends at the endpoint of a target."""
        return any(
            each.protocol == "https"
            for each in self.roles[target.role].endpoints
            if each.name == target.endpoint
        )

    @property
    def roles(self) -> dict[str, Role]:
        return {role.id: role for unit in self.units for role in unit.roles}
