"""Layers become stacks: a reference to another layer's resource becomes a parameter, fed by an output there.

Parameters, not exports: an export can't be changed while it is used, nor used in another region.
"""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from tierline.deploy.template import LAYERS, Layer, Template
from tierline.errors import PlanError

# Certificates of CloudFront live there, wherever the rest is.
GLOBAL = "us-east-1"
_TYPES = {
    "AWS::EC2::VPC": "AWS::EC2::VPC::Id",
    "AWS::EC2::Subnet": "AWS::EC2::Subnet::Id",
    "AWS::Route53::HostedZone": "AWS::Route53::HostedZone::Id",
}
_IN_SUB = re.compile(r"\$\{([A-Za-z0-9]+)(?:\.([A-Za-z0-9.]+))?\}")


class Stack(msgspec.Struct, frozen=True, kw_only=True):
    """One CloudFormation stack: where it goes, what it is given, and its template."""

    name: str
    layer: str
    region: str
    capabilities: tuple[str, ...]
    parameters: dict[str, tuple[str, str]]
    """Parameters that are outputs of stacks before: parameter → (stack, output)."""
    asks: dict[str, str]
    """Parameters that whoever deploys gives: name → what it is."""
    template: dict[str, Any]

    def text(self) -> str:
        return json.dumps(self.template, indent=1, ensure_ascii=False) + "\n"


def stacks(template: Template) -> tuple[Stack, ...]:
    """The layers that hold something, in order of deployment."""
    owners = {id: layer for layer in template.layers.values() for id in layer.resources}
    fed: dict[str, dict[str, tuple[str, str]]] = {}
    for layer in template.layers.values():
        asked = dict(layer.parameters)
        moved = _Moved(layer, owners, f"{template.plan.stack}-", fed.setdefault(layer.name, {}))
        layer.resources = {id: moved.walk(resource) for id, resource in layer.resources.items()}
        layer.outputs = {id: moved.walk(output) for id, output in layer.outputs.items()}
        layer.parameters = {**asked, **{k: v for k, v in layer.parameters.items() if k not in asked}}
    return tuple(
        _stack(template, layer, fed[layer.name]) for layer in template.layers.values() if layer.resources
    )


def _stack(template: Template, layer: Layer, fed: dict[str, tuple[str, str]]) -> Stack:
    body: dict[str, Any] = {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": f"{template.plan.stack}: {layer.name}. Made by tierline from the stack file.",
        "Parameters": dict(sorted(layer.parameters.items())),
        "Resources": layer.resources,
        "Outputs": dict(sorted(layer.outputs.items())),
    }
    iam = any(each["Type"].startswith("AWS::IAM::") for each in layer.resources.values())
    return Stack(
        name=f"{template.plan.stack}-{layer.name}",
        layer=layer.name,
        region=GLOBAL if layer.name == "names" else template.plan.region,
        capabilities=("CAPABILITY_IAM",) if iam else (),
        parameters=dict(sorted(fed.items())),
        asks={
            name: declared["Description"]
            for name, declared in sorted(layer.parameters.items())
            if name not in fed and "Default" not in declared
        },
        template={key: value for key, value in body.items() if value},
    )


class _Moved:
    """Rewrites the references of one layer."""

    def __init__(
        self, layer: Layer, owners: dict[str, Layer], prefix: str, fed: dict[str, tuple[str, str]]
    ) -> None:
        self.layer = layer
        self.owners = owners
        self.prefix = prefix
        self.fed = fed

    def walk(self, node: Any) -> Any:
        if isinstance(node, list):
            return [self.walk(each) for each in node]
        if not isinstance(node, dict):
            return node
        if list(node) == ["Ref"]:
            taken = self._taken(node["Ref"], "")
            return {"Ref": taken or node["Ref"]}
        if list(node) == ["Fn::GetAtt"]:
            id, attribute = node["Fn::GetAtt"]
            taken = self._taken(id, attribute)
            return {"Ref": taken} if taken else node
        if list(node) == ["Fn::Sub"]:
            return {"Fn::Sub": _IN_SUB.sub(self._substitute, node["Fn::Sub"])}
        return {key: self.walk(value) for key, value in node.items()}

    def _substitute(self, match: re.Match[str]) -> str:
        taken = self._taken(match[1], match[2] or "")
        return f"${{{taken}}}" if taken else match[0]

    def _taken(self, id: str, attribute: str) -> str:
        """The parameter that stands for another layer's resource; empty for one of this layer."""
        owner = self.owners.get(id)
        if owner is None or owner is self.layer:
            return ""
        if LAYERS.index(owner.name) > LAYERS.index(self.layer.name):
            raise PlanError(f"{self.layer.name} can't use {id}: {owner.name} is deployed after it")
        name = id + attribute.replace(".", "")
        type = owner.resources[id]["Type"]
        kind = _TYPES.get(type, "String") if not attribute else "String"
        if type == "AWS::EC2::SecurityGroup":
            kind = "AWS::EC2::SecurityGroup::Id"
        self.layer.parameters[name] = {"Type": kind, "Description": f"From {self.prefix}{owner.name}."}
        value = {"Fn::GetAtt": [id, attribute]} if attribute else {"Ref": id}
        owner.outputs.setdefault(name, {"Value": value})
        self.fed[name] = (self.prefix + owner.name, name)
        return name
