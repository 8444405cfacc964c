"""The internal load balancer that services call each other through."""

from __future__ import annotations

from tierline.deploy import addresses
from tierline.deploy.template import Template
from tierline.tiers.cloudformation import att, logical, ref


def inner(template: Template) -> None:
    """One internal load balancer, a port per name, and its address in a private zone."""
    names = addresses.inner(template)
    if not names:
        return
    template.add(
        "apps",
        "InnerBalancer",
        "AWS::ElasticLoadBalancingV2::LoadBalancer",
        {
            "Type": "application",
            "Scheme": "internal",
            "Subnets": template.subnets(),
            "SecurityGroups": [template.group(addresses.INNER)],
        },
    )
    for name in names:
        group = template.target_group(name, "targets")
        template.add(
            "apps",
            logical(name, "listener"),
            "AWS::ElasticLoadBalancingV2::Listener",
            {
                "LoadBalancerArn": ref("InnerBalancer"),
                "Port": addresses.port(template, name),
                "Protocol": "HTTP",
                "DefaultActions": [{"Type": "forward", "TargetGroupArn": ref(group)}],
            },
        )
    zone = addresses.host(template).partition(".")[2]
    template.add(
        "network",
        "PrivateZone",
        "AWS::Route53::HostedZone",
        {"Name": zone, "VPCs": [{"VPCId": ref("Network"), "VPCRegion": ref("AWS::Region")}]},
    )
    template.add(
        "apps",
        "InnerRecord",
        "AWS::Route53::RecordSet",
        {
            "HostedZoneId": ref("PrivateZone"),
            "Name": addresses.host(template),
            "Type": "A",
            "AliasTarget": {
                "DNSName": att("InnerBalancer", "DNSName"),
                "HostedZoneId": att("InnerBalancer", "CanonicalHostedZoneID"),
                "EvaluateTargetHealth": False,
            },
        },
    )
