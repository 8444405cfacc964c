"""Tags: every resource that can have them says whose it is."""

from __future__ import annotations

from typing import Any

_LISTED = {
    "AWS::CertificateManager::Certificate", "AWS::CloudFront::Distribution", "AWS::DynamoDB::Table",
    "AWS::EC2::EIP", "AWS::EC2::InternetGateway", "AWS::EC2::NatGateway", "AWS::EC2::RouteTable",
    "AWS::EC2::SecurityGroup", "AWS::EC2::Subnet", "AWS::EC2::VPC", "AWS::ElastiCache::ParameterGroup",
    "AWS::ElastiCache::ReplicationGroup", "AWS::ElastiCache::SubnetGroup",
    "AWS::ElasticLoadBalancingV2::LoadBalancer", "AWS::ElasticLoadBalancingV2::TargetGroup", "AWS::IAM::Role",
    "AWS::IAM::User", "AWS::Kinesis::Stream", "AWS::Logs::LogGroup", "AWS::RDS::DBCluster", "AWS::RDS::DBInstance",
    "AWS::RDS::DBSubnetGroup", "AWS::S3::Bucket", "AWS::SES::EmailIdentity", "AWS::SNS::Topic", "AWS::SQS::Queue",
    "AWS::SecretsManager::Secret",
}  # fmt: skip


def tags(stack: str, id: str) -> list[dict[str, str]]:
    return [
        {"Key": "Name", "Value": f"{stack}-{id}"},
        {"Key": "tierline:stack", "Value": stack},
    ]


def tagged(type: str, properties: dict[str, Any], stack: str, id: str) -> dict[str, Any]:
    """The properties with the tags in the form that the type wants them in."""
    mine = tags(stack, id)
    if type in _LISTED:
        return {**properties, "Tags": mine}
    if type == "AWS::AutoScaling::AutoScalingGroup":
        return {**properties, "Tags": [{**tag, "PropagateAtLaunch": True} for tag in mine]}
    if type == "AWS::Route53::HostedZone":
        return {**properties, "HostedZoneTags": mine}
    if type == "AWS::Route53::HealthCheck":
        return {**properties, "HealthCheckTags": mine}
    if type == "AWS::EC2::LaunchTemplate":
        of_template = [{"ResourceType": "launch-template", "Tags": mine}]
        of_what_starts = [{"ResourceType": kind, "Tags": mine} for kind in ("instance", "volume")]
        data = {**properties["LaunchTemplateData"], "TagSpecifications": of_what_starts}
        return {**properties, "LaunchTemplateData": data, "TagSpecifications": of_template}
    return properties
