"""A signed HTTP client for AWS services.

The signing is botocore's. Its clients would load models of whole services: 20 MB to put one object.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials


class Signed:
    """`await Signed(environment, "s3").send("GET", url)`. `transport` is for tests."""

    def __init__(
        self,
        environment: Mapping[str, str],
        service: str,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.service = service
        self.region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION") or "us-east-1"
        self._credentials: Any = None
        if "AWS_ACCESS_KEY_ID" in environment:
            self._credentials = Credentials(
                environment["AWS_ACCESS_KEY_ID"],
                environment.get("AWS_SECRET_ACCESS_KEY", ""),
                environment.get("AWS_SESSION_TOKEN"),
            )
        self._client = httpx.AsyncClient(
            transport=transport,
            timeout=httpx.Timeout(5, read=30),
            limits=httpx.Limits(max_connections=16, max_keepalive_connections=4),
            trust_env=False,
        )

    async def send(
        self, method: str, url: str, headers: Mapping[str, str] | None = None, content: bytes = b""
    ) -> httpx.Response:
        request = AWSRequest(method=method, url=url, data=content, headers=dict(headers or {}))
        credentials = self._credentials
        if type(credentials) is not Credentials:
            # The role of the instance or container: asking for it, and renewing it, blocks.
            credentials = await asyncio.to_thread(self._role)
        signer = S3SigV4Auth if self.service == "s3" else SigV4Auth
        signer(credentials, self.service, self.region).add_auth(request)
        return await self._client.request(method, url, headers=dict(request.headers.items()), content=content)

    def _role(self) -> Any:
        if self._credentials is None:
            from botocore.session import get_session

            self._credentials = get_session().get_credentials()
            if self._credentials is None:
                raise RuntimeError("no AWS credentials: set AWS_ACCESS_KEY_ID, or run with a role")
        return self._credentials.get_frozen_credentials()

    async def close(self) -> None:
        await self._client.aclose()
