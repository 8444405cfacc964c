"""The control socket: one JSON request and one JSON answer per connection, on a Unix socket of the user's own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from tierline.engines.sockets import short
from tierline.errors import RunError, TierlineError

# A request carries the plan of a whole stack: asyncio's own limit for a line, 64 KiB, is the size of a small one.
_LONGEST = 64 << 20
_SOCKET = "control.sock"

Handler = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


async def serve(root: Path, handler: Handler) -> asyncio.Server:
    """Answer requests until the server is closed."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = json.loads(await asyncio.wait_for(reader.readline(), 5))
            result = {"ok": True, **(await handler(request))}
        except TierlineError as error:
            result = {"ok": False, "error": str(error)}
        except (ValueError, TimeoutError, KeyError, TypeError) as error:
            result = {"ok": False, "error": f"bad request: {error!r}"}
        except Exception as error:  # a full disk, most likely; whoever asked is told
            result = {"ok": False, "error": f"{type(error).__name__}: {error}"}
        with contextlib.suppress(OSError):
            writer.write(json.dumps(result).encode() + b"\n")
            await writer.drain()
        writer.close()

    (root / _SOCKET).unlink(missing_ok=True)
    with short(root / _SOCKET) as path:
        before = os.umask(0o177)
        try:
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            listener.bind(path)
        finally:
            os.umask(before)
    return await asyncio.start_unix_server(answer, sock=listener, limit=_LONGEST)


def ask(root: Path, request: dict[str, Any], timeout: float = 30.0) -> dict[str, Any]:
    """One request. Raises RunError when the line isn't up, doesn't answer in time, or says no."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(timeout)
        try:
            with short(root / _SOCKET) as path:
                client.connect(path)
            client.sendall(json.dumps(request).encode() + b"\n")
            answer = b""
            while chunk := client.recv(1 << 16):
                answer += chunk
        except TimeoutError:
            raise RunError(
                f"the supervisor did not answer within {timeout:g} s; see tierline logs supervisor"
            ) from None
        except OSError:
            raise RunError("this stack isn't up: start it with tierline up") from None
    result: dict[str, Any] = json.loads(answer or b'{"ok": false, "error": "the supervisor hung up"}')
    if not result.pop("ok"):
        raise RunError(result["error"])
    return result
