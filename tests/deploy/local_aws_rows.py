"""Runs in the local AWS server's own environment: rows for the types its CloudFormation doesn't know, over the
services that it does have. Then it serves on the port that it is given."""

# mypy: ignore-errors
from __future__ import annotations

import asyncio
import re
import sys

import ministack.services.ec2 as ec2
import ministack.services.iam as iam
import ministack.services.route53 as route53
from hypercorn.asyncio import serve
from hypercorn.config import Config
from ministack.app import app
from ministack.services.cloudformation import provisioners


def _address(id, props, stack):
    _, _, body = ec2._allocate_address({"Domain": "vpc"})
    allocation = _between("allocationId", body)
    return _between("publicIp", body), {"AllocationId": allocation}


def _nat(id, props, stack):
    _, _, body = ec2._create_nat_gateway(
        {"SubnetId": props["SubnetId"], "AllocationId": props["AllocationId"]}
    )
    nat = _between("natGatewayId", body)
    return nat, {"NatGatewayId": nat}


def _ingress(id, props, stack):
    group = ec2._security_groups[props["GroupId"]]
    group["IpPermissions"] += provisioners._ec2_sg_permissions([props])
    return f"sgr-{stack}-{id}", {"Id": f"sgr-{stack}-{id}"}


def _health(id, props, stack):
    key = route53._hc_id()
    route53._health_checks[key] = {
        "id": key, "caller_reference": f"{stack}-{id}", "config": props["HealthCheckConfig"], "version": 1,
    }  # fmt: skip
    return key, {"HealthCheckId": key}


def _key(id, props, stack):
    _, _, body = iam._create_access_key({"UserName": props["UserName"]})
    return _between("AccessKeyId", body), {"SecretAccessKey": _between("SecretAccessKey", body)}


def _identity(id, props, stack):
    """The server's own, with the attributes that it leaves out."""
    name, attributes = provisioners._ses_email_identity_create(id, props, stack)
    for number in (1, 2, 3):
        attributes[f"DkimDNSTokenName{number}"] = f"token{number}._domainkey.{name}"
        attributes[f"DkimDNSTokenValue{number}"] = f"token{number}.dkim.amazonses.com"
    return name, attributes


def _cluster(id, props, stack):
    """The same, with the secret that RDS would manage."""
    name, attributes = _plain_cluster(id, props, stack)
    secret = f"rds!cluster-{name}"
    login = {"Name": secret, "SecretString": '{"username":"line","password":"p@ss/word"}'}
    arn, _ = provisioners._RESOURCE_HANDLERS["AWS::SecretsManager::Secret"]["create"](secret, login, stack)
    return name, {**attributes, "MasterUserSecret.SecretArn": arn}


def _key_gone(id, props):
    iam._access_keys.pop(id, None)


def _between(tag, body):
    text = body.decode() if isinstance(body, bytes) else body
    return re.search(f"<{tag}>(.*?)</{tag}>", text)[1]


def _left(id, props):
    """Deleted with the server."""


for type, create in {
    "AWS::EC2::EIP": _address,
    "AWS::EC2::NatGateway": _nat,
    "AWS::EC2::SecurityGroupIngress": _ingress,
    "AWS::IAM::AccessKey": _key,
    "AWS::Route53::HealthCheck": _health,
}.items():
    provisioners._RESOURCE_HANDLERS.setdefault(type, {"create": create, "delete": _left})

provisioners._RESOURCE_HANDLERS["AWS::IAM::AccessKey"]["delete"] = _key_gone
_plain_cluster = provisioners._RESOURCE_HANDLERS["AWS::RDS::DBCluster"]["create"]
provisioners._RESOURCE_HANDLERS["AWS::RDS::DBCluster"]["create"] = _cluster
provisioners._RESOURCE_HANDLERS["AWS::SES::EmailIdentity"]["create"] = _identity
config = Config()
config.bind = [f"127.0.0.1:{sys.argv[1]}"]
asyncio.run(serve(app, config))
