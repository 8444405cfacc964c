"""One request's way through a plan: what is ready runs at once, nothing waits for what it doesn't need."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextvars import copy_context
from math import inf
from types import CoroutineType
from typing import Any

from tierline.journeys import sampled
from tierline.journeys.attempt import attempt
from tierline.journeys.degraded import Degradations, degraded, old
from tierline.journeys.eager import Eager, awaited, swap
from tierline.journeys.fault import DeadlineExceeded, JourneyError, ServiceError, WrongType
from tierline.journeys.frame import Frame, frame
from tierline.journeys.guard import guarded
from tierline.journeys.inputs import spoken
from tierline.journeys.plan import Node, Plan
from tierline.journeys.policy import MISSING
from tierline.journeys.reply import Reply
from tierline.trips import record


class Failure:
    """A part that failed, and what it raised."""

    __slots__ = ("error", "node")

    def __init__(self, node: Node, error: BaseException) -> None:
        self.node = node
        self.error = error


class Run:
    """Runs the parts of one request.

    `begin()` starts all that is ready; when `left` is 0 afterwards, all is done and nothing had to wait.
    Otherwise `await finish()`. Then `failure` is None and `values` holds every part's value.
    """

    # Defaults of the class: a request whose parts never wait sets none of these.
    tasks: set[Eager] | None = None
    failure: Failure | None = None
    skipped: set[str] | None = None
    degraded: Degradations | None = None
    copies: dict[str, Any] | None = None
    """Old copies that may stand in for parts that fail (`stale_if_error`)."""
    waiter: asyncio.Future[None] | None = None
    timer: asyncio.TimerHandle | None = None
    marks: dict[str, tuple[int, int]] | None = None
    begun = 0
    reply: Reply[Any] | None = None
    """Status and fields that the view, or an effect, asked for."""
    life = inf
    """Seconds for which every copy that a part was answered from is still fresh; negative: since when one isn't."""
    stopped = False
    checked: Callable[[Any], None] | None = None  # compares the view's answer with its annotation
    span: record.Span | None = None
    listener: Callable[[Node, Any, BaseException | None], None] | None = None

    def __init__(
        self,
        plan: Plan,
        values: list[Any],
        loop: asyncio.AbstractEventLoop,
        scope: Frame,
        engine: Any,
        span: record.Span | None = None,
        listener: Callable[[Node, Any, BaseException | None], None] | None = None,
    ) -> None:
        self.plan = plan
        self.values = values
        self.loop = loop
        self.frame = scope
        self.engine = engine
        # A flat plan's nodes wait for nobody, so nobody counts them down.
        self.waiting = plan.waiting if plan.flat else plan.waiting.copy()
        self.left = len(plan.waiting)
        if listener is not None:
            self.listener = listener
        if span is not None:
            self.span = span
            self.marks = {}

    def begin(self) -> None:
        if self.span is not None:
            self.begun = time.time_ns()
        roots = self.plan.roots
        self._launch(roots if self.plan.flat else [*roots])  # type: ignore[arg-type]

    async def finish(self) -> None:
        """Waits for the rest. Cancelling it cancels the parts."""
        if not self.left:
            return
        loop = self.loop
        self.waiter = waiter = loop.create_future()
        self.timer = loop.call_at(self.frame.deadline, self._expire)
        try:
            await waiter
        except asyncio.CancelledError:
            self.stop()
            raise
        finally:
            self.timer.cancel()

    def stop(self) -> None:
        """Cancels every part that runs, and waits for none of them."""
        self.left = 0
        self.stopped = True
        if self.timer is not None:
            self.timer.cancel()
        tasks, self.tasks = self.tasks, None
        for task in tasks or ():
            self._abandon(task)
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    def _abandon(self, task: Eager) -> None:
        task.owner = None
        if task.timer is not None:
            task.timer.cancel()
        task.ended = self.engine.unwound
        self.engine.unwinding.add(task)
        task.cancel()

    def _launch(self, ready: list[Node]) -> None:
        """Starts nodes; the list grows while those that finish at once make others ready."""
        if self.span is not None:
            for node in ready:
                if self.left:
                    sampled.start(self, node, ready)
            return
        values, loop, waiting, plain = self.values, self.loop, self.waiting, self.listener is None
        # Carries the coroutines, one after the other, until one has to wait and keeps it.
        task: Eager | None = None
        before, swapped = None, False
        try:
            for node in ready:
                try:
                    if node.sole >= 0:
                        value = node.part.function(values[node.sole])
                    elif node.plain:
                        value = node.invoke(values)
                    else:
                        value = guarded(node, self)
                    kind = type(value)
                except (KeyboardInterrupt, SystemExit):
                    raise
                except BaseException as error:
                    self._fail(node, error, ready)
                    if self.left:
                        continue
                    return
                if kind is not CoroutineType and hasattr(value, "__await__"):
                    value = awaited(value)
                    kind = CoroutineType
                if kind is CoroutineType:
                    if task is None or task.asked:
                        task = Eager(loop)
                        outer = swap(loop, task)
                        if not swapped:
                            before, swapped = outer, True
                    task.coro = value
                    task.context = context = copy_context()
                    if node.bounded:
                        self._bound(node, task)
                    try:
                        waits = context.run(value.send, None)
                    except StopIteration as stop:
                        value = stop.value
                    except (KeyboardInterrupt, SystemExit):
                        raise
                    except BaseException as error:
                        self._fail(node, error, ready)
                        if self.left:
                            continue
                        return
                    else:
                        self._suspend(node, task)
                        task.wait(waits)
                        task = None
                        continue
                if plain and (node.check is None or isinstance(value, node.check)):
                    # `_settle`, written out: this is the way of every part.
                    values[node.slot] = value
                    self.left -= 1
                    if node.dependants:
                        for other in node.dependants:
                            waiting[other.index] -= 1
                            if not waiting[other.index]:
                                ready.append(other)
                else:
                    self._settle(node, value, ready)
                    if not self.left:
                        return
        finally:
            if swapped:
                swap(loop, before)

    def _bound(self, node: Node, task: Eager) -> None:
        """The part's own deadline, for the calls that it makes."""
        mine = self.loop.time() + (node.deadline or 0.0)
        # A part that names no service makes no calls, and is spared this.
        if mine < self.frame.deadline:
            task.context.run(frame.set, Frame(mine, self.frame.shared))

    def _suspend(self, node: Node, task: Eager) -> None:
        task.node = node
        task.owner = self
        task.ended = self._ended
        if node.deadline is not None:
            task.timer = self.loop.call_later(node.deadline, self._overdue, task)
        if self.tasks is None:
            self.tasks = {task}
        else:
            self.tasks.add(task)

    def _ended(self, task: Eager) -> None:
        if task.owner is not self or self.tasks is None:
            return
        self.tasks.discard(task)
        task.owner = None
        if task.timer is not None:
            task.timer.cancel()
        ready: list[Node] = []
        if self.marks is not None and task.span is not None:
            sampled.end(self, task.node, task.span, task.error)
        if task.error is not None:
            self._fail(task.node, task.error, ready)
        else:
            self._settle(task.node, task.value, ready)
        if ready:
            # This is still the context of the part that has ended: its deadline and its key are its own.
            frame.set(self.frame)
            attempt.set(None)
            self._launch(ready)
        self._maybe_done()

    def _maybe_done(self) -> None:
        if not self.left and self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    def _overdue(self, task: Eager) -> None:
        """A part's deadline passed. It is cancelled, and not waited for: it may not listen."""
        node = task.node
        if task.owner is not self or self.tasks is None:
            return
        self.tasks.discard(task)
        self._abandon(task)
        error = DeadlineExceeded(f"part {node.name!r} took longer than {node.deadline * 1000:g} ms")
        if task.span is not None:
            sampled.end(self, node, task.span, error)
        ready: list[Node] = []
        self._fail(node, error, ready)
        self._launch(ready)
        self._maybe_done()

    def _expire(self) -> None:
        """The journey's deadline passed: everything that still runs has failed; fallbacks hold."""
        for task in list(self.tasks or ()):
            if self.tasks is None:
                break
            self.tasks.discard(task)
            self._abandon(task)
            node = task.node
            error = DeadlineExceeded(f"part {node.name!r} did not finish within the journey's deadline")
            if task.span is not None:
                sampled.end(self, node, task.span, error)
            ready: list[Node] = []
            self._fail(node, error, ready)
            # Its dependants get no time at all: only those that never wait can still answer.
            self._launch(ready)
        if self.left:
            if self.tasks:
                self.timer = self.loop.call_soon(self._expire)  # type: ignore[assignment]
            else:
                self.stop()
        self._maybe_done()

    def _settle(self, node: Node, value: Any, ready: list[Node]) -> None:
        check = node.check
        if check is not None and not isinstance(value, check):
            error = WrongType(
                f"part {node.name!r} returned {type(value).__name__}, it says {spoken(node.returns)}"
            )
            self._fail(node, error, ready)
            return
        # `_put`, written out: this is the way of every part.
        self.values[node.slot] = value
        self.left -= 1
        if node.dependants:
            waiting = self.waiting
            for other in node.dependants:
                waiting[other.index] -= 1
                if not waiting[other.index]:
                    ready.append(other)
        if self.listener is not None:
            self.listener(node, value, None)

    def _put(self, node: Node, value: Any, ready: list[Node]) -> None:
        self.values[node.slot] = value
        self.left -= 1
        if node.dependants:
            waiting = self.waiting
            for other in node.dependants:
                waiting[other.index] -= 1
                if not waiting[other.index]:
                    ready.append(other)

    def _fail(self, node: Node, error: BaseException, ready: list[Node]) -> None:
        if not isinstance(error, Exception):
            # A part that was cancelled by what it called is a part that failed; the request was not cancelled.
            error = JourneyError(f"part {node.name!r} ended with {type(error).__name__}")
        policy = node.part.policy
        if isinstance(error, ServiceError) and error.reply_status in policy.forward_errors:
            error.forward()
        if self.copies is not None and (copy := self.engine.cached.stand_in(node, self, error)) is not None:
            value, age = copy
            self.fell_back(node, error, age)
            self._put(node, value, ready)
            if self.listener is not None:
                self.listener(node, value, None)
            return
        if policy.fallback is not MISSING:
            try:
                value = policy.stand_in()
            except Exception as second:
                error = second
            else:
                self.fell_back(node, error)
                self._put(node, value, ready)
                if self.listener is not None:
                    self.listener(node, value, error)
                return
        self.engine.failed(self.plan, node, error, degraded=False)
        failure = Failure(node, error)
        if self.failure is None:
            self.failure = failure
        if self.listener is None:
            self.stop()
            return
        # A stream delivers the siblings all the same; only what needs this part is skipped.
        self.left -= 1
        self.listener(node, None, error)
        self._skip(node)

    def fell_back(self, node: Node, error: BaseException, age: float | None = None) -> None:
        """The part failed, and something stands in for its value: the answer says so. age: of an old copy, seconds."""
        if self.degraded is None:
            self.degraded = {}
        if node.name not in self.degraded:
            self.degraded[node.name] = degraded(self.plan, node.name, error, age)
        self.engine.failed(self.plan, node, error, degraded=True, age=age)

    def aged(self, node: Node, age: float) -> None:
        """The part's old copy is used while a new one is made: the answer says so. age: of the copy, seconds."""
        if self.degraded is None:
            self.degraded = {}
        self.degraded[node.name] = old(self.plan, node.name, age)
        self.engine.aged(self.plan, node, age)

    def _skip(self, node: Node) -> None:
        for other in node.dependants:
            if self.skipped is None:
                self.skipped = set()
            if other.name not in self.skipped:
                self.skipped.add(other.name)
                self.left -= 1
                self._skip(other)
