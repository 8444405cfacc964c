"""The stack files that these tests turn into CloudFormation."""

from __future__ import annotations

import sys
from pathlib import Path

from tierline.deploy.synth import Synthesis, synthesize
from tierline.lineups import choose
from tierline.plan.resolve import resolve
from tierline.stack import load

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "synth"
CINEMA = ROOT / "examples" / "cinema" / "stack.py"
STACKS = {"cinema": CINEMA, **{path.stem: path for path in sorted(GOLDEN.glob("*.py"))}}


def synthesis(path: Path, *uses: str) -> Synthesis:
    """A stack file as CloudFormation; its imports leave nothing behind in this process."""
    kept, modules = list(sys.path), set(sys.modules)
    try:
        stack, file = load(path)
        return synthesize(resolve(stack, choose("aws", uses)), file.parent)
    finally:
        sys.path[:] = kept
        for name in set(sys.modules) - modules | {"stack"}:
            if not name.startswith("tierline"):
                sys.modules.pop(name, None)
