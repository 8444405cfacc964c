"""httpx keeps its connections when its caller is cancelled.

httpcore (1.0.9, the latest) loses connections whose request was cancelled: they are neither idle nor closed, no
request has them, and each takes a slot of its pool for ever (encode/httpcore issues 830, 961, 1093; 986 and 1099
would mend it). Parts are cancelled often, when a client leaves, at a deadline, by hedging, so it is mended here, in
the line's own processes: what no request has is closed, and an answer's end can't be cancelled halfway.
"""

from __future__ import annotations

import asyncio
import functools
from types import ModuleType
from typing import Any

_ending: set[asyncio.Task[Any]] = set()


def httpcore(module: ModuleType) -> None:
    """Mend it, unless it has changed so much that it can't be told what to mend."""
    from importlib import import_module

    try:
        pools = import_module("httpcore._async.connection_pool")
        pool, stream = pools.AsyncConnectionPool, pools.PoolByteStream
        assign, close = pool._assign_requests_to_connections, stream.aclose
    except (ImportError, AttributeError):
        return

    @functools.wraps(assign)
    def assigned(self: Any) -> Any:
        owned = {id(request.connection) for request in self._requests}
        lost = [
            each for each in self._connections
            if id(each) not in owned and not each.is_idle() and not each.is_closed()
        ]  # fmt: skip
        for each in lost:
            self._connections.remove(each)
        return [*assign(self), *lost]

    @functools.wraps(close)
    async def closed(self: Any) -> None:
        try:
            task = asyncio.get_running_loop().create_task(close(self))
        except RuntimeError:  # another library's event loop
            await close(self)
            return
        _ending.add(task)
        task.add_done_callback(_ending.discard)
        await asyncio.shield(task)

    pool._assign_requests_to_connections = assigned
    stream.aclose = closed
