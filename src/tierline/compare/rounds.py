"""Two or more lines of one stack, brought up beside each other, asked in turns."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from tierline.compare import load, measure, workload
from tierline.errors import RunError
from tierline.tiers.client.tier import Visit
from tierline.trips.client import Client


class Round(msgspec.Struct):
    """One turn of one line: open loop, then closed loop."""

    steady: load.Load
    full: load.Load
    cpu_us: dict[str, float]
    """Microseconds of processor time per request of the open loop, by tier."""


class Measured(msgspec.Struct):
    """Everything that was measured of one lineup."""

    name: str
    lineup: dict[str, str]
    ready_in: float
    rounds: list[Round]
    memory: dict[str, float]
    programs: list[dict[str, str]]
    lacks: dict[str, str]
    losses: list[str]


class Beside:
    """A line of the stack in a state folder of its own. A context manager: up on entry, down and gone after."""

    def __init__(self, stack: Path, name: str, words: Sequence[str]) -> None:
        self._stack = stack
        self._words = words
        self.name = name
        self._folder = f".tierline-compare-{''.join(c if c.isalnum() else '-' for c in name)}"
        self.root = stack.parent / self._folder
        self.losses: list[str] = []

    def __enter__(self) -> Beside:
        done = self._tierline("up", "--detach", "--no-scale", *self._words)
        if done.returncode:
            self._tierline("down", "--volumes")
            raise RunError(f"{self.name} did not start: {done.stderr.strip().removeprefix('error: ')}")
        self.losses = [line for line in done.stderr.splitlines() if line.startswith("loss")]
        return self

    def __exit__(self, *_: object) -> None:
        self._tierline("down", "--volumes")

    def told(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._tierline("status", "--json").stdout)
        return found

    def targets(self, regions: set[str]) -> dict[str, load.Target]:
        """Where each region's clients connect, by the line's own name service."""
        told = self.told()
        authority = self.root / "authority" / "ca.pem"
        found = {}
        for region in regions:
            client = Client(told, authority, told["domain"], region)
            resolved = client.resolve()
            trust = client.trust()
            context = trust if isinstance(trust, ssl.SSLContext) else None
            found[region] = load.Target(resolved.host, resolved.port, told["domain"], context)
        return found

    def _tierline(self, *words: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "TIERLINE_STATE": self._folder}
        command = [sys.executable, "-m", "tierline", words[0], str(self._stack), *words[1:]]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def compare(
    lines: Sequence[Beside], visits: Sequence[Visit], *, rounds: int, seconds: float, rate: float, clients: int,
    say: Callable[[str], None],
) -> list[Measured]:  # fmt: skip
    """Interleaved rounds: every line is asked the same requests, one line after the other, again and again."""
    told = {line.name: line.told() for line in lines}
    home = next(iter(told.values()))["region"]
    regions = {visit.region or home for visit in visits}
    targets = {line.name: line.targets(regions) for line in lines}
    for line in lines:  # caches, pools and JITs are warm for everybody
        load.open_loop(targets[line.name], workload.requests(visits, home, 0), rate, min(2.0, seconds))
    found: dict[str, list[Round]] = {line.name: [] for line in lines}
    for number in range(1, rounds + 1):
        order = list(lines) if number % 2 else list(reversed(lines))
        for line in order:
            say(f"round {number} of {rounds}: {line.name}")
            before = measure.cpu(told[line.name])
            steady = load.open_loop(
                targets[line.name], workload.requests(visits, home, number), rate, seconds
            )
            after = measure.cpu(told[line.name])
            full = load.closed_loop(
                targets[line.name], workload.requests(visits, home, number), clients, seconds
            )
            spent = {
                tier: (after[tier] - before.get(tier, 0.0)) * 1e6 / max(1, len(steady.samples))
                for tier in after
            }
            found[line.name].append(Round(steady, full, spent))
    return [
        Measured(
            name=line.name, lineup=told[line.name]["lineup"], ready_in=told[line.name]["ready_in"],
            rounds=found[line.name], memory=measure.memory(told[line.name]),
            programs=measure.programs(told[line.name]), lacks=measure.lacks(told[line.name]), losses=line.losses,
        )
        for line in lines
    ]  # fmt: skip
