"""The network: a VPC with a public and a private subnet in every zone, each zone with its own way out."""

from __future__ import annotations

from tierline.deploy.template import Template
from tierline.errors import PlanError
from tierline.tiers.cloudformation import att, logical, ref


def network(template: Template) -> None:
    """Everything that is in a subnet needs it. Raises PlanError for fewer than two zones, or more than six."""
    if not 2 <= len(template.plan.zones) <= 6:
        raise PlanError(
            f"zones={list(template.plan.zones)}: load balancers and databases of AWS need two zones, six are the most"
        )
    template.add(
        "network",
        "Network",
        "AWS::EC2::VPC",
        {"CidrBlock": "10.0.0.0/16", "EnableDnsSupport": True, "EnableDnsHostnames": True},
    )
    template.add("network", "Internet", "AWS::EC2::InternetGateway", {})
    template.add(
        "network",
        "InternetAttachment",
        "AWS::EC2::VPCGatewayAttachment",
        {"VpcId": ref("Network"), "InternetGatewayId": ref("Internet")},
    )
    template.add("network", "PublicRoutes", "AWS::EC2::RouteTable", {"VpcId": ref("Network")})
    template.add(
        "network",
        "PublicDefault",
        "AWS::EC2::Route",
        {
            "RouteTableId": ref("PublicRoutes"),
            "DestinationCidrBlock": "0.0.0.0/0",
            "GatewayId": ref("Internet"),
        },
        DependsOn="InternetAttachment",
    )
    for number, zone in enumerate(template.plan.zones):
        _zone(template, number, zone)
    # Objects and images of packages go by this for nothing, instead of through the NAT gateway.
    template.add(
        "network",
        "ObjectsEndpoint",
        "AWS::EC2::VPCEndpoint",
        {
            "VpcId": ref("Network"),
            "VpcEndpointType": "Gateway",
            "ServiceName": {"Fn::Sub": "com.amazonaws.${AWS::Region}.s3"},
            "RouteTableIds": [ref(logical("private-routes", zone)) for zone in template.plan.zones],
        },
    )


def _zone(template: Template, number: int, zone: str) -> None:
    def named(what: str) -> str:
        return logical(what, zone)

    for kind, third in (("public", number * 16), ("private", 128 + number * 16)):
        template.add(
            "network",
            named(f"{kind}-subnet"),
            "AWS::EC2::Subnet",
            {
                "VpcId": ref("Network"),
                "AvailabilityZone": template.availability_zone(zone),
                "CidrBlock": f"10.0.{third}.0/20",
                "MapPublicIpOnLaunch": False,
            },
        )
    template.add(
        "network", named("nat-address"), "AWS::EC2::EIP", {"Domain": "vpc"}, DependsOn="InternetAttachment"
    )
    # One per zone: a zone that dies takes nobody else's way out with it.
    template.add(
        "network",
        named("nat"),
        "AWS::EC2::NatGateway",
        {
            "SubnetId": ref(named("public-subnet")),
            "AllocationId": att(named("nat-address"), "AllocationId"),
        },
        DependsOn="PublicDefault",
    )
    template.add("network", named("private-routes"), "AWS::EC2::RouteTable", {"VpcId": ref("Network")})
    template.add(
        "network",
        named("private-default"),
        "AWS::EC2::Route",
        {
            "RouteTableId": ref(named("private-routes")),
            "DestinationCidrBlock": "0.0.0.0/0",
            "NatGatewayId": ref(named("nat")),
        },
    )
    for kind, routes in (("public", "PublicRoutes"), ("private", named("private-routes"))):
        template.add(
            "network",
            named(f"{kind}-association"),
            "AWS::EC2::SubnetRouteTableAssociation",
            {"SubnetId": ref(named(f"{kind}-subnet")), "RouteTableId": ref(routes)},
        )
