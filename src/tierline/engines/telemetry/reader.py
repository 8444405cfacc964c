"""Following the hop files: what was appended since the last look, and cutting files that have grown large."""

from __future__ import annotations

import contextlib
import os
import re
from collections import Counter
from pathlib import Path

import msgspec

from tierline.engines.telemetry.events import MARK, Row, row
from tierline.trips.hop import Hop
from tierline.trips.normalise import hop

_MOST = 32 << 20
"""A hop file is cut back to nothing once it was read this far: engines append, so they go on at its start."""
_CHUNK = 4 << 20
_CONSUMERS = 1000
"""Consumers that are counted by name: a token's subject may be anybody, and there may be millions."""
_INSTANCES = 1000
_KINDS = 5000
"""Kinds of requests (tier, system, zone, status, verdict) that are counted apart: a verdict may be an application's."""
_MANY = re.compile(rb'"c":(\d+)')
_CARRIED = re.compile(rb',"h":"([^"]*)","l":"([^"]*)"')
OTHERS = "(others)"
_METRIC = b'{"metric":'
_SERIES = 5000


class _Metric(msgspec.Struct):
    metric: str
    c: int


_metric = msgspec.json.Decoder(_Metric).decode


class Reader:
    """Follows every file of a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[str, int] = {}
        self._counts: Counter[bytes] = Counter()
        self._callers: Counter[tuple[str, str, str, int, str]] = Counter()
        self._known: set[str] = set()
        self._kinds: set[tuple[str, str, str, int, str]] = set()
        self._events: list[Row] = []
        self.metrics: Counter[str] = Counter()
        """What processes count themselves, by Prometheus' series, since this process's start."""
        self.carried: dict[str, tuple[int, int]] = {}
        """What stood behind a tier and answered, by address or role: requests, and microseconds of all."""

    def resume(self, offsets: dict[str, int]) -> None:
        """Go on where the process before had landed everything."""
        self._read.update(offsets)

    def offsets(self) -> dict[str, int]:
        """How far each file was read."""
        return dict(self._read)

    def poll(self) -> list[Hop]:
        """Hops appended since the last poll. Lines of requests that aren't sampled are only counted."""
        found: list[Hop] = []
        with os.scandir(self._folder) as entries:
            files = [
                (entry.path, entry.name, entry.stat().st_size)
                for entry in entries
                if entry.name.endswith(".jsonl")
            ]
        for path, name, size in files:
            at = self._read.get(name, 0)
            if size < at:
                at = 0
            if size > at:
                at = self._lines(path, at, found)
                if at >= _MOST and at == os.stat(path).st_size:  # noqa: PTH116  on a hot path
                    os.truncate(path, 0)
                    at = 0
            self._read[name] = at
        return found

    def _lines(self, path: str, at: int, found: list[Hop]) -> int:
        with open(path, "rb") as file:  # noqa: PTH123  on a hot path
            file.seek(at)
            chunk = file.read(_CHUNK)
        whole = chunk.rfind(b"\n") + 1
        for line in chunk[:whole].splitlines():
            if b',"h":"' in line:
                line = self._lighter(line)
            if line.startswith(b'{"f":"00"') and (counted := _light(line)):
                self._counts[counted] += 1
                continue
            if line.startswith(MARK):
                event = row(line)
                if event is not None:
                    self._events.append(event)
                continue
            if line.startswith(_METRIC):
                self._add(line)
                continue
            each = hop(line)
            if each is None:
                continue
            if each.flags == "01" or each.status >= 500:
                found.append(each)
            if not _within(each):
                self._counts[_counted(each)] += 1
        return at + whole

    def _add(self, line: bytes) -> None:
        with contextlib.suppress(msgspec.DecodeError):
            told = _metric(line)
            if told.metric in self.metrics or len(self.metrics) < _SERIES:
                self.metrics[told.metric] += told.c

    def _lighter(self, line: bytes) -> bytes:
        """The line without who answered and in what time, which are added up: lines of one kind are equal again."""
        head, mark, who = line.partition(b',"u":"')
        found = _CARRIED.search(head)
        if found is None:
            return line
        # nginx names all that it tried. What isn't a time, or is below 0: none answered.
        address, took = (each.rpartition(", ")[2] for each in (found[1].decode(), found[2].decode()))
        with contextlib.suppress(ValueError):
            number, _, unit = took.partition(" ")
            us = round(float(number) * (1e3 if unit == "ms" else 1e6 if "." in number else 1))
            carried = self.carried.get(address)
            if us >= 0 and (carried is not None or len(self.carried) < _INSTANCES):
                many, before = carried or (0, 0)
                self.carried[address] = (many + 1, before + us)
        return head[: found.start()] + head[found.end() :] + mark + who

    def counts(self) -> list[tuple[str, str, str, int, str, int]]:
        """(tier, system, zone, status, verdict, how many) since the last call."""
        counts, self._counts = self._counts, Counter()
        merged: Counter[tuple[str, str, str, int, str]] = Counter()
        for line, number in counts.items():
            each = hop(line)
            if each is not None:
                many = _MANY.search(
                    line.partition(b',"u":"')[0]
                )  # a line that stands for several requests says how many
                number *= int(many[1]) if many else 1
                self._called(each, number)
                merged[self._kind(each)] += number
        return [(*key, number) for key, number in sorted(merged.items())]

    def _kind(self, each: Hop) -> tuple[str, str, str, int, str]:
        kind = (each.tier, each.system, each.zone, each.status, each.verdict)
        if kind not in self._kinds:
            if len(self._kinds) >= _KINDS:
                return (each.tier, OTHERS, each.zone, 0, OTHERS)
            self._kinds.add(kind)
        return kind

    def events(self) -> list[Row]:
        """Events since the last call."""
        found, self._events = self._events, []
        return found

    def callers(self) -> list[tuple[str, str, str, int, str, int]]:
        """(zone, route, consumer, status, verdict, how many) at the gateway, of what `counts` gave until now."""
        callers, self._callers = self._callers, Counter()
        return [(*key, number) for key, number in sorted(callers.items())]

    def _called(self, each: Hop, number: int) -> None:
        if each.tier != "gateway":
            return
        route, consumer = (str(each.attributes.get(name, "")) for name in ("http.route", "enduser.id"))
        if consumer and consumer not in self._known:
            if len(self._known) >= _CONSUMERS:
                consumer = OTHERS
            else:
                self._known.add(consumer)
        self._callers[(each.zone, route, consumer, each.status, each.verdict)] += number


def _light(line: bytes) -> bytes:
    """What is counted of a line of a request that isn't sampled; empty when its hop must be kept.

    HAProxy has one format for all: what is counted stands before the trace, and who asked at the end."""
    if b'"t":' not in line:
        return line
    head, _, rest = line.partition(b',"t":"')
    if b'"T":"' not in head or head[10:15] == b'"s":5':
        return b""
    _, who, name = rest.partition(b',"u":"')
    return head + (who + name if who else b"}")


def _within(each: Hop) -> bool:
    """A journey's part: no request of its own, and only there when its request is sampled."""
    return each.status < 100 and "tierline.journey" in each.attributes


def _counted(each: Hop) -> bytes:
    told = {"f": "00", "s": each.status, "T": each.tier, "y": each.system, "z": each.zone, "v": each.verdict}
    called = {name: each.attributes[name] for name in ("http.route", "enduser.id") if name in each.attributes}
    return msgspec.json.encode({**told, "a": called} if called and each.tier == "gateway" else told)
