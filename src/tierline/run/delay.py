"""A part that answers late: the supervisor's side. The traffic itself waits in run/detour/.

Only an ancestor may borrow a process's sockets on most machines (pidfd_getfd(2), ptrace(2)), so the supervisor
finds the part's listening sockets and connections and hands them to the detour.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import fcntl
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from tierline.errors import RunError
from tierline.run import detour

_PIDFD_GETFD = 438
"""The same number on every architecture (asm-generic/unistd.h)."""
_PATIENCE = 5.0
_PER_MESSAGE = 200
"""Sockets in one message: the kernel allows 253 (unix(7), SCM_RIGHTS)."""
_OPEN = (("tcp", "0A"), ("udp", "07"))
"""Sockets for whoever comes: transport and state in /proc/net (proc(5))."""
_ESTABLISHED = ("tcp", "01")
_LOOKS = (0.0, 0.05)
"""Seconds before each look for connections that the part has; some were on their way into it when the delay began."""
_FOLLOW = 0.1
"""Seconds between two looks whether somebody else plays the part now."""


class Delay:
    """A delay of one process, on the ports of one or more of its roles."""

    def __init__(self, name: str, ports: frozenset[int]) -> None:
        self.name, self.ports = name, ports
        self.seconds = self.jitter = 0.0
        self.problem = ""
        self._pid = 0
        """Who is behind the detour."""
        self._control: socket.socket | None = None
        self._busy = asyncio.Lock()
        self._number = 0
        self._following: asyncio.Task[None] | None = None

    def told(self) -> dict[str, Any]:
        """For status."""
        return {"seconds": self.seconds, "jitter": self.jitter, "problem": self.problem}

    @property
    def open(self) -> bool:
        """Whether connections may come by way of it."""
        return self._control is not None

    async def pace(self, seconds: float, jitter: float) -> None:
        """How long from now on."""
        await self._ask({"do": "delay", "seconds": seconds, "jitter": jitter})
        self.seconds, self.jitter = seconds, jitter

    def follow(self, pid: Callable[[], int]) -> None:
        """Stay before the part, whoever plays it. pid: who does now; 0 while nobody is ready."""
        self._following = asyncio.create_task(self._follow(pid))

    async def _follow(self, pid: Callable[[], int]) -> None:
        while True:
            await asyncio.sleep(_FOLLOW)
            if (now := pid()) and now != self._pid:
                try:
                    await self.enter(now)
                    self.problem = ""
                except RunError as error:
                    self.problem = str(error)

    async def enter(self, pid: int) -> None:
        """From now on: the part with this pid answers. Raises RunError when its sockets can't be borrowed."""
        with contextlib.ExitStack() as closing:
            listeners = _borrowed(closing, pid, self.ports, *_OPEN)
            if not listeners:
                ports = ", ".join(str(port) for port in sorted(self.ports))
                raise RunError(f"{self.name} listens on none of its ports ({ports}): it can't be delayed")
            await self._ask({"do": "enter", "pid": pid}, [each for each, _ in listeners])
        self._pid = pid
        for seconds in _LOOKS:
            await asyncio.sleep(seconds)
            await self._hold(pid)

    async def _hold(self, pid: int) -> None:
        with contextlib.ExitStack() as closing:
            found = [
                (each, link) for each, link in _borrowed(closing, pid, self.ports, _ESTABLISHED)
                # Who reads a socket that blocks would wait for more than there is.
                if fcntl.fcntl(each, fcntl.F_GETFL) & os.O_NONBLOCK
            ]  # fmt: skip
            for start in range(0, len(found), _PER_MESSAGE):
                some = found[start : start + _PER_MESSAGE]
                await self._ask(
                    {"do": "hold", "links": [link for _, link in some]}, [each for each, _ in some]
                )

    async def leave(self, pid: int) -> None:
        """The part stops, or has died (pid 0): its address is its own, so that its successor finds it free."""
        self._pid = 0
        await self._away(pid, "leave")

    async def end(self, pid: int) -> None:
        """The delay is over; who came this way goes on undisturbed."""
        if self._following is not None:
            self._following.cancel()
        self._pid = 0
        await self._away(pid, "end")

    async def _away(self, pid: int, do: str) -> None:
        if self._control is None:
            return
        with contextlib.ExitStack() as closing, contextlib.suppress(RunError):
            listeners = _borrowed(closing, pid, self.ports, *_OPEN) if pid else []
            await self._ask({"do": do}, [each for each, _ in listeners])

    def close(self) -> None:
        """Hang up: the detour ends at once, and with it every connection that came this way."""
        if self._following is not None:
            self._following.cancel()
        self._hang_up()

    async def _ended(self, process: asyncio.subprocess.Process, control: socket.socket) -> None:
        await process.wait()
        if control is self._control:
            self._hang_up()  # `_follow` begins anew

    def _hang_up(self) -> None:
        if self._control is not None:
            self._control.close()
            self._control = None
        self._pid = 0

    async def _ask(self, message: dict[str, Any], sockets: list[int] | None = None) -> None:
        async with self._busy:
            try:
                if self._control is None:
                    self._control, process = await _spawned()
                    asyncio.create_task(self._ended(process, self._control))  # noqa: RUF006  it ends with the process
                    if message["do"] != "delay" and self.seconds:  # the one before died
                        await self._told({"do": "delay", "seconds": self.seconds, "jitter": self.jitter}, [])
                told = await self._told(message, sockets or [])
            except (OSError, TimeoutError) as error:
                self._hang_up()
                raise RunError(f"{self.name}: the delay ended by itself ({error!r})") from None
        if not told["ok"]:
            raise RunError(f"{self.name} can't be delayed: {told['error']}")

    async def _told(self, message: dict[str, Any], sockets: list[int]) -> dict[str, Any]:
        """The detour's answer to this message; one to another, whose asker was cancelled, is passed over."""
        control = self._control
        assert control is not None
        self._number += 1
        socket.send_fds(control, [json.dumps({**message, "number": self._number}).encode()], sockets)
        async with asyncio.timeout(_PATIENCE):
            while answer := await asyncio.get_running_loop().sock_recv(control, 1 << 16):
                told: dict[str, Any] = json.loads(answer)
                if told["number"] == self._number:
                    return told
        raise ConnectionResetError("its process died")


async def _spawned() -> tuple[socket.socket, asyncio.subprocess.Process]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-S", str(Path(detour.__file__).parent), stdin=theirs.fileno(), stdout=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
    ours.setblocking(False)
    return ours, process


def _borrowed(
    closing: contextlib.ExitStack, pid: int, ports: frozenset[int], *states: tuple[str, str]
) -> list[tuple[int, tuple[str, str]]]:
    """Second handles of a process tree's sockets on these ports, of these transports and states, each with its
    place in the owner's table of files and what is there. Closed with `closing`."""
    wanted = _inodes(pid, ports, states)
    found = {}
    for owner in _tree(pid):
        try:
            handle = os.pidfd_open(owner)
        except ProcessLookupError:
            continue
        closing.callback(os.close, handle)
        for link, name in _files(owner):
            if name in wanted and name not in found:
                with contextlib.suppress(ProcessLookupError):
                    descriptor = _getfd(handle, int(link.rpartition("/")[2]))
                    closing.callback(os.close, descriptor)
                    found[name] = (descriptor, (link, name))
    return list(found.values())


def _tree(pid: int) -> Iterator[int]:
    import psutil

    with contextlib.suppress(psutil.Error):
        children = psutil.Process(pid).children(recursive=True)
        yield from (each.pid for each in reversed(children))
    yield pid


def _files(pid: int) -> Iterator[tuple[str, str]]:
    with contextlib.suppress(OSError):
        for entry in os.scandir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                yield entry.path, os.readlink(entry.path)  # noqa: PTH115  many, and often


def _inodes(pid: int, ports: frozenset[int], states: Iterable[tuple[str, str]]) -> set[str]:
    """What the sockets are called below /proc/<pid>/fd (proc(5))."""
    found = set()
    for transport, state in states:
        for table in (transport, f"{transport}6"):
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
                    fields = line.split()
                    if fields[3] == state and int(fields[1].rpartition(":")[2], 16) in ports:
                        found.add(f"socket:[{fields[9]}]")
    return found


def _getfd(pidfd: int, descriptor: int) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    got = libc.syscall(_PIDFD_GETFD, pidfd, descriptor, 0)
    if got >= 0:
        return int(got)
    number = ctypes.get_errno()
    if number in (errno.EPERM, errno.ENOSYS):
        raise RunError(
            "this machine doesn't let a process borrow its child's sockets (pidfd_getfd: "
            f"{os.strerror(number)}), so nothing can be delayed: in a container add --cap-add SYS_PTRACE; the kernel "
            "must be 5.6 or newer"
        )
    raise ProcessLookupError(os.strerror(number))
