"""Buckets on SeaweedFS, behind the S3 API."""

from __future__ import annotations

from collections.abc import Sequence

from tierline.plan.model import Ref, Role, Text
from tierline.tiers.base import System


class SeaweedFS(System):
    title = "SeaweedFS"
    engine = "seaweedfs"
    levels = frozenset({"runs"})
    supports = frozenset({"bucket"})
    endpoints = {
        "s3": "s3", "s3-grpc": "tcp", "filer": "tcp", "filer-grpc": "tcp", "master": "tcp", "master-grpc": "tcp",
        "volume": "tcp", "volume-grpc": "tcp", "admin": "tcp", "admin-grpc": "tcp",
    }  # fmt: skip
    group = "server"

    def shared(self, roles: Sequence[Role]) -> dict[str, Text]:
        at = roles[0].id
        return {
            "AWS_ENDPOINT_URL_S3": Text(("http://", Ref(at, "s3.address"))),
            "AWS_ACCESS_KEY_ID": Text((Ref(at, "secret.seaweedfs.access_key"),)),
            "AWS_SECRET_ACCESS_KEY": Text((Ref(at, "secret.seaweedfs.secret_key"),)),
        }

    def own(self, roles: Sequence[Role]) -> dict[str, Text]:
        return {"BUCKET": Text((roles[0].name,))}
