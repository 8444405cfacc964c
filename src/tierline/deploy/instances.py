"""A fleet's resources: role and instance profile, launch template, Auto Scaling group."""

from __future__ import annotations

from tierline.deploy import addresses, boot, scaling
from tierline.deploy.fleet import Fleet
from tierline.deploy.template import Template
from tierline.tiers.cloudformation import allow, att, logical, policy, ref, trust

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
        scaling.policies(template, fleet, id)
        scaling.seasons(template, fleet, id)


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
