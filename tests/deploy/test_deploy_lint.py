"""cfn-lint, and what it doesn't see."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from stack_files import STACKS

from tierline.deploy.checks import check
from tierline.deploy.lint import lint
from tierline.deploy.stacks import Stack
from tierline.deploy.synth import Synthesis


@pytest.mark.parametrize("name", sorted(STACKS))
def test_a_linter_finds_neither_error_nor_warning(name: str, synthesized: Callable[[str], Synthesis]) -> None:
    assert lint(synthesized(name).stacks) == []


def test_the_linter_does_look(synthesized: Callable[[str], Synthesis]) -> None:
    (stack,) = [each for each in synthesized("plain").stacks if each.layer == "network"]
    wrong = copy.deepcopy(stack.template)
    wrong["Resources"]["Network"]["Properties"]["CidrBlok"] = "10.0.0.0/16"
    found = lint([msgspec.structs.replace(stack, template=wrong)])
    assert any("CidrBlok" in each for each in found)


def one(type: str, properties: dict[str, Any], **attributes: Any) -> list[str]:
    template = {"Resources": {"It": {"Type": type, **attributes, "Properties": properties}}}
    return check(
        [Stack(name="s", layer="data", region="eu-west-1", capabilities=(), parameters={}, asks={}, template=template)]
    )  # fmt: skip


RECORD = {"Name": "a.test", "Type": "A", "TTL": "60", "ResourceRecords": ["192.0.2.1"]}
GROUP = {"MinSize": "2", "MaxSize": "4"}

WRONG = {
    "a weighted record without SetIdentifier": (
        "AWS::Route53::RecordSet", {**RECORD, "Weight": 1}, "SetIdentifier",
    ),
    "an unknown record type": ("AWS::Route53::RecordSet", {**RECORD, "Type": "AAA"}, "no record type"),
    "a record without a TTL": ("AWS::Route53::RecordSet", {k: v for k, v in RECORD.items() if k != "TTL"}, "TTL"),
    "a port out of range": ("AWS::ElasticLoadBalancingV2::Listener", {"Port": 70000}, "70000 is no port"),
    "a port of nothing": ("AWS::ElasticLoadBalancingV2::TargetGroup", {"Port": 0}, "0 is no port"),
    "a name where an ARN is due": ("AWS::Lambda::EventSourceMapping", {"EventSourceArn": "orders"}, "an ARN is due"),
    "a queue's URL where its ARN is due": (
        "AWS::SQS::Queue", {"RedrivePolicy": {"deadLetterTargetArn": {"Ref": "It"}}}, "a queue's URL",
    ),
    "a cron of four fields": ("AWS::AutoScaling::ScheduledAction", {"Recurrence": "0 8 * *"}, "4 fields"),
    "a least above the most": ("AWS::AutoScaling::AutoScalingGroup", {"MinSize": "5", "MaxSize": "4"}, "more than"),
    "data without a policy": ("AWS::S3::Bucket", {}, "DeletionPolicy"),
    "a written password": ("AWS::RDS::DBCluster", {"MasterUserPassword": "secret"}, "written in the template"),
    "a dangling reference": ("AWS::EC2::Subnet", {"VpcId": {"Ref": "Netwrok"}}, "nothing is called Netwrok"),
    "a dangling substitution": ("AWS::EC2::Subnet", {"VpcId": {"Fn::Sub": "${Netwrok.Arn}"}}, "nothing is called"),
    "a secret in user data": (
        "AWS::EC2::LaunchTemplate",
        {"LaunchTemplateData": {"UserData": "{{resolve:secretsmanager:it}}"}},
        "user data",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(WRONG))
def test_a_mistake_that_a_linter_misses_is_found(name: str) -> None:
    type, properties, told = WRONG[name]
    assert any(told in problem for problem in one(type, properties)), one(type, properties)


def test_an_update_that_could_never_be_rolled_out_is_found() -> None:
    rolling = {"AutoScalingRollingUpdate": {"MinInstancesInService": 4}}
    assert (
        "MinInstancesInService" in one("AWS::AutoScaling::AutoScalingGroup", GROUP, UpdatePolicy=rolling)[0]
    )


def test_a_parameter_must_be_fed_by_a_stack_before() -> None:
    stack = Stack(
        name="s", layer="apps", region="eu-west-1", capabilities=(), parameters={"X": ("other", "X")}, asks={},
        template={"Parameters": {"X": {"Type": "String"}}, "Resources": {}},
    )  # fmt: skip
    assert check([stack]) == ["s: parameter X is fed by ('other', 'X'), which isn't deployed before it"]


def test_what_is_right_is_left_alone() -> None:
    assert one("AWS::Route53::RecordSet", RECORD) == []
    assert one("AWS::AutoScaling::AutoScalingGroup", GROUP) == []
