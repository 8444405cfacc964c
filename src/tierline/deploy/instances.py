"""A fleet's resources: role and instance profile, launch template, Auto Scaling group, scaling policy."""

from __future__ import annotations

from typing import Any

from tierline.deploy import addresses, boot
from tierline.deploy.fleet import Fleet
from tierline.deploy.template import Template
from tierline.tiers.cloudformation import allow, att, logical, policy, ref, sub, trust

KIND = "t4g.small"


def instances(template: Template, fleet: Fleet) -> None:
    """The resources of one fleet, with rights to what its services use and nothing else."""
    id = logical(fleet.name)
    zones = len(template.plan.zones)
    least, most = fleet.scale["min"] * zones, fleet.scale["max"] * zones
    _profile(template, fleet, id)
    _launch(template, fleet, id)
    template.add(
        "apps",
        f"{id}Group",
        "AWS::AutoScaling::AutoScalingGroup",
        {
            "VPCZoneIdentifier": template.subnets(),
            "LaunchTemplate": {
                "LaunchTemplateId": ref(f"{id}Launch"),
                "Version": att(f"{id}Launch", "LatestVersionNumber"),
            },
            "MinSize": str(least),
            "MaxSize": str(most),
            "TargetGroupARNs": [ref(target) for target in fleet.targets] or None,
            "HealthCheckType": "ELB" if fleet.targets else "EC2",
            "HealthCheckGracePeriod": 90,
            "MetricsCollection": [{"Granularity": "1Minute"}],
        },
        # Less than the most must stay in service, or nothing could ever be replaced.
        UpdatePolicy={
            "AutoScalingRollingUpdate": {
                "MaxBatchSize": 1,
                "MinInstancesInService": min(least, most - 1),
                "PauseTime": "PT90S",
                "SuspendProcesses": ["AZRebalance", "ReplaceUnhealthy", "ScheduledActions"],
            }
        },
    )
    if most > least:
        _scaling(template, fleet, id)


def _profile(template: Template, fleet: Fleet, id: str) -> None:
    statements = [
        statement
        for name in dict.fromkeys(
            used
            for member in fleet.members.values()
            for role in member.roles
            for used in addresses.uses(template, role)
        )
        for statement in template.grants.get(name, [])
    ]
    secrets = boot.secrets(template, fleet)
    if secrets:
        statements.append(allow(["secretsmanager:GetSecretValue"], *secrets))
    for member in fleet.members:
        statements += template.grants.get(f"logs:{member}", [])
    template.add(
        "apps",
        f"{id}Role",
        "AWS::IAM::Role",
        {
            "AssumeRolePolicyDocument": trust("ec2"),
            "Policies": [{"PolicyName": "uses", "PolicyDocument": policy(*statements)}]
            if statements
            else None,
        },
    )
    template.add("apps", f"{id}Profile", "AWS::IAM::InstanceProfile", {"Roles": [ref(f"{id}Role")]})


def _launch(template: Template, fleet: Fleet, id: str) -> None:
    template.add(
        "apps",
        f"{id}Launch",
        "AWS::EC2::LaunchTemplate",
        {
            "LaunchTemplateData": {
                "ImageId": template.parameter(
                    "apps",
                    "Image",
                    "The baked image: engines, applications, tierline@.service.",
                    Type="AWS::EC2::Image::Id",
                ),
                "InstanceType": template.parameter(
                    "apps", "InstanceType", "Of every fleet; it must fit the image.", Default=KIND
                ),
                "IamInstanceProfile": {"Arn": att(f"{id}Profile", "Arn")},
                "SecurityGroupIds": [template.group(fleet.name)],
                "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 1},
                "Monitoring": {"Enabled": True},
                "BlockDeviceMappings": [
                    {
                        "DeviceName": "/dev/xvda",
                        "Ebs": {
                            "VolumeType": "gp3",
                            "VolumeSize": 16,
                            "Encrypted": True,
                            "DeleteOnTermination": True,
                        },
                    }
                ],
                "UserData": boot.user_data(template, fleet),
            }
        },
    )


def _scaling(template: Template, fleet: Fleet, id: str) -> None:
    inner = f"{logical(fleet.door.name)}Targets"
    target: dict[str, Any] = {
        "PredefinedMetricSpecification": {"PredefinedMetricType": "ASGAverageCPUUtilization"},
        "TargetValue": round(100 * float(fleet.scale.get("cpu") or 0.6), 1),
    }
    by_requests = bool(fleet.scale.get("rps")) and inner in fleet.targets
    if by_requests:
        # The metric counts per target and minute.
        target = {
            "PredefinedMetricSpecification": {
                "PredefinedMetricType": "ALBRequestCountPerTarget",
                "ResourceLabel": sub(
                    f"${{InnerBalancer.LoadBalancerFullName}}/${{{inner}.TargetGroupFullName}}"
                ),
            },
            "TargetValue": round(60 * float(fleet.scale["rps"]), 1),
        }
    elif fleet.scale.get("rps"):
        template.note(
            f"{fleet.name}: rps= counts at the internal load balancer, which nobody uses; CPU is followed"
        )
    # Requests can be counted once the balancer sends some.
    later: dict[str, Any] = {"DependsOn": f"{logical(fleet.door.name)}Listener"} if by_requests else {}
    template.add(
        "apps",
        f"{id}Scaling",
        "AWS::AutoScaling::ScalingPolicy",
        {
            "AutoScalingGroupName": ref(f"{id}Group"),
            "PolicyType": "TargetTrackingScaling",
            "TargetTrackingConfiguration": target,
        },
        **later,
    )
