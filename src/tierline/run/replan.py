"""`python -m tierline.run.replan < REQUEST`: the plan of the stack file as it is now, from a fresh interpreter.

A process that has imported the stack once would go on with the old modules. The request is JSON: `stack`, `uses`,
`fusion`; the answer too: `plan` or `problem`, and `files`, what the stack file imported of its own folder.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import msgspec

from tierline.engines.python.voice import imported
from tierline.errors import RunError, TierlineError
from tierline.plan.model import Plan

_LONGEST = 30.0


class Replanned(msgspec.Struct):
    """See the module."""

    plan: Plan | None = None
    problem: str = ""
    files: tuple[str, ...] = ()


async def replan(stack: Path, plan: Plan) -> Replanned:
    """The stack's plan now, for the lineup of a plan that was made before. Raises RunError when that takes too long."""
    request = {"stack": str(stack), "uses": plan.lineup, "fusion": plan.fusion}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-B", "-m", "tierline.run.replan", stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, cwd=stack.parent,
    )  # fmt: skip
    try:
        async with asyncio.timeout(_LONGEST):
            out, said = await process.communicate(json.dumps(request).encode())
    except TimeoutError:
        process.kill()
        await process.wait()
        raise RunError(
            f"{stack.name} was not read within {_LONGEST:g} s: it must not start anything"
        ) from None
    try:
        return msgspec.json.decode(out.rpartition(b"\n")[2], type=Replanned)
    except msgspec.DecodeError:
        return Replanned(problem=said.decode(errors="replace").strip()[-2000:] or "it could not be read")


def _main(request: dict[str, Any]) -> Replanned:
    from tierline.lineups import choose
    from tierline.plan.resolve import resolve
    from tierline.stack import load

    path = Path(request["stack"])
    try:
        chosen = choose("embedded", tuple(f"{slot}={name}" for slot, name in request["uses"].items()))
        stack, _ = load(path)
        found = Replanned(plan=resolve(stack, chosen, fusion=request["fusion"]))
    except TierlineError as error:
        found = Replanned(problem=str(error))
    found.files = tuple({*imported(str(path.parent)), str(path)})
    return found


if __name__ == "__main__":
    answer = _main(json.loads(sys.stdin.read()))
    sys.stdout.write("\n" + msgspec.json.encode(answer).decode())
