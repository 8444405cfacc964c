"""feature.kinesis: an ordered stream on demand, encrypted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tierline.plan.model import Ref, Role, Text
from tierline.tiers.base import System
from tierline.tiers.cloudformation import allow, att, logical, ref

if TYPE_CHECKING:
    from tierline.deploy.template import Template


class Kinesis(System):
    title = "Kinesis Data Streams"
    levels = frozenset({"deploys"})
    supports = frozenset({"stream"})
    endpoints = {"https": "https"}
    stand_in = "nats"

    def own(self, roles: Sequence[Role]) -> dict[str, Text]:
        return {"STREAM": Text((Ref(roles[0].id, "name"),))}

    def deploy(self, roles: Sequence[Role], template: Template) -> None:
        (role,) = roles
        id = template.add(
            "data",
            logical(role.name, "stream"),
            "AWS::Kinesis::Stream",
            {
                "StreamModeDetails": {"StreamMode": "ON_DEMAND"},
                "RetentionPeriodHours": max(24, min(8760, round(role.settings["retention"] / 3600))),
                "StreamEncryption": {"EncryptionType": "KMS", "KeyId": "alias/aws/kinesis"},
            },
            keep="Retain",
        )
        template.tell(role.id, {"name": ref(id), "arn": att(id, "Arn")})
        actions = (
            "PutRecord",
            "PutRecords",
            "GetRecords",
            "GetShardIterator",
            "ListShards",
            "DescribeStreamSummary",
        )
        template.grant(role.name, allow([f"kinesis:{action}" for action in actions], att(id, "Arn")))
