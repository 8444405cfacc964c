"""What has to succeed before an answer's parts run: requirements, guards, required steps, effects."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tierline.journeys.degraded import Degradations
from tierline.journeys.effects import Write, compensate, digest_of, ended, given_key, resume
from tierline.journeys.engine import Engine
from tierline.journeys.fault import DeadlineExceeded, NotUndone, StepOutOfOrder
from tierline.journeys.frame import Frame, frame
from tierline.journeys.plan import Plan
from tierline.journeys.request import claimed
from tierline.journeys.run import Run

if TYPE_CHECKING:
    from tierline.journeys.answer import Choice
    from tierline.journeys.request import Request
    from tierline.journeys.routes import Route
    from tierline.trips import record

Waits = Callable[[Any, Awaitable[Any]], Awaitable[Any]]
"""Waits for a run while it watches whether the client is still there."""


class Uncancelled:
    """In a run's place where a client that leaves ends nothing."""

    def stop(self) -> None:
        return None


class Stages:
    """One request's way to the parts of its answer. `choice` and `values` are what these are made of."""

    def __init__(
        self, engine: Engine, route: Route, choice: Choice, values: list[Any], request: Request, around: Frame
    ) -> None:
        self.engine = engine
        self.route = route
        self.choice = choice
        self.values = values
        self.request = request
        self.around = around
        self.degraded: Degradations | None = None
        self.done: list[str] = []
        """Effects that have been carried out."""
        self.write: Write | None = None
        self.failed = ""
        """The guard, read or effect that failed."""
        self.undoing = False
        """An effect has failed, and those before it are being undone."""
        for name in choice.plan.denied:
            values[choice.plan.slots[name]] = route.journey.parts[name].policy.stand_in()

    async def run(self, body: bytes, fields: str | None, span: record.Span | None, waits: Waits) -> None:
        """Raises what a guard raises, StepOutOfOrder, or what a read or an effect failed with."""
        guards = bool(self.choice.plan.shape.guards)
        before = self.choice.plan.before
        if guards:
            await self._reads(before[0], span, waits)
        writes = any(plan.writes for plan in before)
        # The same request again has its answer, though its own step may have ended the funnel meanwhile.
        again = writes and bool(given_key(self.request))
        if not again:
            await self._steps()
        if not writes:
            return
        if fields is not None:
            self.route.known(self.choice, fields)
        write = self.write = await self._key(body)
        left = max(0.0, self.around.deadline - asyncio.get_running_loop().time())
        # Twice: what an earlier request has begun to undo, and what this one may have to.
        undoing = 2 * self.route.journey.deadline * len(before[-1].shape.compensations)
        await write.begin(left, left + self._lasts() + undoing)
        task: asyncio.Task[None] | None = None
        try:
            names = [name for name in before[-1].shape.effects if name not in self.choice.plan.denied]
            if all(name in write.record.values for name in names):
                self._replayed(write, names)
                return
            if again:
                await self._steps()
            for plan in before[guards:-1]:
                await self._reads(plan, span, waits)
            task = self._begin(before[-1], write, span)
        finally:
            if task is None:
                await write.end()
        await self._effects(task, names, write, waits)

    async def _reads(self, plan: Plan, span: record.Span | None, waits: Waits) -> None:
        run = Run(plan, self.values, asyncio.get_running_loop(), self.around, self.engine, span)
        run.degraded = self.degraded
        run.begin()
        if run.left:
            await waits(run, run.finish())
        self.degraded = run.degraded
        if run.failure is not None:
            self.failed = run.failure.node.name
            raise run.failure.error

    async def _steps(self) -> None:
        """A required step before this one has to be reached."""
        for step in self.route.journey.steps:
            if not step.required:
                continue
            session = await self.engine.load_session(self.request)
            reached = session.steps.get(step.funnel, {}).get("reached", {})
            if step.after not in reached:
                raise StepOutOfOrder(
                    f"{self.route.journey.name} comes after {step.after}",
                    step=step.after,
                    go_to=self._go_to(step.back, reached),
                )

    def _go_to(self, path: str, reached: dict[str, Any]) -> str:
        """The path of the step before, with this request's own path values where they have the same names."""
        plan = self.choice.plan
        for name in plan.shape.journey.path_names:
            if name in plan.slots:
                path = path.replace(f"{{{name}}}", quote(str(self.values[plan.slots[name]]), safe=""))
        if "{" in path:
            # A value that nobody knows: the latest step that this visitor has reached.
            latest = max(reached.values(), key=lambda step: step["at"], default=None)
            return str(latest["path"]) if latest else "/"
        return path

    def _begin(self, plan: Plan, write: Write, span: record.Span | None) -> asyncio.Task[None]:
        """From here on nobody's leaving ends them."""
        task = asyncio.get_running_loop().create_task(self._written(plan, write, span))
        self.request.kept["effects"] = task
        self.engine.writing.add(task)
        task.add_done_callback(self.engine.writing.discard)
        return task

    async def _effects(self, task: asyncio.Task[None], names: list[str], write: Write, waits: Waits) -> None:
        left = self.around.deadline - asyncio.get_running_loop().time()
        await waits(Uncancelled(), asyncio.wait([task], timeout=max(0.0, left)))
        if task.done():
            return task.result()
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        if self.undoing:
            raise DeadlineExceeded(
                f"effect {self.failed!r} failed, and those before it are still being undone; "
                "the same request with the same Idempotency-Key goes on from there"
            )
        self.failed = next((name for name in names if name not in write.record.values), "")
        raise DeadlineExceeded(
            f"effect {self.failed!r} goes on; the same request with the same Idempotency-Key finds out how it ended"
        )

    async def _key(self, body: bytes) -> Write:
        """The client's key, else one that the session keeps until the client has its answer."""
        request, journey, engine = self.request, self.route.journey, self.engine
        digest = digest_of(request, body)
        key, made, owner, known = given_key(request), "", "", False
        identity = request.identity
        member = bool(identity and identity.get("sub"))
        if engine.sessions is not None and (not key or not member):
            session = await engine.load_session(request)
            known = bool(key) and not session.new
            if not key:
                made = f"{journey.name}:{digest.hex()}"
                key = session.idempotency_key(made)
                if cookie := await engine.save_session(request):
                    request.kept["cookie"] = cookie
            owner = session.id
        if identity:
            owner = f"user:{identity['sub']}" if member else f"{owner}:{claimed(identity).hex()}"
            known = not made
        return Write(engine.writes, journey, key or secrets.token_urlsafe(18), digest, owner, made, known)

    async def _written(self, plan: Plan, write: Write, span: record.Span | None) -> None:
        """All effects, whoever waits for them."""
        loop = asyncio.get_running_loop()
        journey = self.route.journey
        async with ended(write):
            effects = plan.shape.effects
            around = Frame(loop.time() + self._lasts(), {**self._kept(), "write": write})
            frame.set(around)
            if write.record.undoing:
                self.done = await resume(plan, self.values, write, self._kept(), self.engine)
                if write.record.undoing:
                    raise NotUndone(write.record.undoing)
                frame.set(around)
            run = Run(plan, self.values, loop, around, self.engine, span)
            run.degraded = self.degraded
            run.begin()
            if run.left:
                await run.finish()
            self.degraded = run.degraded
            if run.failure is not None:
                self.failed = run.failure.node.name
                self.undoing = True
                self.done = await compensate(plan, self.values, write, self._kept(), self.engine)
                raise run.failure.error
            self.done = [name for name in effects if name in write.record.values]
            if cookie := await self.engine.save_session(self.request):
                self.request.kept["cookie"] = cookie
        # What was read for the effects may be old now; the answer's parts have time to read it again.
        shared = {**self._kept(), "writes": around.shared.get("writes", 0) + 1}
        shared["wrote"] = {**shared.get("wrote", {}), **around.shared.get("wrote", {})}
        self.around = Frame(max(self.around.deadline, loop.time() + min(1.0, journey.deadline)), shared)

    def _lasts(self) -> float:
        """Seconds that all effects may take."""
        journey = self.route.journey
        return journey.deadline + sum(
            part.policy.deadline or 0.0 for part in journey.parts.values() if part.kind == "effect"
        )

    def _kept(self) -> dict[str, Any]:
        """What calls of a later stage need to know; not what an earlier one has read."""
        shared = self.around.shared
        return {name: shared[name] for name in ("headers", "most", "wrote") if name in shared}

    def _replayed(self, write: Write, effects: list[str]) -> None:
        """The same request again: the effects' values from before, and nothing read that only they needed."""
        before, values = self.choice.plan, self.values
        self.choice = self.route.without(self.choice, frozenset(effects))
        plan = self.choice.plan
        self.values = plan.template.copy()
        for name, slot in plan.slots.items():
            if name in before.slots:
                self.values[slot] = values[before.slots[name]]
        for name in effects:
            if name in plan.slots:
                self.values[plan.slots[name]] = write.value(name, plan.shape.functions[name].returns)
        self.done = effects

    def answered(self) -> None:
        """The client is about to have its answer: the same request once more is a new one."""
        if self.write is not None and self.write.made:
            session = self.request.kept.get("session")
            if session is not None:
                session.answered(self.write.made)
