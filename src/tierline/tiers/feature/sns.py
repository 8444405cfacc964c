"""feature.sns: a topic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tierline.plan.model import Ref, Role, Text
from tierline.tiers.base import System
from tierline.tiers.cloudformation import allow, logical, ref

if TYPE_CHECKING:
    from tierline.deploy.template import Template


class SNS(System):
    title = "SNS"
    levels = frozenset({"deploys"})
    supports = frozenset({"topic"})
    endpoints = {"https": "https"}
    stand_in = "nats"

    def own(self, roles: Sequence[Role]) -> dict[str, Text]:
        return {"TOPIC_ARN": Text((Ref(roles[0].id, "arn"),))}

    def deploy(self, roles: Sequence[Role], template: Template) -> None:
        (role,) = roles
        id = template.add("data", logical(role.name, "topic"), "AWS::SNS::Topic", {"DisplayName": role.name})
        template.tell(role.id, {"arn": ref(id)})
        template.grant(role.name, allow(["sns:Publish"], ref(id)))
