"""Many look-ups of one kind at one moment become one call."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from tierline.journeys.fault import DeadlineExceeded, WrongType
from tierline.journeys.frame import Frame, frame

if TYPE_CHECKING:
    from tierline.journeys.journey import Part

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


ABSENT: Any = object()
"""Stands for the value of a key that a call didn't return."""


def in_order(keys: Sequence[Any], found: Any) -> list[Any]:
    """What a call for many keys has returned, in the order of the keys."""
    if isinstance(found, Mapping):
        return [found.get(key, ABSENT) for key in keys]
    if isinstance(found, Sequence) and len(found) == len(keys):
        return list(found)
    raise WrongType(f"a batch of {len(keys)} keys returned {type(found).__name__} of another length")


class Batch(Generic[K, V]):
    """Collects the keys that are asked for in one turn of the event loop, and asks once for all.

    many: takes the list of keys; returns a mapping, or a sequence in the order of the keys.
    most: more keys than this are asked for in several calls. A key is asked for once.
    deadline: seconds that a call may take. Without one it has as long as the most patient of those who ask.
    """

    def __init__(
        self,
        many: Callable[[list[K]], Awaitable[Mapping[K, V] | Sequence[V]]],
        *,
        most: int = 100,
        deadline: float | None = None,
    ) -> None:
        self._many = many
        self._most = most
        self._known: dict[K, asyncio.Future[V]] = {}
        self._next: list[tuple[K, asyncio.Future[V]]] = []
        self._writes = 0
        self._deadline = deadline
        self._around: Frame | None = None
        self._running: set[asyncio.Task[None]] = set()

    async def __call__(self, key: K) -> V:
        """The value of one key; KeyError when the call did not return it."""
        scope = frame.get()
        writes = 0 if scope is None else scope.shared.get("writes", 0)
        if writes != self._writes:
            # What was read before a write is old.
            self._writes, self._known = writes, {}
        future = self._known.get(key)
        if future is None or future.cancelled():
            loop = asyncio.get_running_loop()
            future = self._known[key] = loop.create_future()
            if not self._next:
                loop.call_soon(self._dispatch)
            self._next.append((key, future))
        if scope is not None and (self._around is None or scope.deadline > self._around.deadline):
            self._around = scope
        return await asyncio.shield(future)

    load = __call__

    async def many(self, keys: Iterable[K]) -> list[V]:
        """The values of several keys, in their order."""
        return await asyncio.gather(*(self(key) for key in keys))

    def _dispatch(self) -> None:
        asked, self._next = self._next, []
        around, self._around = self._around, None
        for start in range(0, len(asked), self._most):
            task = asyncio.ensure_future(self._fetch(asked[start : start + self._most], around))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _bounded(self, keys: list[K], around: Frame | None) -> Mapping[K, V] | Sequence[V]:
        deadline = self._deadline
        if around is not None:
            ends = around.deadline
            if deadline is not None:
                ends = min(ends, asyncio.get_running_loop().time() + deadline)
            frame.set(Frame(ends, around.shared))
        try:
            async with asyncio.timeout(deadline) as bound:
                return await self._many(keys)
        except TimeoutError:
            if not bound.expired():
                raise
            raise DeadlineExceeded(f"a look-up of {len(keys)} keys took longer than {deadline} s") from None

    async def _fetch(self, asked: list[tuple[K, asyncio.Future[V]]], around: Frame | None) -> None:
        keys = [key for key, _ in asked]
        futures = [future for _, future in asked]
        try:
            values = in_order(keys, await self._bounded(keys, around))
        except BaseException as error:
            for key, future in asked:
                if self._known.get(key) is future:
                    # Only what has succeeded is not asked for again.
                    del self._known[key]
                if not future.done():
                    future.set_exception(
                        error if isinstance(error, Exception) else RuntimeError("batch cancelled")
                    )
                    future.exception()
            if not isinstance(error, Exception):
                raise
            return
        for key, future, value in zip(keys, futures, values, strict=True):
            if future.done():
                continue
            if value is ABSENT:
                future.set_exception(KeyError(key))
                future.exception()
            else:
                future.set_result(value)


def lookup(
    part: Part, values: Callable[[list[Any]], dict[str, Any]]
) -> Callable[[list[Any]], Batch[Any, Any]]:
    """What a plan calls to give a request its own Batch."""
    function = part.function

    def invoke(slots: list[Any]) -> Batch[Any, Any]:
        given = values(slots)
        return Batch(lambda keys: function(keys, **given), most=part.batch, deadline=part.policy.deadline)

    return invoke
