"""The supervisor's main loop: start a line, answer the control socket, stop on a signal."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from tierline.engines import open_files
from tierline.errors import RunError, choices, nearest
from tierline.plan.model import Plan
from tierline.run import control, guardian
from tierline.run.change import answers, change
from tierline.run.child import Child
from tierline.run.delayed import delayed, notes, prompt, slow
from tierline.run.development import development
from tierline.run.line import Line
from tierline.run.reload import Reload
from tierline.run.rolling import rolled
from tierline.run.scale import Scaler
from tierline.run.state import State
from tierline.run.stopping import Stopping

_FOLDER_EVERY = 1.0
"""Seconds between two looks whether the state folder is where it was."""


def supervise(
    plan: Plan,
    state: State,
    *,
    ports: Mapping[str, int] | None = None,
    ready: Callable[[Line], None] | None = None,
    view: Callable[[Line], Any] | None = None,
    log: bool = False,
    reload: bool = False,
    scale: bool = True,
    caller: int | None = None,
) -> None:
    """Run a line until SIGINT, SIGTERM, SIGHUP, SIGQUIT or `tierline down`.

    ready: called once when the whole line answers. view: called with the line before anything starts; its
    coroutine runs beside the line (the live view). log: what the supervisor itself says goes to its log.
    reload: changes of the sources are applied as they are saved. scale: instances follow the load. caller: the end of
    a pipe whose reader waits for the start; a start that nobody waits for any more is stopped.
    Raises TierlineError when the line can't start; nothing is left running then.
    """
    stopping = Stopping()
    _raise_limits()
    # What programs and libraries look for where nobody has said it: a user without a name has no home to look up.
    os.environ.setdefault("HOME", str(state.root))
    os.environ.setdefault("USER", str(os.geteuid()))
    told = state.read()
    state.open()
    try:
        os.environ.update(state.mark)
        guardian.sweep(*state.leftovers(told))
        shutil.rmtree(state.root / "run", ignore_errors=True)
        if log:
            with (state.folder("logs") / "supervisor.log").open("ab") as file:
                os.dup2(file.fileno(), 2)
        if not stopping.asked:
            asyncio.run(_run(plan, state, ports, ready, view, reload, scale, caller, stopping))
    finally:
        state.close()
        stopping.end()


def _raise_limits() -> None:
    """As many open files as this user may have: engines inherit it."""
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if open_files.most() < open_files.LEAST:
        raise RunError(
            f"a process may have {most} files open here, and engines need {open_files.LEAST}: raise it with "
            "ulimit -Hn, LimitNOFILE= of a systemd unit, or --ulimit nofile= of a container"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def _run(
    plan: Plan,
    state: State,
    ports: Mapping[str, int] | None,
    ready: Callable[[Line], None] | None,
    view: Callable[[Line], Any] | None,
    reload: bool,
    scale: bool,
    caller: int | None,
    signals: Stopping,
) -> None:
    stop = asyncio.Event()
    signals.sets(stop)
    if caller is not None:
        asyncio.get_running_loop().add_reader(caller, stop.set)  # what a pipe without a reader reports
    line = Line(plan, state, ports)
    if reload:
        line.adaptations.append(development)
        line.plan = line.adapted(plan)
    scaler = Scaler(line, follow=scale)
    line.prepare()
    handler = _handler(line, stop)
    server = await control.serve(state.root, handler)

    async def watch() -> None:
        """Who reads what is shown may go away: the line goes on."""
        if view is not None:
            with contextlib.suppress(OSError, ValueError):
                await view(line)

    watching = asyncio.create_task(watch())

    async def folder() -> None:
        """Where the state folder was removed while the line runs, it is made again, so that `status` and `down` work."""
        nonlocal server
        while True:
            await asyncio.sleep(_FOLDER_EVERY)
            if state.lost():
                state.restore()
                server.close()
                server = await control.serve(state.root, handler)
                line.events.tell(
                    "restored", state.root.name, "it was removed while the line runs; the data in it is gone"
                )
                line.changed()
            elif (now := state.moved()) is not None:
                state.storage.failed(
                    state.root.name,
                    f"it was moved to {now}, and what runs has the old path: tierline down there, then up",
                )

    starting = asyncio.create_task(line.start())
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            line.tasks.keep("state folder", folder)
            line.tasks.keep("certificates", line.renewal.run)
            line.tasks.keep("scaling", scaler.run)
            if reload:
                line.tasks.keep("reload", Reload(line).run)
            if caller is not None:
                asyncio.get_running_loop().remove_reader(caller)
            if ready is not None:
                with contextlib.suppress(OSError, ValueError):
                    ready(line)
            await stop.wait()
    finally:
        beside = [starting, watching, stopping]
        for task in beside:
            task.cancel()
        await line.stop()
        server.close()
        await asyncio.gather(*beside, return_exceptions=True)
        signals.release()


def _handler(line: Line, stop: asyncio.Event) -> control.Handler:
    async def status(_: dict[str, Any]) -> dict[str, Any]:
        return line.status()

    async def down(_: dict[str, Any]) -> dict[str, Any]:
        stop.set()
        return {}

    async def restart(request: dict[str, Any]) -> dict[str, Any]:
        children = line.named(request["name"])
        for child in children:  # one after the other: whoever else plays the role goes on answering
            async with line.changing:
                await rolled(line, child)
        return {"restarted": [{"name": child.process.name, "pid": child.pid} for child in children]}

    async def scale(request: dict[str, Any]) -> dict[str, Any]:
        assert line.scaler is not None
        number = request["instances"]
        return await line.scaler.pin(request["service"], None if number is None else int(number))

    async def season(request: dict[str, Any]) -> dict[str, Any]:
        assert line.scaler is not None
        return {"warmed": await line.scaler.seasons.play(request["name"], bool(request["begin"]))}

    async def apply(request: dict[str, Any]) -> dict[str, Any]:
        """Another plan, made by the command that asks: the stack file may have changed."""
        async with line.changing:
            plan = line.adapted(msgspec.convert(request["plan"], Plan))
            return msgspec.to_builtins(await change(line, plan))  # type: ignore[no-any-return]

    def chosen(request: dict[str, Any]) -> list[Child]:
        what, name = request["what"], request["name"]
        if what == "process":
            return line.named(name)
        if what == "zone":
            found, there = (
                [child for child in line.children.values() if child.process.zone == name],
                line.plan.zones,
            )
        else:
            # A region of clients is its place: the point of presence that stands there.
            places = {
                role.id
                for role in line.plan.roles.values()
                if role.slot == "cdn" and role.region == name and not role.zone
            }
            found = [child for child in line.children.values() if places.intersection(child.process.roles)]
            there = line.plan.places
        if not found:
            raise RunError(
                f"no process is in {what} {name!r}{nearest(name, there)} there are: {choices(there)}"
            )
        return found

    async def which(request: dict[str, Any]) -> dict[str, Any]:
        return {"names": [child.process.name for child in chosen(request)]}

    def too(request: dict[str, Any], children: list[Child]) -> list[str]:
        """Who shares the processes with what was named, and goes with it."""
        roles, name = line.plan.roles, request["name"]
        if request["what"] != "process" or any(child.process.name == name for child in children):
            return []
        others = {
            roles[id].name for child in children for id in child.process.roles
            if id in roles and name not in (id, roles[id].name)
        }  # fmt: skip
        where = ", ".join(child.process.name for child in children)
        return [f"in the same process: {', '.join(sorted(others))} ({where})"] if others else []

    async def kill(request: dict[str, Any]) -> dict[str, Any]:
        for child in (children := chosen(request)):
            child.kill(hold=bool(request.get("hold", True)))
        return {"names": [child.process.name for child in children], "notes": too(request, children)}

    async def heal(request: dict[str, Any]) -> dict[str, Any]:
        names: list[str] = []
        well: list[str] = []
        for child in chosen(request):
            broken = bool(child.hung or child.delays or not child.held.is_set())
            (names if broken else well).append(child.process.name)
            child.heal()
            await prompt(child)
        await asyncio.gather(*(answers(line.children[name]) for name in names if name in line.children))
        return {"names": names, "well": well}

    async def hang(request: dict[str, Any]) -> dict[str, Any]:
        for child in (children := chosen(request)):
            child.hang()
        return {"names": [child.process.name for child in children], "notes": too(request, children)}

    async def delay(request: dict[str, Any]) -> dict[str, Any]:
        found = delayed(line, chosen(request), request["name"] if request["what"] == "process" else "")
        for each in found:
            await slow(each.child, each.ports, float(request["seconds"]), float(request["jitter"]))
        return {"names": [each.child.process.name for each in found], "at": [at for each in found for at in each.at],
                "notes": notes(found, request["name"] if request["what"] == "process" else "")}  # fmt: skip

    async def token(request: dict[str, Any]) -> dict[str, Any]:
        roles = [role for role in line.plan.roles.values() if role.name == "gateway"]
        auth = roles[0].settings["auth"] if roles else None
        if auth is None or auth["jwks"]:
            raise RunError("the line issues no tokens: the gateway has no auth=JWT(…) with a local key")
        claims = {"iss": auth["issuer"], "aud": auth["audience"], **request["claims"]}
        return {"token": line.context.sign(claims, float(request["lifetime"]))}

    async def purge(request: dict[str, Any]) -> dict[str, Any]:
        from tierline.run.purge import everywhere
        from tierline.tiers.cache.tier import Purge

        paths = dict.fromkeys(path.partition("?")[0] for path in request["paths"])
        order = Purge(tuple(paths), *(tuple(dict.fromkeys(request[name])) for name in ("prefixes", "tags")))
        return {"purged": await asyncio.to_thread(everywhere, line.plan, line.context, order, line.runs)}

    actions = {
        "status": status, "down": down, "restart": restart, "kill": kill, "heal": heal, "hang": hang, "delay": delay,
        "token": token, "purge": purge, "scale": scale, "season": season, "apply": apply, "which": which,
    }  # fmt: skip

    async def handle(request: dict[str, Any]) -> dict[str, Any]:
        return await actions[request["do"]](request)

    return handle
