"""What the providers fill: resources in layers, and what one tier tells the others.

A layer becomes one CloudFormation stack, and layers are deployed in order. A provider writes plain `Ref` and
`Fn::GetAtt` wherever the resource stands: across layers `stacks.py` turns them into outputs and parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tierline.deploy.fleet import Fleet, Member
from tierline.deploy.tags import tagged
from tierline.errors import PlanError
from tierline.plan.model import Plan, Role
from tierline.tiers.cloudformation import Secret, Value, att, logical, ref

LAYERS = ("names", "network", "data", "apps", "edge")
"""The hosted zone and the CDN's certificate; the network with every security group; what keeps data; what
runs; what the world sees. Each layer may use the ones before it."""


@dataclass
class Layer:
    """One stack to be."""

    name: str
    resources: dict[str, dict[str, Any]] = field(default_factory=dict)
    parameters: dict[str, dict[str, Any]] = field(default_factory=dict)
    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)


def is_resource(role: Role) -> bool:
    """Whether a role is of what services use, and not of what requests pass."""
    return role.tier in ("feature", "core", "domain") and role.slot not in (
        "feature.service",
        "feature.function",
    )


class Template:
    """Passed to each provider's `deploy`."""

    def __init__(self, plan: Plan, project: Path) -> None:
        self.plan = plan
        self.project = project
        self.layers = {name: Layer(name) for name in LAYERS}
        self.fleets: dict[str, Fleet] = {}
        self.guards: dict[str, tuple[str, int]] = {}
        """Security group and port of resources that are connected to, by name."""
        self.grants: dict[str, list[dict[str, Any]]] = {}
        """What a user of a resource may do, by the resource's name."""
        self.balanced: list[tuple[str, str]] = []
        """(group of a public load balancer, name that it sends requests to)."""
        self.each_member: list[Callable[[Member], None]] = []
        """Asked for every service that runs on instances, when all are known."""
        self.notes: list[str] = []
        self._groups: dict[str, str] = {}
        self._attributes: dict[tuple[str, str], Value | Secret] = {}

    @property
    def groups(self) -> list[list[Role]]:
        """The roles of each thing of the stack, at all its places, in the order of the path."""
        found: dict[tuple[str, str], list[Role]] = {}
        for role in self.plan.roles.values():
            found.setdefault((role.slot, role.name), []).append(role)
        return list(found.values())

    @property
    def names(self) -> dict[str, list[Role]]:
        """Tiers and services by name. Resources have names of their own."""
        return {roles[0].name: roles for roles in self.groups if not is_resource(roles[0])}

    def add(
        self,
        layer: str,
        id: str,
        type: str,
        properties: dict[str, Any],
        *,
        keep: str = "",
        once: bool = False,
        **attributes: Any,
    ) -> str:
        """A resource, tagged with the stack's name. Returns its logical id.

        keep: the policy when it is deleted or replaced (`Retain`, `Snapshot`, `Delete`). once: several may ask
        for it. attributes: CloudFormation's own, e.g. DependsOn.
        """
        known = self.layers[layer].resources
        if id in known and once:
            return id
        if any(id in other.resources for other in self.layers.values()):
            raise PlanError(
                f"two things of this stack would both be called {id} in CloudFormation: rename one"
            )
        policies = {"DeletionPolicy": keep, "UpdateReplacePolicy": keep} if keep else {}
        properties = tagged(type, {k: v for k, v in properties.items() if v is not None}, self.plan.stack, id)
        known[id] = {"Type": type, **attributes, **policies, "Properties": properties}
        return id

    def parameter(self, layer: str, name: str, about: str, **more: Any) -> Value:
        """Something that whoever deploys has to say. Returns the reference to it."""
        self.layers[layer].parameters[name] = {"Type": "String", **more, "Description": about}
        return ref(name)

    def output(self, layer: str, name: str, value: Value, about: str) -> None:
        self.layers[layer].outputs[name] = {"Description": about, "Value": value}

    def note(self, text: str) -> None:
        """Something that the templates can't do, told when they are made."""
        if text not in self.notes:
            self.notes.append(text)

    def tell(self, role: str, attributes: Mapping[str, Value | Secret]) -> None:
        """What references to a role, or to a name, resolve to: by attribute."""
        self._attributes.update({(role, name): value for name, value in attributes.items()})

    def told(self, role: str, attribute: str) -> Value | Secret:
        """The value of a reference. Raises PlanError when the role's system told none."""
        try:
            return self._attributes[role, attribute]
        except KeyError:
            raise PlanError(f"{role} has no {attribute} when it is deployed") from None

    def fleet(self, name: str) -> Fleet:
        """The instances of that name: made when first asked for."""
        if name not in self.fleets:
            self.fleets[name] = Fleet(name)
            self.group(name)
        return self.fleets[name]

    def fleet_of(self, name: str) -> Fleet | None:
        """The fleet that runs a tier or service."""
        return next((fleet for fleet in self.fleets.values() if name in fleet.members), None)

    def fleet_for(self, role: Role) -> Fleet | None:
        """The fleet that runs a role."""
        return None if is_resource(role) else self.fleet_of(role.name)

    def group(self, name: str) -> Value:
        """The security group of a name, made when first asked for. Returns its id."""
        id = logical(name, "access")
        if self._groups.setdefault(id, name) != name:
            raise PlanError(f"{name} and {self._groups[id]} would both be {id} in CloudFormation: rename one")
        self.add(
            "network",
            id,
            "AWS::EC2::SecurityGroup",
            {"GroupDescription": f"{self.plan.stack} {name}", "VpcId": ref("Network")},
            once=True,
        )
        return att(id, "GroupId")

    def guard(self, resource: str, port: int) -> Value:
        """The security group of a resource that is connected to on a port. Returns its id."""
        self.guards[resource] = (f"{resource}-store", port)
        return self.group(f"{resource}-store")

    def target_group(
        self, name: str, kind: str, attributes: Mapping[str, str] | None = None, health: str | None = None
    ) -> str:
        """A target group for a name's fleet. Returns its logical id. A target group has one load balancer only, so
        each balancer asks for its own kind."""
        fleet = self.fleet_of(name)
        assert fleet is not None
        id, health = logical(name, kind), fleet.health or health
        self.add(
            "apps",
            id,
            "AWS::ElasticLoadBalancingV2::TargetGroup",
            {
                "VpcId": ref("Network"),
                "Protocol": "HTTP",
                "Port": fleet.members[name].port,
                "TargetType": "instance",
                "HealthCheckPath": health or "/",
                # Without a path to ask for, any answer shows that somebody is there.
                "Matcher": {"HttpCode": "200-399" if health else "200-499"},
                "HealthCheckIntervalSeconds": 5,
                "HealthCheckTimeoutSeconds": 3,
                "HealthyThresholdCount": 2,
                "UnhealthyThresholdCount": 2,
                "TargetGroupAttributes": [
                    {"Key": key, "Value": value}
                    for key, value in {
                        "deregistration_delay.timeout_seconds": "30",
                        **(attributes or {}),
                    }.items()
                ],
            },
        )
        fleet.targets.append(id)
        return id

    def grant(self, name: str, *statements: dict[str, Any]) -> None:
        """What users of a resource may do."""
        self.grants.setdefault(name, []).extend(statements)

    def subnets(self, kind: str = "Private") -> list[Value]:
        """A subnet per zone."""
        return [ref(logical(kind, "subnet", zone)) for zone in self.plan.zones]

    def availability_zone(self, zone: str) -> Value:
        """The zone as AWS calls it: zones called by letters are those, others are lettered in their order."""
        zones = self.plan.zones
        lettered = all(len(each) == 1 and each.isalpha() for each in zones)
        letter = zone if lettered else "abcdef"[zones.index(zone)]
        return {"Fn::Sub": f"${{AWS::Region}}{letter}"}
