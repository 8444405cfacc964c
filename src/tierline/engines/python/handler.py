"""`python -m tierline.engines.python.handler CONFIG.json NAME FD`: runs one function's handler, call after call.

The worker (function.py) has the messages and the clock; this process has the user's code, and nothing else depends on
it: it can block, leak, crash, or be killed when a call takes too long. The socket FD carries MessagePack documents,
each after its length in four bytes. It ends when the socket does, and with its parent.
"""

from __future__ import annotations

import asyncio
import ctypes
import faulthandler
import inspect
import json
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from tierline.engines import steady

_PR_SET_PDEATHSIG = 1
_HEAD = 4

log = logging.getLogger("tierline.function")


class Message(msgspec.Struct, kw_only=True):
    """A message on its way to the handler."""

    id: str
    subject: str
    data: bytes
    headers: dict[str, str]
    key: str | None
    attempt: int
    enqueued_at: float


class Call(msgspec.Struct, kw_only=True):
    """What the handler is called with. `alone`: with one event, not with a list."""

    messages: list[Message]
    alone: bool
    timeout: float


class Failed(msgspec.Struct, kw_only=True):
    """Why a message isn't done with. after: seconds until the next attempt, when the handler said so."""

    error: str
    after: float | None = None


class Answer(msgspec.Struct, kw_only=True):
    """What became of a call. failed: by the message's place; what isn't in it is done with."""

    failed: dict[int, Failed] = {}
    discarded: list[int] = []
    files: list[str] | None = None
    """The project's files that are imported, when there are others than before."""


class Started(msgspec.Struct, kw_only=True):
    """The first thing that is said: the handler is there, or why it isn't (voice.mistake)."""

    files: list[str] = []
    mistake: dict[str, Any] | None = None


def framed(document: Any) -> bytes:
    body = msgspec.msgpack.encode(document)
    return len(body).to_bytes(_HEAD, "big") + body


def main() -> int:
    steady.begin()
    # Whoever started this may be killed; then the message is another worker's, and must not run here any longer.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for the worker
    faulthandler.enable()
    from tierline.engines.python.config import Config
    from tierline.engines.python.voice import imported, mistake

    path, name, descriptor = sys.argv[1:4]
    link = socket.socket(fileno=int(descriptor))
    os.set_inheritable(link.fileno(), False)
    config = msgspec.json.decode(Path(path).read_bytes(), type=Config)
    told = next(app for app in config.apps if app.name == name)
    if told.memory:
        # The heap and what is mapped for it; not files, nor the address space that libraries reserve.
        resource.setrlimit(resource.RLIMIT_DATA, (told.memory, told.memory))
    try:
        handler = _loaded(config, told)
    except BaseException as error:
        link.sendall(framed(Started(mistake=mistake(error, config.project))))
        raise
    link.sendall(framed(Started(files=imported(config.project))))
    with asyncio.Runner() as runner:
        known = len(sys.modules)
        while (call := _next(link)) is not None:
            answer = _called(handler, call, runner, name)
            if len(sys.modules) != known:
                known, answer.files = len(sys.modules), imported(config.project)
            link.sendall(framed(answer))
    return 0


def _loaded(config: Any, told: Any) -> Callable[[Any], Any]:
    """The handler, imported with the environment that its worker gave to this process."""
    from tierline.engines.python import hooks
    from tierline.engines.python.apps import acquaint, attribute, told_again
    from tierline.trips import record

    record.use(config.hops)
    sys.path.insert(0, config.project)
    hooks.install(config.resources)
    acquaint(config, [])
    signal.signal(signal.SIGHUP, lambda *_: told_again(config))
    found: Callable[[Any], Any] = attribute(told.target)
    return found


def _next(link: socket.socket) -> Call | None:
    head = _exactly(link, _HEAD)
    body = _exactly(link, int.from_bytes(head, "big")) if head else b""
    return msgspec.msgpack.decode(body, type=Call) if body else None


def _exactly(link: socket.socket, many: int) -> bytes:
    found = bytearray()
    while len(found) < many:
        piece = link.recv(min(many - len(found), 1 << 20))
        if not piece:
            return b""
        found += piece
    return bytes(found)


def _called(handler: Callable[[Any], Any], call: Call, runner: asyncio.Runner, name: str) -> Answer:
    from tierline.functions import Discard, Retry
    from tierline.trips import record

    events = [_event(each) for each in call.messages]
    first = call.messages[0]
    token = record.current.set(record.parse(first.headers.get("traceparent")))
    try:
        with record.hop("feature", name, name=first.subject, verdict="handled"):
            given = events[0] if call.alone else events
            if inspect.iscoroutinefunction(handler):
                returned = runner.run(_within(handler, given, call.timeout))
            else:
                returned = handler(given)
                if inspect.isawaitable(returned):
                    returned = runner.run(_awaited(returned, call.timeout))
        return Answer() if call.alone else _partial(returned, events)
    except Discard as error:
        log.info("%s discards %s: %s", name, first.subject, error)
        return Answer(discarded=list(range(len(events))))
    except Exception as error:
        log.exception("%s failed on %s, attempt %d", name, first.subject, first.attempt)
        after = error.after if isinstance(error, Retry) else None
        failed = Failed(error=f"{type(error).__name__}: {error}"[:2000], after=after)
        return Answer(failed=dict.fromkeys(range(len(events)), failed))
    finally:
        record.current.reset(token)
        record.recorder.flush()


async def _within(handler: Callable[[Any], Any], given: Any, within: float) -> Any:
    async with asyncio.timeout(within):
        return await handler(given)


async def _awaited(value: Any, within: float) -> Any:
    async with asyncio.timeout(within):
        return await value


def _event(message: Message) -> dict[str, Any]:
    try:
        data = json.loads(message.data)
    except ValueError:
        data = message.data.decode(errors="replace")
    return {
        "id": message.id,
        "data": data,
        "headers": message.headers,
        "subject": message.subject,
        "key": message.key,
        "attempt": message.attempt,
        "enqueued_at": datetime.fromtimestamp(message.enqueued_at, UTC),
    }


def _partial(returned: Any, events: list[dict[str, Any]]) -> Answer:
    """Which of a batch failed: a list of events or of their ids, or Lambda's own `batchItemFailures`."""
    if isinstance(returned, dict):
        returned = [each["itemIdentifier"] for each in returned.get("batchItemFailures", ())]
    if returned is None:
        return Answer()
    if not isinstance(returned, list | tuple | set):
        raise TypeError(
            f"the handler of a batch returns the events that failed, or their ids, or None; not {type(returned).__name__}"
        )
    places = {each["id"]: place for place, each in enumerate(events)}
    named = [each["id"] if isinstance(each, dict) else each for each in returned]
    if unknown := [each for each in named if each not in places]:
        raise TypeError(f"the handler returned {unknown[0]!r}, which is no event of its batch")
    return Answer(failed={places[each]: Failed(error="the handler returned it as failed") for each in named})


if __name__ == "__main__":
    sys.exit(main())
