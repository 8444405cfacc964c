"""analytics.cloudwatch: a log group per service; traces and metrics go to the agent on each instance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tierline.plan.model import Role
from tierline.tiers.base import System
from tierline.tiers.cloudformation import allow, att, logical, nearest_of, sub

if TYPE_CHECKING:
    from tierline.deploy.fleet import Member
    from tierline.deploy.template import Template

_DAYS = (
    1,
    3,
    5,
    7,
    14,
    30,
    60,
    90,
    120,
    150,
    180,
    365,
    400,
    545,
    731,
    1096,
    1827,
    2192,
    2557,
    2922,
    3288,
    3653,
)


class CloudWatch(System):
    title = "CloudWatch"
    levels = frozenset({"deploys"})
    endpoints = {"otlp": "http"}
    stand_in = "telemetry"

    def deploy(self, roles: Sequence[Role], template: Template) -> None:
        days = nearest_of(roles[0].settings["retention"] / 86400, _DAYS)
        # The CloudWatch agent of the image takes OpenTelemetry on each instance.
        template.tell(roles[0].id, {"otlp.address": "127.0.0.1:4318"})

        def logs(member: Member) -> None:
            id = template.add(
                "data",
                logical(member.name, "logs"),
                "AWS::Logs::LogGroup",
                {"RetentionInDays": days},
                keep="Retain",
            )
            template.grant(
                f"logs:{member.name}",
                allow(
                    ["logs:CreateLogStream", "logs:PutLogEvents", "logs:DescribeLogStreams"], att(id, "Arn")
                ),
                allow(["xray:PutTraceSegments", "xray:PutTelemetryRecords"], "*"),
                allow(
                    ["cloudwatch:PutMetricData"],
                    "*",
                    Condition={"StringEquals": {"cloudwatch:namespace": template.plan.stack}},
                ),
            )
            member.environment["LOG_GROUP"] = sub(f"${{{id}}}")

        template.each_member.append(logs)
