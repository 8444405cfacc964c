"""core.elasticache: Valkey on ElastiCache, a replication group per cache, over TLS with a token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tierline.plan.model import Ref, Role, Text
from tierline.tiers.base import System
from tierline.tiers.cloudformation import Secret, logical, ref

if TYPE_CHECKING:
    from tierline.deploy.template import Template

_PORT = 6379
_TYPES = (
    (0.4, "cache.t4g.micro"), (1.2, "cache.t4g.small"), (2.8, "cache.t4g.medium"), (6, "cache.m7g.large"),
    (12, "cache.m7g.xlarge"), (26, "cache.m7g.2xlarge"),
)  # fmt: skip
"""GiB that stay for data when a quarter is kept for replication and snapshots."""


class ElastiCache(System):
    title = "ElastiCache for Valkey"
    levels = frozenset({"deploys"})
    supports = frozenset({"cache", "sessions"})
    endpoints = {"redis": "redis"}
    stand_in = "valkey"

    def shared(self, roles: Sequence[Role]) -> dict[str, Text]:
        at = roles[0].id
        return {
            "REDIS_URL": Text(("rediss://:", Ref(at, "secret.token"), "@", Ref(at, "redis.address"), "/0"))
        }

    def deploy(self, roles: Sequence[Role], template: Template) -> None:
        (role,) = roles
        name, id = role.name, logical(role.name)
        # What is not said to be a cache must not forget: a copy in another zone, snapshots, no eviction.
        lasting = role.slot != "core.cache"
        template.add(
            "data",
            "CacheSubnets",
            "AWS::ElastiCache::SubnetGroup",
            {"Description": f"{template.plan.stack} caches", "SubnetIds": template.subnets()},
            once=True,
        )
        template.add(
            "data",
            f"{id}Token",
            "AWS::SecretsManager::Secret",
            {
                "Description": f"{template.plan.stack}: what users of {name} show",
                "GenerateSecretString": {
                    "SecretStringTemplate": "{}",
                    "GenerateStringKey": "token",
                    "PasswordLength": 64,
                    "ExcludePunctuation": True,
                },
            },
            keep="Delete",
        )
        template.add(
            "data",
            f"{id}Parameters",
            "AWS::ElastiCache::ParameterGroup",
            {
                "CacheParameterGroupFamily": "valkey8",
                "Description": f"{template.plan.stack} {name}",
                "Properties": {"maxmemory-policy": "noeviction" if lasting else "allkeys-lru"},
            },
        )
        several = lasting and len(template.plan.zones) > 1
        template.add(
            "data",
            f"{id}Store",
            "AWS::ElastiCache::ReplicationGroup",
            {
                "ReplicationGroupDescription": f"{template.plan.stack} {name}",
                "Engine": "valkey",
                "EngineVersion": "8.0",
                "CacheNodeType": _node(role.settings.get("memory", 2**30)),
                "NumCacheClusters": 2 if several else 1,
                "AutomaticFailoverEnabled": several,
                "MultiAZEnabled": several,
                "Port": _PORT,
                "TransitEncryptionEnabled": True,
                "AtRestEncryptionEnabled": True,
                "AuthToken": {"Fn::Sub": f"{{{{resolve:secretsmanager:${{{id}Token}}:SecretString:token}}}}"},
                "CacheParameterGroupName": ref(f"{id}Parameters"),
                "CacheSubnetGroupName": ref("CacheSubnets"),
                "SecurityGroupIds": [template.guard(name, _PORT)],
                "SnapshotRetentionLimit": 7 if lasting else 0,
                "AutoMinorVersionUpgrade": True,
            },
            keep="Snapshot" if lasting else "Delete",
        )
        template.tell(
            role.id,
            {
                "redis.address": {
                    "Fn::Sub": f"${{{id}Store.PrimaryEndPoint.Address}}:${{{id}Store.PrimaryEndPoint.Port}}"
                },
                "secret.token": Secret(ref(f"{id}Token"), "token"),
            },
        )


def _node(memory: int) -> str:
    return next((node for gib, node in _TYPES if memory <= gib * 2**30), _TYPES[-1][1])
