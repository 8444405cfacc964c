"""Recording hops from Python: what the journeys, the service runner and its client hooks use.

A request that is not sampled costs one context variable look-up per hop.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any

import msgspec

from tierline.trips.hop import Hop

_encode = msgspec.json.Encoder().encode
_random = random.Random()  # noqa: S311  span ids need to differ, not to be secret
_now = time.time_ns


class Span:
    """The hop in which code runs now: its trace, its own id, and whether it is kept."""

    __slots__ = ("sampled", "span", "trace")

    def __init__(self, trace: str, span: str, sampled: bool) -> None:
        self.trace = trace
        self.span = span
        self.sampled = sampled

    @property
    def traceparent(self) -> str:
        return f"00-{self.trace}-{self.span}-{'01' if self.sampled else '00'}"


current: ContextVar[Span | None] = ContextVar("tierline_span", default=None)


def parse(traceparent: str | None) -> Span | None:
    """A W3C traceparent (Trace Context, section 3.2), or None when it is not a valid one."""
    if traceparent is None or len(traceparent) != 55 or not traceparent.startswith("00-"):
        return None
    _, trace, span, flags = traceparent.split("-") if traceparent.count("-") == 3 else ("", "", "", "")
    if len(trace) != 32 or len(span) != 16 or trace == "0" * 32 or span == "0" * 16:
        return None
    try:
        int(trace, 16), int(span, 16)
        return Span(trace, span, bool(int(flags, 16) & 1))
    except ValueError:
        return None


def carried(fields: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """A request's fields for who is called next: their `traceparent` names the hop in which this runs."""
    span = current.get()
    if span is None or not span.sampled:
        return fields
    own = (b"traceparent", span.traceparent.encode())
    return [*(pair for pair in fields if pair[0] != b"traceparent"), own]


def span_id() -> str:
    return f"{_random.getrandbits(64) | 1:016x}"


class Recorder:
    """Appends hops to a file, many per write. One per process; `flush` writes what is left.

    What can't be written (a full disk) is counted in `lost`, with the last `problem`; it never raises.
    """

    def __init__(self, path: str | os.PathLike[str] | None) -> None:
        self._path = path
        self._file = -1
        self._torn = False
        """The last write ended within a line."""
        self.lost = 0
        self.problem = ""
        self._lines: list[bytes] = []
        if path:
            self._append([])
        self.counts: Counter[tuple[str, str, str, int]] = Counter()
        self._counters: dict[Callable[[], Mapping[str, int]], dict[str, int]] = {}

    def counts_of(self, source: Callable[[], Mapping[str, int]]) -> None:
        """Adds counters to those of the line: `source` is asked for all at each `flush`, by Prometheus' series."""
        self._counters[source] = {}

    def forget(self, source: Callable[[], Mapping[str, int]]) -> None:
        """Writes what is left, and asks it no more."""
        self.flush()
        self._counters.pop(source, None)

    def count(self, tier: str, system: str, zone: str, status: int) -> None:
        """Count a request that isn't sampled."""
        self.counts[(tier, system, zone, status)] += 1

    def write(self, hop: Hop) -> None:
        if self._path is not None:
            self._lines.append(_encode(hop))
            if len(self._lines) >= 256:
                self.flush()

    def event(self, told: Mapping[str, Any]) -> None:
        """Append an event at once: it is as safe as the file before its request is answered."""
        if self._path is not None:
            self._lines.append(msgspec.json.encode({"event": "event", **told}, enc_hook=str))
            self.flush()

    def flush(self) -> None:
        if self._path is not None and self.counts:
            counts, self.counts = self.counts, Counter()
            for (tier, system, zone, status), number in counts.items():
                line = {"f": "00", "s": status, "T": tier, "y": system, "z": zone, "c": number}
                self._lines.append(msgspec.json.encode(line))
        if self._path is not None:
            for source, before in self._counters.items():
                for series, number in source().items():
                    if more := number - before.get(series, 0):
                        before[series] = number
                        self._lines.append(msgspec.json.encode({"metric": series, "c": more}))
        if self._lines:
            lines, self._lines = self._lines, []
            self._append(lines)

    def _append(self, lines: list[bytes]) -> None:
        text = (b"\n" if self._torn else b"") + b"".join(line + b"\n" for line in lines)
        written = 0
        try:
            if self._file < 0:
                assert self._path is not None
                self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            while written < len(text):
                written += os.write(self._file, text[written:])
        except OSError as error:
            self.lost += len(lines) - text[:written].count(b"\n")
            self.problem = error.strerror or str(error)
        if written:
            self._torn = text[written - 1 : written] != b"\n"


recorder = Recorder(None)
"""This process's recorder; the service runner replaces it with `use`."""


def use(path: str | os.PathLike[str] | None) -> Recorder:
    global recorder
    recorder = Recorder(path)
    return recorder


class hop:
    """`with hop("domain", "postgresql", name="SELECT films") as h: …; h.verdict = "replica-1"`.

    Does nothing when the request is not sampled. An exception that leaves the block marks status 1.
    """

    __slots__ = (
        "_began",
        "_outer",
        "_token",
        "attributes",
        "name",
        "status",
        "system",
        "tier",
        "verdict",
        "zone",
    )

    def __init__(self, tier: str, system: str, *, name: str = "", verdict: str = "", zone: str = "") -> None:
        self.tier = tier
        self.system = system
        self.name = name
        self.verdict = verdict
        self.zone = zone
        self.status = 0
        self.attributes: dict[str, Any] = {}

    def __enter__(self) -> hop:
        self._outer = outer = current.get()
        if outer is not None and outer.sampled:
            self._token = current.set(Span(outer.trace, span_id(), True))
            self._began = _now()
        return self

    def __exit__(self, kind: object, error: BaseException | None, _traceback: object) -> None:
        outer = self._outer
        if outer is None or not outer.sampled:
            return
        ended = _now()
        mine = current.get()
        current.reset(self._token)
        if error is not None and not self.status:
            self.status = 1
            self.attributes["error.type"] = type(error).__name__
        recorder.write(
            Hop(
                status=self.status,
                trace=outer.trace,
                span=mine.span if mine else "",
                parent=outer.span,
                tier=self.tier,
                system=self.system,
                zone=self.zone or os.environ.get("TIERLINE_ZONE", ""),
                start_us=self._began // 1000,
                duration_us=(ended - self._began) // 1000,
                verdict=self.verdict,
                name=self.name,
                attributes=self.attributes,
            )
        )
