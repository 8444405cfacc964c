"""What a linter of CloudFormation doesn't see, found before AWS does."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tierline.deploy.stacks import Stack

Resource = dict[str, Any]
Found = Iterator[str]
_BODY = 51_200
"""Bytes of a template that fit into a request."""
_USER_DATA = 16_384
_PSEUDO = ("AWS::",)
_RECORDS = (
    "A", "AAAA", "CAA", "CNAME", "DS", "HTTPS", "MX", "NAPTR", "NS", "PTR", "SOA", "SPF", "SRV", "SSHFP", "SVCB", "TLSA",
    "TXT",
)  # fmt: skip
_POLICIES = (
    "Weight",
    "Region",
    "GeoLocation",
    "Failover",
    "MultiValueAnswer",
    "CidrRoutingConfig",
    "GeoProximityLocation",
)


def check(stacks: Sequence[Stack]) -> list[str]:
    """Every problem, as `stack/resource: what`. Empty when there is none."""
    problems: list[str] = []
    outputs: set[tuple[str, str]] = set()
    for stack in stacks:
        body = stack.template
        for id, resource in body["Resources"].items():
            for each in _CHECKS:
                problems += [f"{stack.name}/{id}: {what}" for what in each(resource)]
        problems += [f"{stack.name}: {what}" for what in _whole(stack)]
        problems += [
            f"{stack.name}: parameter {name} is fed by {source}, which isn't deployed before it"
            for name, source in stack.parameters.items()
            if source not in outputs
        ]
        outputs |= {(stack.name, name) for name in body.get("Outputs", {})}
    return problems


def _records(resource: Resource) -> Found:
    """Route 53's own rules."""
    if resource["Type"] != "AWS::Route53::RecordSet":
        return
    given = resource["Properties"]
    policies = [name for name in _POLICIES if name in given]
    if policies and "SetIdentifier" not in given:
        yield f"a record with {policies[0]} needs a SetIdentifier"
    if given.get("Type") not in _RECORDS:
        yield f"{given.get('Type')!r} is no record type"
    if ("AliasTarget" in given) == ("ResourceRecords" in given):
        yield "a record has either an AliasTarget or ResourceRecords"
    if "ResourceRecords" in given and "TTL" not in given:
        yield "a record needs a TTL"


def _ports(resource: Resource) -> Found:
    for name, value in _leaves(resource["Properties"]):
        if name in ("Port", "FromPort", "ToPort", "HTTPPort", "HTTPSPort"):
            number = int(value) if isinstance(value, int) or str(value).isdigit() else None
            lowest = -1 if resource["Type"].startswith("AWS::EC2::SecurityGroup") else 1
            if number is not None and not lowest <= number <= 65535:
                yield f"{name} {value} is no port"


def _arns(resource: Resource) -> Found:
    """A name where an ARN is due."""
    for name, value in _leaves(resource["Properties"]):
        due = name.endswith(("Arn", "ARN")) or name == "TargetGroupARNs"
        if due and isinstance(value, str) and not value.startswith(("arn:", "{{resolve:")):
            yield f"{name} is {value!r}, an ARN is due"
    redrive = resource["Properties"].get("RedrivePolicy", {})
    target = redrive.get("deadLetterTargetArn")
    if isinstance(target, dict) and "Ref" in target and not target["Ref"].endswith("Arn"):
        yield f"deadLetterTargetArn refers to {target['Ref']}, which is a queue's URL"


def _schedules(resource: Resource) -> Found:
    for name, value in _leaves(resource["Properties"]):
        if name in ("Recurrence", "ScheduleExpression") and isinstance(value, str):
            fields = re.sub(r"^cron\((.*)\)$", r"\1", value).split()
            wanted = 6 if value.startswith("cron(") else 5
            if not value.startswith(("rate(", "at(")) and len(fields) != wanted:
                yield f"{name} {value!r} has {len(fields)} fields, {wanted} are due"


def _sizes(resource: Resource) -> Found:
    """An Auto Scaling group whose numbers contradict each other."""
    if resource["Type"] != "AWS::AutoScaling::AutoScalingGroup":
        return
    least, most = int(resource["Properties"]["MinSize"]), int(resource["Properties"]["MaxSize"])
    if least > most:
        yield f"MinSize {least} is more than MaxSize {most}"
    rolling = resource.get("UpdatePolicy", {}).get("AutoScalingRollingUpdate", {})
    if rolling and rolling["MinInstancesInService"] >= most:
        yield "MinInstancesInService must be less than MaxSize, or no update can be rolled out"


def _kept(resource: Resource) -> Found:
    """What holds data says what becomes of it."""
    holds = (
        "AWS::S3::Bucket", "AWS::RDS::DBCluster", "AWS::DynamoDB::Table", "AWS::SQS::Queue", "AWS::Kinesis::Stream",
        "AWS::SecretsManager::Secret", "AWS::ElastiCache::ReplicationGroup", "AWS::Logs::LogGroup",
    )  # fmt: skip
    if resource["Type"] in holds and not {"DeletionPolicy", "UpdateReplacePolicy"} <= set(resource):
        yield "it holds data: it needs a DeletionPolicy and an UpdateReplacePolicy"


def _secrets(resource: Resource) -> Found:
    """A password written into a template."""
    for name, value in _leaves(resource["Properties"]):
        secret = name in ("MasterUserPassword", "AuthToken", "Password", "SecretString")
        text = value.get("Fn::Sub", "") if isinstance(value, dict) else value
        if secret and isinstance(text, str) and text and "{{resolve:" not in text and "${" not in text:
            yield f"{name} is written in the template"
    data = resource["Properties"].get("LaunchTemplateData", {}).get("UserData")
    if data is not None:
        text = json.dumps(data)
        if "{{resolve:secretsmanager" in text:
            yield "a secret is resolved into user data, where anybody on the instance can read it"
        if len(text) > _USER_DATA:
            yield f"user data has {len(text)} bytes, {_USER_DATA} are allowed"


_CHECKS: tuple[Callable[[Resource], Found], ...] = (
    _records, _ports, _arns, _schedules, _sizes, _kept, _secrets,
)  # fmt: skip


def _whole(stack: Stack) -> Found:
    body = stack.template
    known = {*body["Resources"], *body.get("Parameters", {})}
    for id in sorted(set(_references(body)) - known):
        if not id.startswith(_PSEUDO):
            yield f"nothing is called {id}, but something refers to it"
    if len(body["Resources"]) > 500:
        yield f"{len(body['Resources'])} resources; a stack holds 500"
    size = len(json.dumps(body, separators=(",", ":")).encode())
    if size > 1_000_000:
        yield f"{size} bytes; a template holds 1 MB"


def fits_request(stack: Stack) -> bool:
    """Whether the template can be sent as it is; a larger one goes by way of a bucket."""
    return len(stack.text().encode()) <= _BODY


def _leaves(node: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """(the name it stands under, value) of every value; an intrinsic function is one value."""
    if isinstance(node, dict) and not (len(node) == 1 and next(iter(node)).startswith(("Fn::", "Ref"))):
        for key, value in node.items():
            yield from _leaves(value, key)
    elif isinstance(node, list):
        for value in node:
            yield from _leaves(value, name)
    else:
        yield name, node


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, list):
        for each in node:
            yield from _references(each)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key == "Ref" and len(node) == 1:
                yield value
            elif key == "Fn::GetAtt":
                yield value[0]
            elif key == "Fn::Sub":
                yield from re.findall(r"\$\{([A-Za-z0-9:]+)(?:\.[A-Za-z0-9.]+)?\}", value)
            elif key == "DependsOn":
                yield from [value] if isinstance(value, str) else value
            else:
                yield from _references(value)
