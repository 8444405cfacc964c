"""A function's worker: fetches messages, has its handler called, and acknowledges what the handler returned from.

Handlers run in processes of their own (handlers.py), one call at a time in each of `concurrency`. No more is fetched
than can begin, and what runs is kept from being delivered again until it has ended. So the server's count of
deliveries is the number of attempts. A message that has failed in all of its attempts is set aside, whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import random
import time
from typing import Any

from tierline.engines.python import flying
from tierline.engines.python.config import App
from tierline.engines.python.handler import Answer, Call, Message
from tierline.engines.python.handlers import Handler
from tierline.engines.python.meter import Meter

log = logging.getLogger("tierline.function")

_FETCH = 5.0
"""Seconds that a fetch waits for the first message."""
_AGAIN = 0.5
_LONGEST = 300.0
"""Seconds between two attempts, at most."""
_ASIDE = 5.0


class Worker:
    """An ASGI application whose lifespan runs the worker; over HTTP it only says that it is well."""

    def __init__(self, told: App, config: str) -> None:
        self._told = told
        self.name = told.name
        self._handlers = [Handler(told, config) for _ in range(told.concurrency)]
        self._task: asyncio.Task[None] | None = None
        self._quiet = asyncio.Event()
        self.running = 0
        """Messages that were fetched and are not done with."""
        self.handled = 0
        self.failed = 0
        self.meter = Meter()

    async def begin(self) -> None:
        """Starts the handler's first process. Raises HandlerMistake when there is no handler."""
        await self._handlers[0].start()

    def quiet(self) -> None:
        """Fetch nothing more."""
        self._quiet.set()

    def tell_again(self) -> None:
        """Instances of the services that the handler calls came or went."""
        for handler in self._handlers:
            handler.tell_again()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            self._task = asyncio.create_task(self._work(os.environ["NATS_URL"]))
            await send({"type": "lifespan.startup.complete"})
            await receive()
            if self._quiet.is_set():  # the last acknowledgements are on their way
                await asyncio.wait({self._task}, timeout=2)
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=2)
            await asyncio.gather(*(handler.kill() for handler in self._handlers))
            await send({"type": "lifespan.shutdown.complete"})
        elif scope["type"] == "http":
            well = self._task is not None and not self._task.done()
            body = json.dumps({"well": well, "handled": self.handled, "failed": self.failed}).encode()
            head = [(b"content-type", b"application/json")]
            await send({"type": "http.response.start", "status": 200 if well else 503, "headers": head})
            await send({"type": "http.response.body", "body": body})

    async def _work(self, url: str) -> None:
        import nats

        from tierline.engines.nats.consumers import durable

        client = await nats.connect(url, max_reconnect_attempts=-1)
        stream = client.jetstream()
        name, source = durable(self._told.source, self._told.source_kind, self._told.name), self._told.source
        wait = (await stream.consumer_info(source, name)).config.ack_wait or 30.0
        lanes = [self._lane(stream, source, name, wait, handler) for handler in self._handlers]
        try:
            await asyncio.gather(*lanes)
        finally:
            with contextlib.suppress(Exception):
                await client.drain()

    async def _lane(self, stream: Any, source: str, name: str, wait: float, handler: Handler) -> None:
        """One process's messages: a call ends before the next fetch begins."""
        import nats

        pull = await stream.pull_subscribe_bind(name, source)
        while not self._quiet.is_set():
            fetching = asyncio.create_task(pull.fetch(self._told.batch, timeout=_FETCH))
            quiet = asyncio.create_task(self._quiet.wait())
            await asyncio.wait({fetching, quiet}, return_when=asyncio.FIRST_COMPLETED)
            quiet.cancel()
            if not fetching.done():
                # A fetch that is under way may bring one more: it isn't acknowledged, so it comes again elsewhere.
                fetching.cancel()
                break
            try:
                messages = fetching.result()
            except (TimeoutError, nats.errors.TimeoutError):
                continue
            except nats.errors.Error as error:
                log.warning("%s: %s; trying again", source, error)
                await asyncio.sleep(_AGAIN)
                continue
            if self._quiet.is_set():
                for message in messages:
                    await message.nak()
                break
            self.running += len(messages)
            try:
                await self._handle(stream, messages, wait, handler)
            except nats.errors.Error as error:
                # Not acknowledged: delivered again once its time is up.
                log.warning("%s: %s; what was not acknowledged comes again", source, error)
            finally:
                self.running -= len(messages)

    async def _handle(self, stream: Any, messages: list[Any], wait: float, handler: Handler) -> None:
        ready = []
        for message in messages:
            if message.metadata.num_delivered > self._told.attempts:
                await self._aside(stream, message, "its worker ended each time while it ran", more=-1)
            else:
                ready.append(message)
        if not ready:
            return
        call = Call(
            messages=[_message(each, self._told.source) for each in ready],
            alone=self._told.batch == 1,
            timeout=self._told.timeout,
        )
        slot = flying.flying.enter(self.name, f"a message of {ready[0].subject}")
        began = time.perf_counter_ns()
        keeping = asyncio.create_task(_kept(ready, wait / 3))
        try:
            answer = await handler.call(call)
        except asyncio.CancelledError:
            for message in ready:
                await message.nak()
            raise
        finally:
            keeping.cancel()
            flying.flying.leave(slot)
            self.meter.observe(time.perf_counter_ns() - began)
        for place, message in enumerate(ready):
            await self._done(stream, place, message, answer)

    async def _done(self, stream: Any, place: int, message: Any, answer: Answer) -> None:
        failed = answer.failed.get(place)
        if failed is None:
            await message.ack()
            self.handled += 1
            return
        self.failed += 1
        attempt = message.metadata.num_delivered
        if attempt >= self._told.attempts:
            await self._aside(stream, message, failed.error)
            return
        pause = failed.after if failed.after is not None else _pause(self._told.backoff, attempt)
        log.warning(
            "%s: %s failed, attempt %d of %d: %s; again in %.1f s",
            self.name, message.subject, attempt, self._told.attempts, failed.error, pause,
        )  # fmt: skip
        await message.nak(delay=pause)

    async def _aside(self, stream: Any, message: Any, error: str, more: int = 0) -> None:
        """Into the dead letters, whole; then it is acknowledged. more: added to the number of deliveries."""
        told = message.metadata
        attempts = told.num_delivered + more
        headers = {
            **(message.headers or {}),
            "Nats-Msg-Id": f"{told.stream}-{told.consumer}-{told.sequence.stream}",
            "Tierline-Subject": message.subject,
            "Tierline-Function": self.name,
            "Tierline-Error": " ".join(error.split())[:1000],
            "Tierline-Attempts": str(attempts),
            "Tierline-Enqueued-At": told.timestamp.isoformat(),
        }
        await stream.publish(f"{told.consumer}-dead", message.data, headers=headers, timeout=_ASIDE)
        await message.ack()
        log.error("%s: %s is set aside after %d attempts: %s", self.name, message.subject, attempts, error)


async def _kept(messages: list[Any], every: float) -> None:
    """The server delivers them to nobody else while they run."""
    while True:
        await asyncio.sleep(every)
        for message in messages:
            with contextlib.suppress(Exception):  # a connection that is away; the next one may be in time
                await message.in_progress()


def _pause(first: float, attempt: int) -> float:
    """Exponential backoff with jitter: half of it is random, so that what failed together isn't tried together."""
    whole = min(_LONGEST, first * 2.0 ** (attempt - 1))
    return float(whole * random.uniform(0.5, 1.0))  # noqa: S311  guards nothing


def _message(message: Any, source: str) -> Message:
    told = message.metadata
    key = message.subject.removeprefix(source).removeprefix(".")
    return Message(
        id=f"{told.stream}-{told.sequence.stream}",
        subject=message.subject,
        data=message.data,
        headers=dict(message.headers or {}),
        key=key or None,
        attempt=told.num_delivered,
        enqueued_at=told.timestamp.timestamp(),
    )
