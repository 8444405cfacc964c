"""No test waits for the clock: what this suite waits for are events, so that it is right on the slowest machine."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
FOR_EVER = 60
"""Seconds: what sleeps as long hangs, and nobody waits for its end."""
HANGS = 20
"""Seconds: a bound so wide tells a hang, not a slow machine."""
CLOCKS = ("monotonic", "perf_counter", "perf_counter_ns", "process_time")


def fixed_waits(text: str) -> Iterator[tuple[int, str]]:
    """Line and reason of each wait and each bound that a machine ten times slower would break."""
    lines = text.splitlines()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and called(node) == "sleep" and node.args:
            # Its lines, and the one above.
            said = lines[max(0, node.lineno - 2) : (node.end_lineno or node.lineno)]
            first = node.args[0]
            known = isinstance(first, ast.Constant) and (first.value == 0 or first.value >= FOR_EVER)
            if not known and not any("slow: " in line.partition("#")[2] for line in said):
                yield (
                    node.lineno,
                    "sleeps: wait for an event (tests/waiting.py), or say `# slow: what is slow on purpose`",
                )
        if isinstance(node, ast.Assert):
            for each in ast.walk(node.test):
                if isinstance(each, ast.Compare) and bounded(each):
                    yield (
                        each.lineno,
                        f"bounds what passes on the wall clock by less than {HANGS} s: compare events",
                    )


def called(node: ast.Call) -> str:
    return getattr(node.func, "attr", getattr(node.func, "id", ""))


def bounded(compare: ast.Compare) -> bool:
    """Whether it is `clock() - began < few`."""
    calls = [called(each) for each in ast.walk(compare.left) if isinstance(each, ast.Call)]
    timed = any(name in CLOCKS for name in calls) or ("get_running_loop" in calls and "time" in calls)
    values = [each.value for each in compare.comparators if isinstance(each, ast.Constant)]
    few = any(isinstance(value, int | float) and value < HANGS for value in values)
    return timed and few and isinstance(compare.ops[0], ast.Lt | ast.LtE)


def test_nothing_waits_for_the_clock() -> None:
    found = [
        f"{path.relative_to(HERE)}:{line} {why}"
        for path in sorted(HERE.rglob("*.py"))
        if path.name != "waiting.py"
        for line, why in fixed_waits(path.read_text())
    ]
    assert found == []


def test_what_waits_for_the_clock_is_found() -> None:
    text = "time.sleep(1)\nawait asyncio.sleep(wait)\nassert time.monotonic() - began < 5\n"
    assert sorted(line for line, _ in fixed_waits(text)) == [1, 2, 3]
    fine = (
        "sleep(0)\nsleep(600)\nsleep(1)  # slow: a reader that pauses\nassert time.monotonic() - began > 5\n"
    )
    assert list(fixed_waits(fine)) == []
