"""cache.nginx_ec2: the same cache as locally, on the edge's EC2 instances in front of the gateway.

Its configuration is what `cache.nginx` contributes, baked into the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tierline.plan.model import Role
from tierline.tiers.cache.nginx import NginxCache

if TYPE_CHECKING:
    from tierline.deploy.template import Template


class NginxOnEC2(NginxCache):
    title = "nginx on EC2"
    levels = frozenset({"deploys"})
    stand_in = "nginx"

    def deploy(self, roles: Sequence[Role], template: Template) -> None:
        template.fleet("Edge").run(roles, scale={"min": 1, "max": 4, "cpu": 0.6})
