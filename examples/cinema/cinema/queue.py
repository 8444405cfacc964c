"""A queue of messages that are handled at least once: NATS JetStream, or SQS where its URL is given."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import urlsplit

import msgspec
import nats
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, RetentionPolicy, StreamConfig
from nats.js.errors import NotFoundError

from cinema.aws import Signed

Unavailable = (nats.errors.Error, TimeoutError, OSError)


class Message(Protocol):
    body: bytes

    async def done(self) -> None:
        """Handled: do not deliver it again."""

    async def again(self, delay: float) -> None:
        """Not handled: deliver it again after `delay` seconds."""


class Queue(Protocol):
    async def open(self) -> None: ...
    async def send(self, body: bytes, *, id: str) -> None:
        """Returns when the message is stored. Sent twice with one id it is one message."""

    async def receive(self, wait: float) -> list[Message]: ...
    async def close(self) -> None: ...


def queue(environment: Mapping[str, str], name: str) -> Queue:
    """The queue that the environment describes: `<NAME>_QUEUE_URL`, or `NATS_URL` and `<NAME>_SUBJECT`."""
    if url := environment.get(f"{name.upper()}_QUEUE_URL"):
        return SQSQueue(url, environment)
    if url := environment.get("NATS_URL"):
        return NATSQueue(url, environment.get(f"{name.upper()}_SUBJECT", name), name)
    raise RuntimeError(f"the queue {name} needs {name.upper()}_QUEUE_URL, or NATS_URL")


async def connect(url: str, name: str) -> Any:
    async with asyncio.timeout(15):
        return await nats.connect(
            url.split(","),
            name=name,
            max_reconnect_attempts=-1,
            reconnect_time_wait=0.2,
            connect_timeout=2,
            error_cb=_quiet,
        )


async def _quiet(error: Exception) -> None:
    """nats-py prints each reconnect with a traceback; callers see the errors that concern them."""


async def ensure(jetstream: Any, subject: str, retention: RetentionPolicy) -> str:
    """The stream that holds the subject: as it was set up, or made here where nobody did."""
    with contextlib.suppress(NotFoundError):
        return str(await jetstream.find_stream_name_by_subject(subject))
    name = subject.removesuffix(".>").replace(".", "-")
    # Another process that is as early makes the same stream: that is no error.
    await jetstream.add_stream(StreamConfig(name=name, subjects=[subject], retention=retention))
    return name


class NATSMessage:
    def __init__(self, message: Msg) -> None:
        self.body = message.data
        self._message = message

    async def done(self) -> None:
        await self._message.ack_sync()

    async def again(self, delay: float) -> None:
        await self._message.nak(delay)


class NATSQueue:
    def __init__(self, url: str, subject: str, name: str) -> None:
        self._url = url
        self._subject = subject
        self._name = name
        self._connection: Any = None
        self._messages: Any = None

    async def open(self) -> None:
        self._connection = await connect(self._url, f"cinema-{self._name}")
        self._jetstream = self._connection.jetstream(timeout=2)
        stream = await ensure(self._jetstream, self._subject, RetentionPolicy.WORK_QUEUE)
        self._messages = await self._jetstream.pull_subscribe(
            self._subject,
            durable=self._name,
            stream=stream,
            config=ConsumerConfig(ack_policy=AckPolicy.EXPLICIT, ack_wait=10, max_deliver=-1),
        )

    async def send(self, body: bytes, *, id: str) -> None:
        await self._jetstream.publish(self._subject, body, headers={"Nats-Msg-Id": id})

    async def receive(self, wait: float) -> list[Message]:
        try:
            return [NATSMessage(message) for message in await self._messages.fetch(16, timeout=wait)]
        except TimeoutError:
            return []

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()


class SQSMessage:
    def __init__(self, owner: SQSQueue, message: dict[str, str]) -> None:
        self.body = message["Body"].encode()
        self._owner = owner
        self._receipt = message["ReceiptHandle"]

    async def done(self) -> None:
        await self._owner.call("DeleteMessage", ReceiptHandle=self._receipt)

    async def again(self, delay: float) -> None:
        await self._owner.call(
            "ChangeMessageVisibility", ReceiptHandle=self._receipt, VisibilityTimeout=max(0, round(delay))
        )


class SQSQueue:
    def __init__(self, url: str, environment: Mapping[str, str], *, transport: Any = None) -> None:
        self._url = url
        self._endpoint = environment.get("AWS_ENDPOINT_URL_SQS") or "{0.scheme}://{0.netloc}/".format(
            urlsplit(url)
        )
        self._client = Signed(environment, "sqs", transport=transport)

    async def open(self) -> None:
        """Nothing: the queue was made with the stack, and a request is its own connection."""

    async def call(self, action: str, **arguments: Any) -> dict[str, Any]:
        answer = await self._client.send(
            "POST",
            self._endpoint,
            {"content-type": "application/x-amz-json-1.0", "x-amz-target": f"AmazonSQS.{action}"},
            msgspec.json.encode({"QueueUrl": self._url, **arguments}),
        )
        if answer.status_code != 200:
            raise OSError(f"SQS {action}: {answer.status_code} {answer.text[:200]}")
        found = msgspec.json.decode(answer.content) if answer.content else {}
        return found if isinstance(found, dict) else {}

    async def send(self, body: bytes, *, id: str) -> None:
        arguments: dict[str, Any] = {"MessageBody": body.decode()}
        if self._url.endswith(".fifo"):
            # Group by id: orders do not wait for each other.
            group = hashlib.sha256(id.encode()).hexdigest()
            arguments |= {"MessageDeduplicationId": group, "MessageGroupId": group}
        await self.call("SendMessage", **arguments)

    async def receive(self, wait: float) -> list[Message]:
        found = await self.call(
            "ReceiveMessage", MaxNumberOfMessages=10, WaitTimeSeconds=min(20, round(wait))
        )
        return [SQSMessage(self, message) for message in found.get("Messages", [])]

    async def close(self) -> None:
        await self._client.close()
