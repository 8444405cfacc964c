"""domain.aurora: a cluster of Aurora PostgreSQL per database, with a writer and a reader per replica."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tierline.plan.model import Ref, Role, Text
from tierline.tiers.base import System
from tierline.tiers.cloudformation import Secret, att, logical, ref

if TYPE_CHECKING:
    from tierline.deploy.template import Template

_PORT = 5432


class Aurora(System):
    title = "Aurora PostgreSQL"
    levels = frozenset({"deploys"})
    supports = frozenset({"relational", "replicas"})
    endpoints = {"postgresql": "postgresql"}
    stand_in = "postgresql"

    def shared(self, roles: Sequence[Role]) -> dict[str, Text]:
        # Aurora's own endpoints follow a failover, so no driver has to look for the writer.
        return {
            "DATABASE_URL": _url(roles[0], "writer.address"),
            "DATABASE_READ_URL": _url(roles[0], "reader.address" if len(roles) > 1 else "writer.address"),
        }

    def deploy(self, roles: Sequence[Role], template: Template) -> None:
        name, id = roles[0].name, logical(roles[0].name, "database")
        template.add(
            "data",
            "DatabaseSubnets",
            "AWS::RDS::DBSubnetGroup",
            {"DBSubnetGroupDescription": f"{template.plan.stack} databases", "SubnetIds": template.subnets()},
            once=True,
        )
        template.add(
            "data",
            id,
            "AWS::RDS::DBCluster",
            {
                "Engine": "aurora-postgresql",
                "EngineVersion": "17.7",
                "DatabaseName": name.replace("-", "_"),
                "MasterUsername": "line",
                "ManageMasterUserPassword": True,
                "Port": _PORT,
                "DBSubnetGroupName": ref("DatabaseSubnets"),
                "VpcSecurityGroupIds": [template.guard(name, _PORT)],
                "ServerlessV2ScalingConfiguration": {"MinCapacity": 0.5, "MaxCapacity": 8},
                "StorageEncrypted": True,
                "BackupRetentionPeriod": 7,
                "CopyTagsToSnapshot": True,
                "DeletionProtection": True,
                "EnableCloudwatchLogsExports": ["postgresql"],
            },
            keep="Snapshot",
        )
        for number, role in enumerate(roles):
            template.add(
                "data",
                logical(name, role.part),
                "AWS::RDS::DBInstance",
                {
                    "DBClusterIdentifier": ref(id),
                    "DBInstanceClass": "db.serverless",
                    "Engine": "aurora-postgresql",
                    "AvailabilityZone": template.availability_zone(role.zone),
                    "PromotionTier": number,
                    "PubliclyAccessible": False,
                },
                # An instance holds nothing: the cluster's storage does.
                keep="Delete",
            )
        template.tell(
            roles[0].id,
            {
                "writer.address": {"Fn::Sub": f"${{{id}.Endpoint.Address}}:{_PORT}"},
                "reader.address": {"Fn::Sub": f"${{{id}.ReadEndpoint.Address}}:{_PORT}"},
                "secret.username": Secret(att(id, "MasterUserSecret.SecretArn"), "username"),
                "secret.password": Secret(att(id, "MasterUserSecret.SecretArn"), "password"),
            },
        )
        if roles[0].settings["schema"]:
            schema, load = roles[0].settings["schema"], roles[0].settings["load"]
            template.note(
                f"{name}: CloudFormation creates an empty database; apply {schema}"
                + (f" and run {' '.join(load)}" if load else "")
                + " from inside the network before the apps stack"
            )


def _url(role: Role, endpoint: str) -> Text:
    at = role.id
    return Text(
        (
            "postgresql://", Ref(at, "secret.username"), ":", Ref(at, "secret.password"), "@", Ref(at, endpoint),
            f"/{role.name.replace('-', '_')}?sslmode=require",
        )
    )  # fmt: skip
