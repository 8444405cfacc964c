"""feature.autoscaling: a service on EC2 instances over all zones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tierline.plan.model import Role
from tierline.tiers.base import System

if TYPE_CHECKING:
    from tierline.deploy.template import Template


class AutoScaling(System):
    title = "EC2 Auto Scaling"
    levels = frozenset({"deploys"})
    endpoints = {"http": "http"}
    stand_in = "process"

    def deploy(self, roles: Sequence[Role], template: Template) -> None:
        role = roles[0]
        template.fleet(role.name).run(roles, scale=role.settings["scale"], health=role.settings["health"])
