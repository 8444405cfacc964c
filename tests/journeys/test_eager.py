"""A part is a task as far as asyncio and anyio can tell, though it begins at once."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar, copy_context
from typing import Any

import anyio
import pytest
import uvloop

from tierline.journeys.eager import Eager
from waiting import PATIENCE

VALUE: ContextVar[str] = ContextVar("value", default="outer")


async def finish(coroutine: Any) -> Any:
    """Runs it as an Eager, and hands on what it ended with."""
    loop = asyncio.get_running_loop()
    task = Eager(loop, coroutine, copy_context())
    if not task.begin():
        done = loop.create_future()
        task.ended = lambda _: done.set_result(None)
        await done
    if task.error is not None:
        raise task.error
    return task.value


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_it_runs_at_once_and_needs_no_turn_of_the_loop(run: Any) -> None:
    async def main() -> None:
        order = []

        async def part() -> int:
            order.append("part")
            return 1

        task = Eager(asyncio.get_running_loop(), part(), copy_context())
        assert task.begin()
        order.append("after")
        assert (order, task.value) == (["part", "after"], 1)

    run(main())


def test_current_task_is_its_own_and_the_callers_comes_back(run: Any) -> None:
    async def main() -> None:
        mine = asyncio.current_task()
        seen: list[Any] = []

        async def part() -> None:
            seen.append(asyncio.current_task())
            await asyncio.sleep(0)
            seen.append(asyncio.current_task())
            await asyncio.sleep(0.001)  # slow: it ends by a timer of the loop
            seen.append(asyncio.current_task())

        await finish(part())
        assert asyncio.current_task() is mine
        assert len(set(map(id, seen))) == 1
        assert seen[0] is not mine

    run(main())


def test_timeouts_inside_a_part_end_the_part_only(run: Any) -> None:
    async def main() -> None:
        async def part() -> str:
            try:
                async with asyncio.timeout(0.01):
                    await asyncio.sleep(600)
            except TimeoutError:
                await asyncio.sleep(0)
                return "timed out"
            return "?"

        assert await finish(part()) == "timed out"
        in_time = asyncio.sleep(0.001, "in time")  # slow: it ends by a timer of the loop
        assert await finish(asyncio.wait_for(in_time, PATIENCE)) == "in time"
        with pytest.raises(TimeoutError):
            await finish(asyncio.wait_for(asyncio.sleep(600), 0.01))

    run(main())


def test_task_groups_and_anyio_scopes_work(run: Any) -> None:
    async def main() -> None:
        async def group() -> list[int]:
            async with asyncio.TaskGroup() as tasks:
                found = [tasks.create_task(asyncio.sleep(0.001, n)) for n in range(3)]  # slow: by a timer
            return [task.result() for task in found]

        assert await finish(group()) == [0, 1, 2]

        async def broken() -> None:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(asyncio.sleep(600))
                raise ValueError("no")

        with pytest.raises(ExceptionGroup):
            await finish(broken())

        async def scoped() -> str:
            with anyio.move_on_after(0.01) as scope:
                await anyio.sleep(600)
            assert scope.cancelled_caught
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(anyio.sleep, 0.001)
            return "ok"

        assert await finish(scoped()) == "ok"

    run(main())


def test_context_variables_are_its_own(run: Any) -> None:
    async def main() -> None:
        async def part() -> str:
            token = VALUE.set("inner")
            await asyncio.sleep(0.001)  # slow: it ends by a timer of the loop
            assert VALUE.get() == "inner"
            VALUE.reset(token)
            VALUE.set("left behind")
            return "ok"

        assert await finish(part()) == "ok"
        assert VALUE.get() == "outer"

    run(main())


def test_cancelling_reaches_the_wait_and_a_stubborn_part_may_go_on(run: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        seen: list[str] = []

        async def part() -> str:
            try:
                await asyncio.sleep(600)
            except asyncio.CancelledError:
                seen.append("cancelled")
            await asyncio.sleep(0.001)  # slow: it ends by a timer of the loop
            return "went on"

        task = Eager(loop, part(), copy_context())
        assert not task.begin()
        done = loop.create_future()
        task.ended = lambda _: done.set_result(None)
        assert task.cancel()
        await done
        assert (seen, task.value) == (["cancelled"], "went on")
        assert not task.cancel()

    run(main())


def test_what_asyncio_does_not_know_is_an_error_inside_the_part(run: Any) -> None:
    class Odd:
        def __await__(self) -> Any:
            yield "what?"

    async def main() -> None:
        async def part() -> None:
            await Odd()

        with pytest.raises(RuntimeError, match="does not know"):
            await finish(part())

    run(main())
