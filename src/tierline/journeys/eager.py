"""A coroutine that is run at once up to its first wait, and becomes a task only if it has to wait.

Python 3.12 has this as `eager_start`; here it works on 3.11 too, and a part that never waits costs no Future,
no hand-over through the event loop, no timer and no object: one Eager carries all of a request's parts that never
wait, one after the other, until one waits and keeps it. While it runs, `asyncio.current_task()` is this object, so
`asyncio.timeout`, `TaskGroup` and anyio's scopes inside a part work as in any task.
"""

from __future__ import annotations

import asyncio
import asyncio.tasks
import sys
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any

if sys.version_info >= (3, 12):
    from asyncio.tasks import _swap_current_task as swap
else:
    # What asyncio.tasks._enter_task and _leave_task write to; they refuse to nest, which is all that they add.
    _current: dict[Any, Any] = asyncio.tasks._current_tasks  # type: ignore[attr-defined]

    def swap(loop: Any, task: Any) -> Any:
        """Makes a task the loop's current one; the one that was."""
        before = _current.get(loop)
        if task is None:
            del _current[loop]
        else:
            _current[loop] = task
        return before


async def awaited(value: Any) -> Any:
    """Something else than a coroutine that can be waited for, as one."""
    return await value


class Eager:
    """`begin()` is True when the coroutine has finished; else `ended(self)` is called when it does.

    Afterwards `error` is None and `value` is the result, or `error` is the exception.
    """

    # Defaults of the class: most parts never wait, and then none of these is ever set.
    ended: Callable[[Eager], None] | None = None
    error: BaseException | None = None
    finished = False
    value: Any = None
    timer: asyncio.TimerHandle | None = None
    node: Any = None
    owner: Any = None
    span: Any = None
    _cancelling = 0
    _must_cancel = False
    _fut_waiter: Any = None

    # Set before its coroutine is run.
    coro: Coroutine[Any, Any, Any]
    context: Context

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        coro: Coroutine[Any, Any, Any] | None = None,
        context: Context | None = None,
    ) -> None:
        self._loop = loop
        # Whether it was ever asked to end; then it carries no other coroutine.
        self.asked = False
        if coro is not None and context is not None:
            self.coro = coro
            self.context = context

    def begin(self) -> bool:
        loop = self._loop
        before = swap(loop, self)
        try:
            waits = self.context.run(self.coro.send, None)
        except StopIteration as stop:
            self.value = stop.value
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            self.error = error
        else:
            swap(loop, before)
            self.wait(waits)
            return False
        swap(loop, before)
        self.finished = True
        return True

    def _step(self, error: BaseException | None = None) -> None:
        if self.finished:
            return
        if self._must_cancel:
            if not isinstance(error, asyncio.CancelledError):
                error = asyncio.CancelledError()
            self._must_cancel = False
        self._fut_waiter = None
        loop = self._loop
        before = swap(loop, self)
        try:
            waits = self.coro.send(None) if error is None else self.coro.throw(error)
        except StopIteration as stop:
            self.value = stop.value
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as raised:
            self.error = raised
        else:
            swap(loop, before)
            self.wait(waits)
            return
        swap(loop, before)
        self.finished = True
        if self.ended is not None:
            self.ended(self)

    def wait(self, waits: Any) -> None:
        """It goes on when what its coroutine has yielded is there."""
        if getattr(waits, "_asyncio_future_blocking", None):
            waits._asyncio_future_blocking = False
            waits.add_done_callback(self._wake, context=self.context)
            self._fut_waiter = waits
            if self._must_cancel and waits.cancel():
                self._must_cancel = False
        elif waits is None:
            self._loop.call_soon(self._step, context=self.context)
        else:
            wrong = RuntimeError(f"a part awaited {waits!r}, which asyncio does not know")
            self._loop.call_soon(self._step, wrong, context=self.context)

    def _wake(self, future: Any) -> None:
        try:
            future.result()
        except BaseException as error:
            self._step(error)
        else:
            self._step()

    # What asyncio and anyio ask of the current task.

    def cancel(self, msg: Any = None) -> bool:
        if self.finished:
            return False
        self.asked = True
        self._cancelling += 1
        if self._fut_waiter is not None and self._fut_waiter.cancel(msg=msg):
            return True
        self._must_cancel = True
        return True

    def cancelling(self) -> int:
        return self._cancelling

    def uncancel(self) -> int:
        if self._cancelling:
            self._cancelling -= 1
        return self._cancelling

    def done(self) -> bool:
        return self.finished

    def cancelled(self) -> bool:
        return isinstance(self.error, asyncio.CancelledError)

    def get_coro(self) -> Coroutine[Any, Any, Any]:
        return self.coro

    def get_context(self) -> Context:
        return self.context

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    def get_name(self) -> str:
        return f"part-{self.node.name}" if self.node is not None else "part"

    def set_name(self, _name: object) -> None:
        """A part is named by its journey."""
