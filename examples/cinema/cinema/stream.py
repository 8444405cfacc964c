"""A stream of events: NATS JetStream, or Kinesis where `<NAME>_STREAM` is given."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Protocol

import msgspec
from nats.js.api import RetentionPolicy

from cinema.aws import Signed
from cinema.queue import connect, ensure


class Stream(Protocol):
    async def open(self) -> None: ...
    async def publish(self, key: str, event: bytes, *, id: str) -> None:
        """Returns when the event is stored."""

    async def close(self) -> None: ...


def stream(environment: Mapping[str, str], name: str) -> Stream:
    """The stream that the environment describes: `<NAME>_STREAM`, or `NATS_URL` and `<NAME>_SUBJECT`."""
    if kinesis := environment.get(f"{name.upper()}_STREAM"):
        return KinesisStream(kinesis, environment)
    if url := environment.get("NATS_URL"):
        return NATSStream(url, environment.get(f"{name.upper()}_SUBJECT", name), name)
    raise RuntimeError(f"the stream {name} needs {name.upper()}_STREAM, or NATS_URL")


class NATSStream:
    def __init__(self, url: str, subject: str, name: str) -> None:
        self._url = url
        self._subject = subject
        self._name = name
        self._connection: Any = None

    async def open(self) -> None:
        self._connection = await connect(self._url, f"cinema-{self._name}")
        self._jetstream = self._connection.jetstream(timeout=2)
        await ensure(self._jetstream, f"{self._subject}.>", RetentionPolicy.LIMITS)

    async def publish(self, key: str, event: bytes, *, id: str) -> None:
        await self._jetstream.publish(f"{self._subject}.{key}", event, headers={"Nats-Msg-Id": id})

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()


class KinesisStream:
    def __init__(self, name: str, environment: Mapping[str, str], *, transport: Any = None) -> None:
        self._name = name
        self._client = Signed(environment, "kinesis", transport=transport)
        self._endpoint = (
            environment.get("AWS_ENDPOINT_URL_KINESIS")
            or f"https://kinesis.{self._client.region}.amazonaws.com/"
        )

    async def open(self) -> None:
        """Nothing: a request is its own connection."""

    async def publish(self, key: str, event: bytes, *, id: str) -> None:
        answer = await self._client.send(
            "POST",
            self._endpoint,
            {"content-type": "application/x-amz-json-1.1", "x-amz-target": "Kinesis_20131202.PutRecord"},
            msgspec.json.encode(
                {"StreamName": self._name, "PartitionKey": key, "Data": base64.b64encode(event).decode()}
            ),
        )
        if answer.status_code != 200:
            raise OSError(f"Kinesis PutRecord: {answer.status_code} {answer.text[:200]}")

    async def close(self) -> None:
        await self._client.close()
