"""One warm-up: in a process of its own, so that what it does or breaks is not the supervisor's.

    `/film/{1..40}`      fetched through the line as each kind of client, at every place where clients enter
    `module:function`    called, with the environment of the stack's services; may be async
    a resource           its system's own way to read it into its buffers

`python -m tierline.run.scale_warm < REQUEST` fetches or calls; the last line of its output is what it says.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import inspect
import itertools
import json
import os
import re
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

import msgspec

from tierline.engines.python.environment import agreed
from tierline.run import guardian
from tierline.tiers.base import system

if TYPE_CHECKING:
    from tierline.run.child import Child
    from tierline.run.line import Line

_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_MOST = 20_000
"""Paths of one warm-up."""
_AT_ONCE = 8
_TAKES_OVER = 5.0
"""Seconds within which a follower leads when its leader is lost."""
_BROWSER = {"user-agent": "tierline (warm-up)", "accept-encoding": "gzip, deflate, br, zstd"}
"""Copies may be kept by what a client can decode: as browsers say it."""


class Warmed(msgspec.Struct, frozen=True):
    """What came of a warm-up."""

    what: str
    well: bool
    said: str

    def data(self) -> dict[str, Any]:
        return {"what": self.what, "well": self.well, "said": self.said}


async def warm(line: Line, season: dict[str, Any], hook: Any) -> Warmed:
    """Do one of a season's warm-ups, within its deadline. Never raises."""
    what = hook if isinstance(hook, str) else f"{hook['kind']} {hook['name']}"
    deadline = float(season["deadline"])
    began = time.monotonic()
    try:
        async with asyncio.timeout(deadline):
            if isinstance(hook, str) and hook.startswith("/"):
                well, said = await _asked(line, {"paths": hook, "as": season["asks"], **_entries(line)}, {})
            elif isinstance(hook, str):
                well, said = await _asked(line, {"call": hook}, _environment(line))
            else:
                well, said = await _resource(line, hook["name"])
    except TimeoutError:
        return Warmed(what, False, f"not done within its deadline of {deadline:g} s")
    except Exception as error:
        return Warmed(what, False, f"{type(error).__name__}: {error}")
    return Warmed(what, well, f"{said} in {time.monotonic() - began:.1f} s")


def _entries(line: Line) -> dict[str, Any]:
    """Where clients enter, by HTTPS where there is."""
    found = []
    for id in line.plan.entry:
        names = [endpoint.name for endpoint in line.plan.roles[id].endpoints]
        name = "https" if "https" in names else names[0]
        host, port = line.addresses[(id, name)]
        found.append(f"{name}://{host}:{port}")
    return {"at": found, "host": line.plan.domain, "ca": str(line.state.root / "authority" / "ca.pem")}


def _environment(line: Line) -> dict[str, str]:
    """What all services agree on, and what only some have."""
    roles = [role for role in line.plan.roles.values() if role.slot == "feature.service"]
    return agreed({k: line.context.text(v) for k, v in role.environment.items()} for role in roles)


async def _resource(line: Line, name: str) -> tuple[bool, str]:
    """Warm every process that plays the resource and runs: who leads first, as what it changes reaches the others."""
    roles = [role for role in line.plan.roles.values() if role.name == name and role.tier == "domain"]
    players = {
        role.id: child for role in roles for child in line.children.values() if role.id in child.process.roles
    }
    leaders = await _leaders(line, [each for each in players.values() if each.process.cluster])
    said, well = [], True
    for role in sorted(roles, key=lambda role: players.get(role.id) not in leaders):
        step = system(role.slot, role.system).warm(role, line.context)
        if step is None:
            return False, f"{role.system} has no way to be warmed"
        child = players.get(role.id)
        if child is None or child.hung or not child.ready.is_set():
            phase = (
                "hung"
                if child is not None and child.hung
                else child.phase
                if child is not None
                else "not there"
            )
            said.append(f"{role.id} is {phase}, not warmed")
            continue
        code, out = await _run(line, step.argv, step.env, b"")
        well = well and not code
        said.append(f"{role.id} {out.strip()[-500:]}" if not code else f"{role.id}: {out.strip()[-500:]}")
    runs = any(child.ready.is_set() and not child.hung for child in players.values())
    return well and runs, ", ".join(said)


async def _leaders(line: Line, members: list[Child]) -> set[Child]:
    """Who leads the clusters of these processes; waits a little for a follower that is taking over."""
    clusters = {each.process.cluster.name for each in members if each.process.cluster}
    until = time.monotonic() + _TAKES_OVER
    while True:
        found = {
            leader for name, each in line.keepers.items() if name in clusters and (leader := each.leader)
        }
        if all(each.ready.is_set() and not each.hung for each in found) and len(found) == len(clusters):
            return found
        if time.monotonic() > until:
            return found
        await asyncio.sleep(0.05)


async def _asked(line: Line, request: dict[str, Any], env: dict[str, str]) -> tuple[bool, str]:
    argv = (sys.executable, "-m", "tierline.run.scale_warm")
    code, out = await _run(line, argv, env, json.dumps(request).encode())
    last = out.strip().splitlines()[-1:] or [f"ended with exit code {code} and said nothing"]
    try:
        told = json.loads(last[0])
        return bool(told["well"]), str(told["said"])
    except (ValueError, KeyError, TypeError):
        return False, last[0][-500:]


async def _run(line: Line, argv: tuple[str, ...], env: dict[str, str], given: bytes) -> tuple[int, str]:
    inherited = {
        k: v
        for k, v in os.environ.items()
        if k in ("PATH", "HOME", "LANG", "TZ", "PYTHONPATH", "VIRTUAL_ENV", guardian.MARK)
    }
    process = await asyncio.create_subprocess_exec(
        *argv, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        env={**inherited, **env}, cwd=line.state.stack.parent, start_new_session=True,
    )  # fmt: skip
    try:
        out, _ = await process.communicate(given)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    return process.returncode or 0, out.decode(errors="replace")


def paths(pattern: str) -> list[str]:
    """`/film/{1..3}` → `/film/1`, `/film/2`, `/film/3`; several ranges are combined."""
    parts = _RANGE.split(pattern)
    ranges = [range(int(low), int(high) + 1) for low, high in zip(parts[1::3], parts[2::3], strict=True)]
    found = []
    for numbers in itertools.islice(itertools.product(*ranges), _MOST):
        texts = [text for pair in zip(parts[::3], map(str, (*numbers, "")), strict=True) for text in pair]
        found.append("".join(texts))
    return found


async def _fetch(request: dict[str, Any]) -> tuple[bool, str]:
    import httpx

    left = [
        (at, path, who) for path in paths(request["paths"]) for at in request["at"] for who in request["as"]
    ]
    if not left:
        return False, "clients enter nowhere: the line has no place to ask"
    total, bad = len(left), []
    verify: Any = request["ca"] if left[0][0].startswith("https") else True
    async with httpx.AsyncClient(
        verify=verify, headers={"host": request["host"], **_BROWSER}, timeout=30
    ) as client:

        async def some() -> None:
            while left:
                at, path, who = left.pop()
                try:
                    got = await client.get(
                        at + path, headers=who, extensions={"sni_hostname": request["host"]}
                    )
                    if got.status_code >= 400:
                        bad.append(f"{path}: {got.status_code}")
                except httpx.HTTPError as error:
                    bad.append(f"{path}: {error or type(error).__name__}")

        await asyncio.gather(*(some() for _ in range(_AT_ONCE)))
    more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
    return not bad, f"{total - len(bad)} of {total} answered" + (f"; {bad[0]}{more}" if bad else "")


def _call(target: str) -> tuple[bool, str]:
    module, _, name = target.partition(":")
    sys.path.insert(0, os.getcwd())  # noqa: PTH109
    try:
        found = getattr(importlib.import_module(module), name)()
        if inspect.iscoroutine(found):
            asyncio.run(found)
    except Exception as error:
        return False, f"{type(error).__name__}: {error}"
    return True, "done"


def _main() -> None:
    request = json.loads(sys.stdin.read())
    well, said = asyncio.run(_fetch(request)) if "paths" in request else _call(request["call"])
    sys.stdout.write("\n" + json.dumps({"well": well, "said": said}) + "\n")


if __name__ == "__main__":
    _main()
