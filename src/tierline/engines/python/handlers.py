"""The process that a function's handler runs in, as its worker sees it: started, called, and ended when it is overdue."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from typing import Any, TypeVar

import msgspec

from tierline.engines.python import voice
from tierline.engines.python.config import App
from tierline.engines.python.handler import Answer, Call, Failed, Started, framed

_OVERDUE = 1.0
"""Seconds after its timeout until a handler that was cancelled, and has not ended, is ended with its process."""
_STARTS = 30.0
T = TypeVar("T")


class HandlerMistake(RuntimeError):
    """The handler could not be imported; `mistake` is what its process says of it."""

    def __init__(self, mistake: dict[str, Any]) -> None:
        super().__init__(str(mistake.get("text", "its handler could not be imported")))
        self.mistake = mistake


class Handler:
    """One process of a function's handler. It is started by the first call, or before it by `start`."""

    def __init__(self, told: App, config: str) -> None:
        """config: the file that the worker was started with."""
        self._told = told
        self._config = config
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter

    async def start(self) -> None:
        """Raises HandlerMistake when there is no handler, RuntimeError when its process ends or doesn't answer."""
        if self._process is not None and self._process.returncode is None:
            return
        ours, theirs = socket.socketpair()
        try:
            ours.setblocking(False)
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tierline.engines.python.handler", self._config, self._told.name,
                str(theirs.fileno()), pass_fds=(theirs.fileno(),), env={**os.environ, **self._told.env},
            )  # fmt: skip
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self._reader, self._writer = await asyncio.open_connection(sock=ours)
        try:
            async with asyncio.timeout(_STARTS):
                started = await self._read(Started)
        except TimeoutError:
            await self.kill()
            raise RuntimeError(f"its handler was not imported within {_STARTS:g} s") from None
        if started is None:
            raise RuntimeError(f"its process {await self._ended()} while it started")
        if started.mistake is not None:
            await self.kill()
            raise HandlerMistake(started.mistake)
        voice.elsewhere.update(started.files)

    async def call(self, call: Call) -> Answer:
        """What became of the messages. A handler that doesn't end in time is ended with its process."""
        try:
            await self.start()
        except (RuntimeError, OSError) as error:
            return _all(call, str(error))
        try:
            async with asyncio.timeout(call.timeout + _OVERDUE):
                self._writer.write(framed(call))
                answer = await self._read(Answer)
        except TimeoutError:
            await self.kill()
            return _all(
                call, f"it took longer than timeout={call.timeout:g} s and was ended with its process"
            )
        except OSError:
            answer = None
        except BaseException:
            await self.kill()
            raise
        if answer is None:
            return _all(call, f"its process {await self._ended()}")
        if answer.files is not None:
            voice.elsewhere.update(answer.files)
        return answer

    def tell_again(self) -> None:
        """Instances of the services that it calls came or went."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGHUP)

    async def kill(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        self._writer.close()
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()

    async def _ended(self) -> str:
        process, self._process = self._process, None
        self._writer.close()
        if process is None:
            return "ended"
        try:
            code = await asyncio.wait_for(process.wait(), 2)
        except TimeoutError:
            process.kill()
            code = await process.wait()
        if code >= 0:
            return f"ended with exit code {code}"
        with contextlib.suppress(ValueError):
            return f"was ended by {signal.Signals(-code).name}"
        return f"was ended by signal {-code}"

    async def _read(self, kind: type[T]) -> T | None:
        try:
            head = await self._reader.readexactly(4)
            many = int.from_bytes(head, "big")
            return msgspec.msgpack.decode(await self._reader.readexactly(many), type=kind)
        except (asyncio.IncompleteReadError, ConnectionError):
            return None


def _all(call: Call, error: str) -> Answer:
    return Answer(failed=dict.fromkeys(range(len(call.messages)), Failed(error=error)))
