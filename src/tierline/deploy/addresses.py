"""Who reaches whom, and where: the edges of the plan as security group rules and addresses.

Services call each other through one internal load balancer with a port per name, so that an address is known
before anything is created, and a security group can allow exactly the plan's edges.
"""

from __future__ import annotations

from collections.abc import Iterator

from tierline.deploy.fleet import Fleet
from tierline.deploy.template import Template, is_resource
from tierline.errors import PlanError
from tierline.plan.model import Ref, Role
from tierline.tiers.cloudformation import Secret, Value, logical

FIRST_PORT = 8100
INNER = "InnerBalancer"
"""The internal load balancer's name among the security groups; with capitals, which no service has."""


def host(template: Template) -> str:
    """The internal load balancer's name in the stack's private zone."""
    return f"apps.{template.plan.stack}.internal"


def port(template: Template, name: str) -> int:
    """The port of a name at the internal load balancer: its number in the line."""
    return FIRST_PORT + list(template.names).index(name)


def running(template: Template) -> Iterator[tuple[Role, Fleet]]:
    """Every role that runs on instances."""
    for role in template.plan.roles.values():
        fleet = template.fleet_for(role)
        if fleet is not None:
            yield role, fleet


def uses(template: Template, role: Role) -> list[str]:
    """Names of the resources that a role needs or is told about."""
    roles = template.plan.roles
    told = [part.role for text in role.environment.values() for part in text.parts if isinstance(part, Ref)]
    found = [roles[id] for id in (*role.needs, *told) if id in roles]
    return list(dict.fromkeys(each.name for each in found if is_resource(each)))


def inner(template: Template) -> list[str]:
    """Names that are called over the internal load balancer."""
    called = {
        name
        for role, fleet in running(template)
        for name in role.upstreams
        if (other := template.fleet_of(name)) is not None and other is not fleet
    }
    return [name for name in template.names if name in called]


def resolved(template: Template, fleet: Fleet, reference: Ref) -> Value | Secret:
    """A reference as a member of a fleet sees it."""
    role = template.plan.roles.get(reference.role)
    other = template.fleet_for(role) if role else None
    if role is None or other is None:
        return template.told(reference.role, reference.attribute)
    here = other is fleet
    where = (
        ("127.0.0.1", other.members[role.name].port) if here else (host(template), port(template, role.name))
    )
    attribute = reference.attribute.rpartition(".")[2]
    found = {"host": where[0], "port": str(where[1]), "address": f"{where[0]}:{where[1]}"}
    if attribute not in found:
        raise PlanError(f"{reference.role} has no {reference.attribute} when it is deployed")
    return found[attribute]


def rules(template: Template) -> None:
    """An ingress rule per edge of the plan, and no other."""
    known: set[tuple[str, str, int]] = set()

    def rule(source: str, target: str, at: int) -> None:
        if (source, target, at) in known:
            return
        known.add((source, target, at))
        template.add(
            "network",
            logical(source, "to", target, "on", str(at)),
            "AWS::EC2::SecurityGroupIngress",
            {
                "GroupId": template.group(target),
                "SourceSecurityGroupId": template.group(source),
                "IpProtocol": "tcp",
                "FromPort": at,
                "ToPort": at,
                "Description": f"{source} to {target}",
            },
        )

    for role, fleet in running(template):
        for name in role.upstreams:
            other = template.fleet_of(name)
            if other is not None and other is not fleet:
                rule(fleet.name, INNER, port(template, name))
                rule(INNER, other.name, other.members[name].port)
        for name in uses(template, role):
            if name in template.guards:
                rule(fleet.name, *template.guards[name])
    for balancer, name in template.balanced:
        other = template.fleet_of(name)
        if other is not None:
            rule(balancer, other.name, other.members[name].port)
