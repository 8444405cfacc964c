"""`python -m bench [NAME …]`: run the benchmarks and write what they measured.

Each `bench/<name>.py` has `run() -> list[dict]` whose rows are `{"name", "value", "unit", "against", "ratio",
"goal", "holds"}`. `against` says what `value` was compared with in the same run; `ratio` is value by that;
`goal` is the goal in words; `holds` whether it was reached.
"""

from __future__ import annotations

import importlib
import json
import platform
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results"


def main(names: list[str]) -> int:
    there = sorted(path.stem for path in HERE.glob("[a-z]*.py") if path.stem != "stats")
    for name in names:
        if name not in there:
            print(f"no benchmark {name!r}; there are: {', '.join(there)}", file=sys.stderr)
            return 2
    RESULTS.mkdir(exist_ok=True)
    for name in names or there:
        began = time.monotonic()
        rows = importlib.import_module(f"bench.{name}").run()
        (RESULTS / f"{name}.json").write_text(json.dumps(rows, indent=1) + "\n")
        print(f"\n{name} ({time.monotonic() - began:.0f} s)\n{table(rows)}", flush=True)
    (HERE / "RESULTS.md").write_text(document())
    return 0


def table(rows: list[dict[str, Any]]) -> str:
    """The rows for a terminal."""
    lines = []
    for row in rows:
        mark = {True: "holds", False: "SHORT", None: ""}[row.get("holds")]
        ratio = f"{row['ratio']:.2f}×" if isinstance(row.get("ratio"), int | float) else ""
        lines.append(
            f"  {row['name']:<58} {_number(row['value']):>10} {row['unit']:<14} {ratio:>8}  {mark:<6} {row.get('goal') or ''}"
        )
    return "\n".join(lines)


def _number(value: Any) -> str:
    if not isinstance(value, int | float):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def document() -> str:
    """RESULTS.md from every result file, with the machine."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    lines = [
        "# What was measured",
        "",
        f"On {cpu}, Linux {platform.release().partition('-')[0]}, Python {platform.python_version()}. Written by "
        "`make bench`; what is compared ran interleaved, in the same run. Ratios hold better than absolutes.",
    ]
    for path in sorted(RESULTS.glob("*.json")):
        lines += [
            "",
            f"## {path.stem}",
            "",
            "| what | value | against | ratio | goal | holds |",
            "|---|---|---|---|---|---|",
        ]
        for row in json.loads(path.read_text()):
            ratio = f"{row['ratio']:.2f}" if isinstance(row.get("ratio"), int | float) else ""
            holds = {True: "yes", False: "**no**", None: ""}[row.get("holds")]
            lines.append(
                f"| {row['name']} | {_number(row['value'])} {row['unit']} | {row.get('against') or ''} | {ratio} "
                f"| {row.get('goal') or ''} | {holds} |"
            )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
