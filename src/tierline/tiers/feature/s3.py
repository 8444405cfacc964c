"""feature.s3: a private, encrypted bucket that outlives its stack."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tierline.plan.model import Ref, Role, Text
from tierline.tiers.base import System
from tierline.tiers.cloudformation import allow, att, logical, ref, sub

if TYPE_CHECKING:
    from tierline.deploy.template import Template


class S3(System):
    title = "S3"
    levels = frozenset({"deploys"})
    supports = frozenset({"bucket"})
    endpoints = {"https": "https"}
    stand_in = "seaweedfs"

    def own(self, roles: Sequence[Role]) -> dict[str, Text]:
        return {"BUCKET": Text((Ref(roles[0].id, "name"),))}

    def deploy(self, roles: Sequence[Role], template: Template) -> None:
        (role,) = roles
        id = template.add(
            "data", logical(role.name, "bucket"), "AWS::S3::Bucket", private_bucket(), keep="Retain"
        )
        template.tell(role.id, {"name": ref(id), "arn": att(id, "Arn")})
        template.grant(
            role.name,
            allow(["s3:GetObject", "s3:PutObject", "s3:DeleteObject"], sub(f"${{{id}.Arn}}/*")),
            allow(["s3:ListBucket"], att(id, "Arn")),
        )


def private_bucket() -> dict[str, Any]:
    """Nothing public, no access lists, encrypted, and uploads that were given up are removed."""
    return {
        "BucketEncryption": {
            "ServerSideEncryptionConfiguration": [
                {"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}, "BucketKeyEnabled": True}
            ]
        },
        "PublicAccessBlockConfiguration": {
            "BlockPublicAcls": True,
            "BlockPublicPolicy": True,
            "IgnorePublicAcls": True,
            "RestrictPublicBuckets": True,
        },
        "OwnershipControls": {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]},
        "LifecycleConfiguration": {
            "Rules": [
                {
                    "Id": "GivenUpUploads",
                    "Status": "Enabled",
                    "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
                }
            ]
        },
    }
