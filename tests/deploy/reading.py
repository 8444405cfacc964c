"""Reads each resource of a stack back through the API of its own service. A stack's status proves nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from local_aws import Account

Read = Callable[[Account, str, dict[str, Any]], Any]


def _ec2(call: str, key: str, member: str) -> Read:
    def read(account: Account, id: str, resource: dict[str, Any]) -> Any:
        (found,) = getattr(account.client("ec2"), call)(**{key: [id]})[member]
        return found

    return read


def _elb(call: str, key: str, member: str) -> Read:
    def read(account: Account, id: str, resource: dict[str, Any]) -> Any:
        (found,) = getattr(account.client("elbv2"), call)(**{key: [id]})[member]
        return found

    return read


def _one(service: str, call: str, key: str, member: str) -> Read:
    def read(account: Account, id: str, resource: dict[str, Any]) -> Any:
        found = getattr(account.client(service), call)(**{key: id})[member]
        return found[0] if isinstance(found, list) else found

    return read


def _certificate(account: Account, id: str, resource: dict[str, Any]) -> Any:
    return account.client("acm", id.split(":")[3]).describe_certificate(CertificateArn=id)["Certificate"]


def _record(account: Account, id: str, resource: dict[str, Any]) -> Any:
    wanted = resource["Properties"]["Type"]
    route53 = account.client("route53")
    name = id.rstrip(".") + "."
    for zone in route53.list_hosted_zones()["HostedZones"]:
        for record in route53.list_resource_record_sets(HostedZoneId=zone["Id"])["ResourceRecordSets"]:
            if record["Name"] == name and record["Type"] == wanted:
                return record
    raise LookupError(f"no record {name} {wanted}")


def _ingress(account: Account, id: str, resource: dict[str, Any]) -> Any:
    port = resource["Properties"]["FromPort"]
    for group in account.client("ec2").describe_security_groups()["SecurityGroups"]:
        for rule in group["IpPermissions"]:
            if rule.get("FromPort") == port:
                return rule
    raise LookupError(f"no rule for port {port}")


def _routed(account: Account, id: str, resource: dict[str, Any]) -> Any:
    tables = account.client("ec2").describe_route_tables()["RouteTables"]
    wanted = "NatGatewayId" if "NatGatewayId" in resource["Properties"] else "GatewayId"
    return next(route for table in tables for route in table["Routes"] if route.get(wanted))


def _associated(account: Account, id: str, resource: dict[str, Any]) -> Any:
    tables = account.client("ec2").describe_route_tables()["RouteTables"]
    return next(
        one for table in tables for one in table["Associations"] if one["RouteTableAssociationId"] == id
    )


def _attached(account: Account, id: str, resource: dict[str, Any]) -> Any:
    return next(
        gateway["Attachments"]
        for gateway in account.client("ec2").describe_internet_gateways()["InternetGateways"]
        if gateway["Attachments"]
    )


def _address(account: Account, id: str, resource: dict[str, Any]) -> Any:
    addresses = account.client("ec2").describe_addresses()["Addresses"]
    return next(each for each in addresses if each["PublicIp"] == id)


def _user_policy(account: Account, id: str, resource: dict[str, Any]) -> Any:
    for user in account.client("iam").list_users()["Users"]:
        for name in account.client("iam").list_user_policies(UserName=user["UserName"])["PolicyNames"]:
            return account.client("iam").get_user_policy(UserName=user["UserName"], PolicyName=name)[
                "PolicyDocument"
            ]
    raise LookupError("no user has a policy")


def _access_key(account: Account, id: str, resource: dict[str, Any]) -> Any:
    iam = account.client("iam")
    keys = [
        key
        for user in iam.list_users()["Users"]
        for key in iam.list_access_keys(UserName=user["UserName"])["AccessKeyMetadata"]
    ]
    return next(key for key in keys if key["AccessKeyId"] == id)


def _logs(account: Account, id: str, resource: dict[str, Any]) -> Any:
    (found,) = account.client("logs").describe_log_groups(logGroupNamePrefix=id)["logGroups"]
    return found


def _bucket(account: Account, id: str, resource: dict[str, Any]) -> Any:
    s3 = account.client("s3")
    s3.head_bucket(Bucket=id)
    return s3.get_public_access_block(Bucket=id)["PublicAccessBlockConfiguration"]


def _queue(account: Account, id: str, resource: dict[str, Any]) -> Any:
    return account.client("sqs").get_queue_attributes(QueueUrl=id, AttributeNames=["All"])["Attributes"]


def _scaling_policy(account: Account, id: str, resource: dict[str, Any]) -> Any:
    policies = account.client("autoscaling").describe_policies()["ScalingPolicies"]
    return next(each for each in policies if id in (each["PolicyARN"], each["PolicyName"]))


def _profile(account: Account, id: str, resource: dict[str, Any]) -> Any:
    # The local server answers with the ARN where AWS answers with the name.
    name = id.rpartition("/")[2]
    return account.client("iam").get_instance_profile(InstanceProfileName=name)["InstanceProfile"]


def _bucket_policy(account: Account, id: str, resource: dict[str, Any]) -> Any:
    s3 = account.client("s3")
    for bucket in s3.list_buckets()["Buckets"]:
        with contextlib.suppress(s3.exceptions.ClientError):
            return s3.get_bucket_policy(Bucket=bucket["Name"])["Policy"]
    raise LookupError("no bucket has a policy")


def _function(account: Account, id: str, resource: dict[str, Any]) -> Any:
    name = resource["Properties"]["Name"]
    return account.client("cloudfront").describe_function(Name=name, Stage="LIVE")["FunctionSummary"]


READERS: dict[str, Read] = {
    "AWS::AutoScaling::AutoScalingGroup": lambda account, id, _: account.client(
        "autoscaling"
    ).describe_auto_scaling_groups(AutoScalingGroupNames=[id])["AutoScalingGroups"][0],
    "AWS::AutoScaling::ScalingPolicy": _scaling_policy,
    "AWS::CertificateManager::Certificate": _certificate,
    "AWS::CloudFront::CachePolicy": _one("cloudfront", "get_cache_policy", "Id", "CachePolicy"),
    "AWS::CloudFront::Distribution": _one("cloudfront", "get_distribution", "Id", "Distribution"),
    "AWS::CloudFront::Function": _function,
    "AWS::CloudFront::OriginAccessControl": _one(
        "cloudfront", "get_origin_access_control", "Id", "OriginAccessControl"
    ),
    "AWS::CloudFront::ResponseHeadersPolicy": _one(
        "cloudfront", "get_response_headers_policy", "Id", "ResponseHeadersPolicy"
    ),
    "AWS::DynamoDB::Table": _one("dynamodb", "describe_table", "TableName", "Table"),
    "AWS::EC2::EIP": _address,
    "AWS::EC2::InternetGateway": _ec2("describe_internet_gateways", "InternetGatewayIds", "InternetGateways"),
    "AWS::EC2::LaunchTemplate": lambda account, id, _: account.client(
        "ec2"
    ).describe_launch_template_versions(LaunchTemplateId=id)["LaunchTemplateVersions"][0][
        "LaunchTemplateData"
    ],
    "AWS::EC2::NatGateway": _ec2("describe_nat_gateways", "NatGatewayIds", "NatGateways"),
    "AWS::EC2::Route": _routed,
    "AWS::EC2::RouteTable": _ec2("describe_route_tables", "RouteTableIds", "RouteTables"),
    "AWS::EC2::SecurityGroup": _ec2("describe_security_groups", "GroupIds", "SecurityGroups"),
    "AWS::EC2::SecurityGroupIngress": _ingress,
    "AWS::EC2::Subnet": _ec2("describe_subnets", "SubnetIds", "Subnets"),
    "AWS::EC2::SubnetRouteTableAssociation": _associated,
    "AWS::EC2::VPC": _ec2("describe_vpcs", "VpcIds", "Vpcs"),
    "AWS::EC2::VPCEndpoint": _ec2("describe_vpc_endpoints", "VpcEndpointIds", "VpcEndpoints"),
    "AWS::EC2::VPCGatewayAttachment": _attached,
    "AWS::ElastiCache::ParameterGroup": _one(
        "elasticache", "describe_cache_parameter_groups", "CacheParameterGroupName", "CacheParameterGroups"
    ),
    "AWS::ElastiCache::ReplicationGroup": _one(
        "elasticache", "describe_replication_groups", "ReplicationGroupId", "ReplicationGroups"
    ),
    "AWS::ElastiCache::SubnetGroup": _one(
        "elasticache", "describe_cache_subnet_groups", "CacheSubnetGroupName", "CacheSubnetGroups"
    ),
    "AWS::ElasticLoadBalancingV2::Listener": _elb("describe_listeners", "ListenerArns", "Listeners"),
    "AWS::ElasticLoadBalancingV2::ListenerRule": _elb("describe_rules", "RuleArns", "Rules"),
    "AWS::ElasticLoadBalancingV2::LoadBalancer": _elb(
        "describe_load_balancers", "LoadBalancerArns", "LoadBalancers"
    ),
    "AWS::ElasticLoadBalancingV2::TargetGroup": _elb(
        "describe_target_groups", "TargetGroupArns", "TargetGroups"
    ),
    "AWS::IAM::AccessKey": _access_key,
    "AWS::IAM::InstanceProfile": _profile,
    "AWS::IAM::Policy": _user_policy,
    "AWS::IAM::Role": _one("iam", "get_role", "RoleName", "Role"),
    "AWS::IAM::User": _one("iam", "get_user", "UserName", "User"),
    "AWS::Kinesis::Stream": _one(
        "kinesis", "describe_stream_summary", "StreamName", "StreamDescriptionSummary"
    ),
    "AWS::Logs::LogGroup": _logs,
    "AWS::RDS::DBCluster": _one("rds", "describe_db_clusters", "DBClusterIdentifier", "DBClusters"),
    "AWS::RDS::DBInstance": _one("rds", "describe_db_instances", "DBInstanceIdentifier", "DBInstances"),
    "AWS::RDS::DBSubnetGroup": _one(
        "rds", "describe_db_subnet_groups", "DBSubnetGroupName", "DBSubnetGroups"
    ),
    "AWS::Route53::HealthCheck": _one("route53", "get_health_check", "HealthCheckId", "HealthCheck"),
    "AWS::Route53::HostedZone": _one("route53", "get_hosted_zone", "Id", "HostedZone"),
    "AWS::Route53::RecordSet": _record,
    "AWS::S3::Bucket": _bucket,
    "AWS::S3::BucketPolicy": _bucket_policy,
    "AWS::SES::EmailIdentity": _one("sesv2", "get_email_identity", "EmailIdentity", "IdentityType"),
    "AWS::SNS::Topic": _one("sns", "get_topic_attributes", "TopicArn", "Attributes"),
    "AWS::SQS::Queue": _queue,
    "AWS::SecretsManager::Secret": _one("secretsmanager", "describe_secret", "SecretId", "ARN"),
}
