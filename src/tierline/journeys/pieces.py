"""Pages in pieces: the first screen, then what its deferred parts add, in the order in which they finish.

The first screen is a declarative shadow root, in which a deferred part is a `<slot>` with what stands there until then; its
piece is sent later as the element that the browser shows in that slot. No script is involved:

    <body><div><template shadowrootmode="open">first screen … <slot name="reviews">loading</slot></template>
    <div slot="reviews">…</div></div></body>

As in any shadow tree, styles of the document don't hold in the first screen: it has its own <link> or <style>.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tierline.journeys.answer import DEGRADED, PAGE, Choice, told
from tierline.journeys.fault import released
from tierline.journeys.live import stopped
from tierline.journeys.markup import HTML, Slot
from tierline.journeys.plan import Node
from tierline.journeys.policy import MISSING
from tierline.journeys.problem import of_error
from tierline.journeys.reply import Reply
from tierline.journeys.run import Failure, Run
from tierline.journeys.stream import Stream

_BODY = re.compile(r"<body\b[^>]*>", re.IGNORECASE)
_HEAD = re.compile(
    r"(?:\s++|<!doctype\b[^>]*>|</?html\b[^>]*>|</?head\b[^>]*>|<title\b[^>]*>[^<]*</title\s*>|<(?:meta|base)\b[^>]*>)*+",
    re.IGNORECASE,
)
"""What comes before the body where its tag is left out, as HTML allows."""
_END = re.compile(r"</body\s*>", re.IGNORECASE)


class PageStream(Stream):
    """Sends one page. `first` has to be waited for: until then it may still fail as any other answer."""

    def __init__(self, choice: Choice) -> None:
        super().__init__(choice, PAGE.decode())
        plan = choice.plan
        self._first = None
        self.headers[3] = (b"vary", b"x-client, accept")
        self._deferred = plan.deferred
        self._awaited = {node.name for node in plan.nodes} - plan.late
        self._done: set[str] = set()
        self._pieces = dict(plan.pieces)
        self._failed: tuple[Node, BaseException] | None = None
        self._after = ""

    def listener(self, node: Node, value: Any, error: BaseException | None) -> None:
        if error is not None and node.part.policy.fallback is MISSING:
            self.problems += 1
            if node.name in self._awaited:
                self._failed = self._failed or (node, error)
            self._broken(node, of_error(error)[0])
        self._awaited.discard(node.name)
        self._done.add(node.name)
        if self._after or not self._awaited:
            self._finished()
        self._wake.set()

    def _broken(self, node: Node, status: int) -> None:
        """What was to be made of this part stays empty, and says so to whoever styles it."""
        self._awaited.discard(node.name)
        for name in [name for name, (needs, _) in self._pieces.items() if node.name in needs]:
            del self._pieces[name]
            self._ready.append(f'<span slot="{name}" data-problem="{status}"></span>'.encode())
        for other in node.dependants:
            self._broken(other, status)

    async def first(self, run: Run) -> None:
        """Waits for the first screen, and makes it. Raises what one of its parts, or the view, has failed with."""
        try:
            await self._made(run)
        except BaseException:
            run.stop()
            await stopped([], self._sources)
            raise
        if self.gone:
            await stopped([], self._sources)

    async def _made(self, run: Run) -> None:
        self._finish(run)
        while self._awaited and self._failed is None and not self.gone:
            await self._wake.wait()
            self._wake.clear()
        if self.gone:
            return
        if self._failed is not None:
            run.failure = Failure(*self._failed)
            raise self._failed[1]
        plan = self._choice.plan
        values = run.values.copy()
        for name in self._deferred:
            values[plan.slots[name]] = Slot(name)
        values[plan.slots["degraded"]] = told(run)
        body = plan.finish(values)
        if isinstance(body, Reply):
            run.reply, body = body, body.body
        text = str(body if hasattr(body, "__html__") else HTML(body))
        begins = _BODY.search(text) or _HEAD.match(text)
        start = begins.end() if begins else 0
        stop = max((found.start() for found in _END.finditer(text, start)), default=len(text))
        head, screen, self._after = text[:start], text[start:stop], f"</div>{text[stop:]}"
        late, self._ready = self._ready, []
        shadow = f'{head}<div><template shadowrootmode="open">{screen}</template>'
        self._ready = [shadow.encode(), *late]
        self._finished()

    def told(self, run: Run, headers: Mapping[bytes, bytes]) -> None:
        """Status and fields that the view has asked for, and who was missing when the first screen was made."""
        if run.reply is not None:
            self.status = run.reply.status
            self.headers += run.reply.fields(headers.get(b"x-forwarded-proto") == b"https")
        if run.degraded:
            self.headers.append((DEGRADED, ", ".join(run.degraded).encode()))

    def _finished(self) -> None:
        """The pieces of which everything is there."""
        run = self.run
        if run is None or not self._after:
            return
        for name, (needs, made) in list(self._pieces.items()):
            if needs <= self._done:
                del self._pieces[name]
                try:
                    body = made(run.values)
                    markup = str(body if hasattr(body, "__html__") else HTML("" if body is None else body))
                    piece = f'<div slot="{name}">{markup}</div>'
                except Exception as error:
                    self.problems += 1
                    status, _ = of_error(error)
                    run.engine.failed(run.plan, self._node(name), error, degraded=False)
                    released(error)
                    piece = f'<span slot="{name}" data-problem="{status}"></span>'
                self._ready.append(piece.encode())

    def _node(self, name: str) -> Node:
        return next(node for node in self._choice.plan.every if node.name == name)

    def earlier(self, run: Run) -> None:
        """What is there already is in its slot already."""

    def _last(self, run: Run) -> None:
        self._done.update(node.name for node in run.plan.every)
        self._finished()
        if self.check is not None and not self.problems:
            self.check(run)

    def _end(self, run: Run) -> None:
        self._ready.append(self._after.encode())
