"""What stands between the schedule and a part that has a policy: cache, bulkhead, retries, hedging."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from tierline.journeys.attempt import Attempt, attempt
from tierline.journeys.fault import BulkheadFull, JourneyError, ServiceError
from tierline.journeys.policy import Bulkhead

if TYPE_CHECKING:
    from tierline.journeys.plan import Node
    from tierline.journeys.run import Run

_BASE = 0.01
_CEILING = 0.25
_HEDGED = 1000
"""Added to the number of an attempt: the second call of a hedged one, which must not join the first one's calls."""
_jitter = random.Random()  # noqa: S311  spreads retries, guards nothing


def guarded(node: Node, run: Run) -> Coroutine[Any, Any, Any] | None:
    """The part with its policy, outermost first: condition, cache, bulkhead, retries, hedging. None: it is not run."""
    if node.gate is not None and not node.gate(run.values):
        if run.span is not None:
            run.frame.shared["verdict", node.name] = "not run"
        return None
    if node.part.kind == "effect":
        from tierline.journeys.effects import perform

        return perform(node, run)
    cache = node.cache
    if (
        cache is not None
        and cache.store
        and run.engine.cached is not None
        and run.plan.journey.methods == ("GET",)
    ):
        return run.engine.cached.get(node, run, cache)  # type: ignore[no-any-return]
    return limited(node, run)


async def limited(node: Node, run: Run) -> Any:
    """The part below its cache."""
    policy = node.part.policy
    bulkhead = policy.bulkhead
    if bulkhead is None:
        return await _tried(node, run)
    await enter(bulkhead, node.name)
    try:
        return await _tried(node, run)
    finally:
        leave(bulkhead)


async def enter(bulkhead: Bulkhead, name: str) -> None:
    """Takes a place, waits for one, or raises BulkheadFull at once."""
    if bulkhead.running < bulkhead.limit:
        bulkhead.running += 1
        return
    if len(bulkhead.waiting) >= bulkhead.queue:
        raise BulkheadFull(f"{name}: {bulkhead.limit} calls run and {bulkhead.queue} wait already")
    turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    bulkhead.waiting.append(turn)
    try:
        await turn
    except BaseException:
        if turn.done() and not turn.cancelled():
            leave(bulkhead)
        elif turn in bulkhead.waiting:
            bulkhead.waiting.remove(turn)
        raise


def leave(bulkhead: Bulkhead) -> None:
    """Gives the place to the one that has waited longest."""
    while bulkhead.waiting:
        turn = bulkhead.waiting.pop(0)
        if not turn.done():
            turn.set_result(None)
            return
    bulkhead.running -= 1


async def _tried(node: Node, run: Run) -> Any:
    left = node.part.policy.retries
    outer = attempt.get()
    key = outer.key if outer is not None else ""
    number = 0
    while True:
        current = Attempt(number, key)
        attempt.set(current)
        try:
            return await _hedged(node, run, current)
        except Exception as error:
            if number >= left or not _again(error) or current.has_written:
                raise
            failed, wait = error, error.retry_after if isinstance(error, JourneyError) else None
        pause = _jitter.uniform(0, min(_CEILING, _BASE * 2**number)) if wait is None else wait
        if run.loop.time() + pause >= run.frame.deadline:
            if wait is not None:
                # It said when to come back, and that is too late for this request.
                raise failed
            pause = 0.0
        number += 1
        await asyncio.sleep(pause)


def _again(error: Exception) -> bool:
    """Whether trying again can help: not when the answer was a clear no."""
    if isinstance(error, ServiceError):
        return error.retryable
    return not isinstance(error, JourneyError) or error.status >= 500


async def _called(node: Node, run: Run) -> Any:
    value = node.invoke(run.values)
    return await value if type(value) is CoroutineType else value


async def _hedged(node: Node, run: Run, current: Attempt) -> Any:
    """The first good answer of two calls, the second begun only when the first is slow and has changed nothing."""
    hedge = node.part.policy.hedge
    if hedge is None:
        return await _called(node, run)
    first = asyncio.ensure_future(_called(node, run))
    tasks = {first}
    try:
        done, _ = await asyncio.wait(tasks, timeout=hedge)
        if not done and not current.wrote:
            current.rival = Attempt(current.number + _HEDGED, current.key, rival=current)
            attempt.set(current.rival)
            tasks.add(asyncio.ensure_future(_called(node, run)))
        error: BaseException | None = None
        while tasks:
            done, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                error = task.exception()
                if error is None:
                    return task.result()
        assert error is not None
        raise error
    finally:
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.gather(*tasks, return_exceptions=True)
