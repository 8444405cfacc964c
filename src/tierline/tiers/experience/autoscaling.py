"""experience.autoscaling: the journeys' engine on EC2 instances over all zones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tierline.plan.model import Role
from tierline.tiers.base import System

if TYPE_CHECKING:
    from tierline.deploy.template import Template


class JourneysOnAutoScaling(System):
    title = "tierline journeys on EC2 Auto Scaling"
    levels = frozenset({"deploys"})
    endpoints = {"http": "http"}
    stand_in = "journeys"

    def deploy(self, roles: Sequence[Role], template: Template) -> None:
        scale = roles[0].settings.get("scale") or {"min": 1, "max": 4, "cpu": 0.6, "cooldown": 30.0}
        template.fleet("experience").run(roles, scale=scale, health="/-/health")
