"""domain.dynamodb: a table on demand, encrypted, with point-in-time recovery."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tierline.plan.model import Ref, Role, Text
from tierline.tiers.base import System
from tierline.tiers.cloudformation import allow, att, logical, ref

if TYPE_CHECKING:
    from tierline.deploy.template import Template


class DynamoDB(System):
    title = "DynamoDB"
    levels = frozenset({"deploys"})
    supports = frozenset({"table"})
    endpoints = {"https": "https"}
    stand_in = "postgresql"

    def own(self, roles: Sequence[Role]) -> dict[str, Text]:
        return {"TABLE": Text((Ref(roles[0].id, "name"),))}

    def deploy(self, roles: Sequence[Role], template: Template) -> None:
        (role,) = roles
        settings, id = role.settings, logical(role.name, "table")
        keys = [(settings["key"], "HASH"), *([(settings["sort"], "RANGE")] if settings["sort"] else [])]
        template.add(
            "data",
            id,
            "AWS::DynamoDB::Table",
            {
                "BillingMode": "PAY_PER_REQUEST",
                "AttributeDefinitions": [{"AttributeName": key, "AttributeType": "S"} for key, _ in keys],
                "KeySchema": [{"AttributeName": key, "KeyType": kind} for key, kind in keys],
                "TimeToLiveSpecification": {"AttributeName": settings["ttl"], "Enabled": True}
                if settings["ttl"]
                else None,
                "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True},
                "SSESpecification": {"SSEEnabled": True},
            },
            keep="Retain",
        )
        template.tell(role.id, {"name": ref(id), "arn": att(id, "Arn")})
        template.grant(
            role.name,
            allow(
                [
                    f"dynamodb:{action}Item"
                    for action in ("Get", "Put", "Update", "Delete", "BatchGet", "BatchWrite")
                ]
                + ["dynamodb:Query", "dynamodb:ConditionCheckItem"],
                att(id, "Arn"),
            ),
        )
