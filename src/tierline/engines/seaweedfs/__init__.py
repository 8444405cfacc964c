"""SeaweedFS: buckets behind the S3 API."""

from tierline.engines.seaweedfs.engine import ENGINE, leftovers

__all__ = ["ENGINE", "leftovers"]
