"""What has to succeed before an answer's parts run: requirements, guards, required steps, effects."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from tierline.journeys.effects import Write, compensate, digest_of, ended, given_key
from tierline.journeys.engine import Engine, log
from tierline.journeys.fault import StepOutOfOrder
from tierline.journeys.frame import Frame, frame
from tierline.journeys.plan import Plan
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
        self.degraded: list[str] | None = None
        self.done: list[str] = []
        """Effects that have been carried out."""
        self.write: Write | None = None
        for name in choice.plan.denied:
            values[choice.plan.slots[name]] = route.journey.parts[name].policy.stand_in()

    async def run(self, body: bytes, span: record.Span | None, waits: Waits) -> None:
        """Raises what a guard raises, StepOutOfOrder, or what an effect failed with."""
        before = self.choice.plan.before
        for plan in before:
            if not plan.writes:
                await self._guard(plan, span, waits)
        await self._steps()
        for plan in before:
            if plan.writes:
                await self._effects(plan, body, span, waits)

    async def _guard(self, plan: Plan, span: record.Span | None, waits: Waits) -> None:
        run = Run(plan, self.values, asyncio.get_running_loop(), self.around, self.engine, span)
        run.begin()
        if run.left:
            await waits(run, run.finish())
        self.degraded = run.degraded
        if run.failure is not None:
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
                path = path.replace(f"{{{name}}}", str(self.values[plan.slots[name]]))
        if "{" in path:
            # A value that nobody knows: the latest step that this visitor has reached.
            latest = max(reached.values(), key=lambda step: step["at"], default=None)
            return str(latest["path"]) if latest else "/"
        return path

    async def _effects(self, plan: Plan, body: bytes, span: record.Span | None, waits: Waits) -> None:
        write = self.write = await self._key(body)
        loop = asyncio.get_running_loop()
        task = loop.create_task(self._written(plan, write, span))
        self.request.kept["effects"] = task
        self.engine.writing.add(task)
        task.add_done_callback(self.engine.writing.discard)
        await waits(Uncancelled(), asyncio.shield(task))

    async def _key(self, body: bytes) -> Write:
        """The client's key, else one that the session keeps until the client has its answer."""
        request, journey, engine = self.request, self.route.journey, self.engine
        digest = digest_of(request, body)
        key, made, owner = given_key(request), "", ""
        identity = request.identity
        if engine.sessions is not None and (not key or not identity):
            session = await engine.load_session(request)
            if not key:
                made = f"{journey.name}:{digest.hex()}"
                key = session.idempotency_key(made)
                if cookie := await engine.save_session(request):
                    request.kept["cookie"] = cookie
            owner = session.id
        owner = f"user:{identity['sub']}" if identity and identity.get("sub") else owner
        return Write(engine.writes, journey, key or secrets.token_urlsafe(18), digest, owner, made)

    async def _written(self, plan: Plan, write: Write, span: record.Span | None) -> None:
        """All effects, whoever waits for them."""
        loop = asyncio.get_running_loop()
        journey = self.route.journey
        await write.begin(max(0.0, self.around.deadline - loop.time()))
        async with ended(write):
            effects = plan.shape.effects
            if all(name in write.record.values for name in effects if name not in plan.denied):
                self._replayed(write)
                return
            own = sum(journey.parts[name].policy.deadline or 0.0 for name in effects)
            around = Frame(loop.time() + journey.deadline + own, {"write": write})
            frame.set(around)
            run = Run(plan, self.values, loop, around, self.engine, span)
            run.degraded = self.degraded
            run.begin()
            if run.left:
                await run.finish()
            self.degraded = run.degraded
            if run.failure is not None:
                async with asyncio.timeout(journey.deadline):
                    self.done = await compensate(plan, self.values, write, log)
                raise run.failure.error
            self.done = list(effects)
            if cookie := await self.engine.save_session(self.request):
                self.request.kept["cookie"] = cookie
        # What was read for the effects may be old now; the answer's parts have time to read it again.
        self.around = Frame(max(self.around.deadline, loop.time() + min(1.0, journey.deadline)), {})

    def _replayed(self, write: Write) -> None:
        """The same request again: the effects' values from before, and nothing read that only they needed."""
        before, values = self.choice.plan, self.values
        effects = [name for name in before.shape.effects if name in write.record.values]
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
