"""feature.sqs: a queue, and a second one for messages that were delivered too often."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tierline.plan.model import Ref, Role, Text
from tierline.tiers.base import System
from tierline.tiers.cloudformation import allow, att, logical, ref

if TYPE_CHECKING:
    from tierline.deploy.template import Template

_LONGEST = 14 * 86400


class SQS(System):
    title = "SQS"
    levels = frozenset({"deploys"})
    supports = frozenset({"queue"})
    endpoints = {"https": "https"}
    stand_in = "nats"

    def own(self, roles: Sequence[Role]) -> dict[str, Text]:
        return {"QUEUE_URL": Text((Ref(roles[0].id, "url"),))}

    def deploy(self, roles: Sequence[Role], template: Template) -> None:
        (role,) = roles
        settings, id = role.settings, logical(role.name, "queue")
        dead = template.add(
            "data",
            logical(role.name, "dead-letters"),
            "AWS::SQS::Queue",
            {"MessageRetentionPeriod": _LONGEST, "SqsManagedSseEnabled": True},
            keep="Retain",
        )
        template.add(
            "data",
            id,
            "AWS::SQS::Queue",
            {
                "VisibilityTimeout": min(43200, round(settings["visibility"])),
                "MessageRetentionPeriod": max(60, min(_LONGEST, round(settings["retention"]))),
                "ReceiveMessageWaitTimeSeconds": 20,
                "SqsManagedSseEnabled": True,
                "RedrivePolicy": {
                    "deadLetterTargetArn": att(dead, "Arn"),
                    "maxReceiveCount": settings["dead_letter_after"],
                },
            },
            keep="Retain",
        )
        template.tell(role.id, {"url": ref(id), "arn": att(id, "Arn"), "name": att(id, "QueueName")})
        actions = (
            "SendMessage",
            "ReceiveMessage",
            "DeleteMessage",
            "ChangeMessageVisibility",
            "GetQueueAttributes",
        )
        template.grant(role.name, allow([f"sqs:{action}" for action in actions], att(id, "Arn")))
