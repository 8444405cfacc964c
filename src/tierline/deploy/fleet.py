"""Fleets: instances over all zones that run the same services, as an Auto Scaling group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tierline.plan.model import Role
from tierline.tiers.cloudformation import Value

FIRST_PORT = 8000


@dataclass
class Member:
    """A service on each instance of a fleet: the systemd unit `tierline@<name>`."""

    name: str
    port: int
    roles: Sequence[Role]
    environment: dict[str, Value] = field(default_factory=dict)
    """Variables besides those of the plan."""


@dataclass
class Fleet:
    """Instances that are all alike."""

    name: str
    members: dict[str, Member] = field(default_factory=dict)
    scale: dict[str, Any] = field(default_factory=dict)
    """`min`, `max` per zone, and what one instance should carry: `rps` or `cpu`."""
    health: str | None = None
    """The path that a healthy instance answers; None: any answer will do."""
    targets: list[str] = field(default_factory=list)
    """Logical ids of the target groups that it is registered in."""

    def run(
        self,
        roles: Sequence[Role],
        *,
        scale: Mapping[str, Any],
        health: str | None = None,
        environment: Mapping[str, Value] | None = None,
    ) -> Member:
        """One more service on these instances. The first one's port is what a target group is sent to."""
        name = roles[0].name
        # Providers are asked from the end of the line to its beginning, so the last one is the door.
        self.members = {name: Member(name, FIRST_PORT + len(self.members), roles), **self.members}
        self.members[name].environment.update(environment or {})
        self.scale = dict(scale)
        self.health = health
        return self.members[name]

    @property
    def door(self) -> Member:
        """The member that requests from outside of the fleet reach first."""
        return next(iter(self.members.values()))
