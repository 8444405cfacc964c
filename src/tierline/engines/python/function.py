"""A function's worker: pulls messages, calls the handler, acknowledges what it returned from."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import os
import time
from typing import Any

from tierline.engines.python import flying
from tierline.engines.python.config import App
from tierline.engines.python.meter import Meter
from tierline.trips import record

log = logging.getLogger("tierline.function")


class Worker:
    """An ASGI application whose lifespan runs the worker; over HTTP it only says that it is well."""

    def __init__(self, told: App, handler: Any) -> None:
        self._told = told
        self.name = told.name
        self._handler = handler
        self._task: asyncio.Task[None] | None = None
        self._quiet = asyncio.Event()
        self.running = 0
        """Messages that were fetched and are not done with."""
        self.handled = 0
        self.failed = 0
        self.meter = Meter()

    def quiet(self) -> None:
        """Fetch nothing more; what was fetched and not begun goes back to the queue."""
        self._quiet.set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            self._task = asyncio.create_task(self._work(os.environ["NATS_URL"]))
            await send({"type": "lifespan.startup.complete"})
            await receive()
            if self._quiet.is_set():  # the last acknowledgements are on their way
                await asyncio.wait({self._task}, timeout=2)
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=self._told.timeout)
            await send({"type": "lifespan.shutdown.complete"})
        elif scope["type"] == "http":
            well = self._task is not None and not self._task.done()
            body = json.dumps({"well": well, "handled": self.handled, "failed": self.failed}).encode()
            head = [(b"content-type", b"application/json")]
            await send({"type": "http.response.start", "status": 200 if well else 503, "headers": head})
            await send({"type": "http.response.body", "body": body})

    async def _work(self, url: str) -> None:
        import nats

        from tierline.engines.nats.consumers import consumer

        client = await nats.connect(url, max_reconnect_attempts=-1)
        stream = client.jetstream()
        name = self._told.source
        durable = await consumer(stream, name, self._told.source_kind, self._told.name)
        pull = await stream.pull_subscribe_bind(durable, name)
        while not self._quiet.is_set():
            fetching = asyncio.create_task(pull.fetch(self._told.batch, timeout=5))
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
                log.warning("%s: %s; trying again", name, error)
                await asyncio.sleep(0.5)
                continue
            self.running += len(messages)
            for message in messages:
                if self._quiet.is_set():
                    await message.nak()
                    self.running -= 1
                else:
                    await self.one(message)
        await client.drain()

    async def one(self, message: Any) -> None:
        """Handle a message; acknowledge what the handler returned from."""
        slot = flying.flying.enter(self.name, f"a message of {message.subject}")
        began = time.perf_counter_ns()
        span = record.parse((message.headers or {}).get("traceparent"))
        token = record.current.set(span)
        try:
            event = {
                "subject": message.subject,
                "data": _data(message.data),
                "headers": message.headers or {},
            }
            with record.hop("feature", self._told.name, name=message.subject, verdict="handled"):
                if inspect.iscoroutinefunction(self._handler):
                    await asyncio.wait_for(self._handler(event), self._told.timeout)
                else:
                    await asyncio.wait_for(asyncio.to_thread(self._handler, event), self._told.timeout)
            await message.ack()
            self.handled += 1
        except Exception:
            # Not acknowledged: it is delivered again, and set aside after the queue's own limit.
            self.failed += 1
            log.exception("%s failed on %s", self._told.name, message.subject)
            await message.nak(delay=1)
        finally:
            flying.flying.leave(slot)
            record.current.reset(token)
            self.running -= 1
            self.meter.observe(time.perf_counter_ns() - began)


def _data(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return raw.decode(errors="replace")
