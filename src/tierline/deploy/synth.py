"""Plan → CloudFormation.

network    a VPC over the plan's zones                                 network.py
provide    each system adds its own resources, the end of the line     tiers/*/
           first: what is reached stands before what reaches it
balance    services call each other through one internal balancer      balancing.py
start      fleets become launch templates and Auto Scaling groups      instances.py, boot.py
allow      a security group rule per edge of the plan                  addresses.py
split      layers become stacks with parameters and outputs            stacks.py
check      what linters of CloudFormation don't see                    checks.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from tierline.deploy import addresses, balancing
from tierline.deploy.checks import check
from tierline.deploy.instances import instances
from tierline.deploy.network import network
from tierline.deploy.stacks import Stack, stacks
from tierline.deploy.template import Template
from tierline.errors import PlanError
from tierline.plan.model import Plan
from tierline.tiers.base import system


class Synthesis(msgspec.Struct, frozen=True, kw_only=True):
    """What a plan is in CloudFormation: stacks in order of deployment, and what they leave to do."""

    stacks: tuple[Stack, ...]
    notes: tuple[str, ...]

    def data(self) -> dict[str, Any]:
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found

    def write(self, folder: Path) -> list[Path]:
        """A template per stack, and `stacks.json`: the order, the regions and what feeds each parameter."""
        folder.mkdir(parents=True, exist_ok=True)
        written = []
        for stack in self.stacks:
            written.append(folder / f"{stack.layer}.json")
            written[-1].write_text(stack.text())
        listed = [
            {**{k: v for k, v in stack.items() if k != "template"}, "template": f"{stack['layer']}.json"}
            for stack in self.data()["stacks"]
        ]
        written.append(folder / "stacks.json")
        written[-1].write_text(json.dumps({"stacks": listed, "notes": self.notes}, indent=1) + "\n")
        return written


def synthesize(plan: Plan, project: Path) -> Synthesis:
    """The plan as CloudFormation. project: the folder of the stack file. Deterministic.

    Raises PlanError when a system of the plan doesn't deploy, or what comes out is wrong.
    """
    template = Template(plan, project)
    network(template)
    for roles in reversed(template.groups):
        system(roles[0].slot, roles[0].system).deploy(roles, template)
    balancing.inner(template)
    for fleet in template.fleets.values():
        for member in fleet.members.values():
            for ask in template.each_member:
                ask(member)
        instances(template, fleet)
    if template.fleets:
        template.note(
            "the image is yours to bake, with the engines' configuration in it: docs/deploy.md says what it holds"
        )
    addresses.rules(template)
    found = Synthesis(stacks=stacks(template), notes=tuple(template.notes))
    problems = check(found.stacks)
    if problems:
        raise PlanError("the templates would be wrong:\n  " + "\n  ".join(problems))
    return found
