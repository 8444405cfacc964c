"""The detour's end of the line to the supervisor: what it is told, and which sockets it has."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sys
from typing import Any

from tierline.run.detour import reuseport
from tierline.run.detour.datagrams import Datagrams
from tierline.run.detour.held import Held
from tierline.run.detour.pace import Pace
from tierline.run.detour.through import Through

_TICK = 0.004
"""Seconds between two looks at connections that the part had before."""
_EAGER = 0.001
"""And while a part has something to read or to answer."""
_PACKET = 1 << 20
_LINGER = 1.0
"""Seconds for which answers to datagrams that came this way are still brought back when the delay is over."""


class Detour:
    """See the module."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self.pace = Pace()
        self.through: set[Through] = set()
        self._listeners: dict[socket.socket, int] = {}
        """Ours for connections, each with how many the part has on the same address; for datagrams, too:"""
        self._datagrams: dict[Datagrams, int] = {}
        self._lingering: dict[Datagrams, asyncio.TimerHandle] = {}
        """Those that only bring answers back, and when no longer."""
        self._held: list[Held] = []
        self._part = -1
        self._tasks: set[asyncio.Task[Any]] = set()
        self._ticking = False
        self._ending = False
        self._end = asyncio.Event()

    def spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def gone(self, each: Through) -> None:
        self.through.discard(each)
        self._over()

    def _over(self) -> None:
        if self._ending and not self.through and not self._lingering:
            self._end.set()

    def do_end(self, _: dict[str, Any], descriptors: list[int]) -> None:
        loop, answering = asyncio.get_running_loop(), dict(self._datagrams)
        for each, count in answering.items():
            reuseport.choose(each.mine, count, divert=False)
            each.receive()  # who came before
            self._lingering[each] = loop.call_later(_LINGER, self._lingered, each)
        self._datagrams.clear()
        self.do_leave({}, descriptors)
        self.do_delay({"seconds": 0.0, "jitter": 0.0}, [])
        for each in answering:
            each.hurry()
        self._ending = True
        # Who was accepted a moment ago isn't counted yet.
        loop.call_later(0.5, self._over)

    def _lingered(self, each: Datagrams) -> None:
        self._lingering.pop(each).cancel()
        each.close()
        self._over()

    async def serve(self) -> None:
        """Until the supervisor hangs up."""
        asyncio.get_running_loop().add_reader(self._control, self._message)
        await self._end.wait()

    def _message(self) -> None:
        try:
            data, descriptors, _, _ = socket.recv_fds(self._control, _PACKET, 250)
        except BlockingIOError:
            return
        if not data:
            self._release()
            self._end.set()
            return
        message = json.loads(data)
        answer: dict[str, Any] = {"ok": True}
        try:
            getattr(self, f"do_{message['do']}")(message, descriptors)
        except OSError as error:
            answer = {"ok": False, "error": error.strerror or str(error)}
        answer["number"] = message["number"]
        self._control.send(json.dumps(answer).encode())

    def do_delay(self, message: dict[str, Any], _: list[int]) -> None:
        self.pace.seconds, self.pace.jitter = message["seconds"], message["jitter"]
        if self.pace.seconds:  # it begins again: `enter` follows
            self._ending = False
        for each in list(self.through):
            each.hurry()
        for datagrams in self._datagrams:
            datagrams.hurry()

    def do_enter(self, message: dict[str, Any], descriptors: list[int]) -> None:
        """descriptors: the part's sockets that listen or get datagrams. They are let go again at once: one that we
        kept would go on listening when the part has died."""
        theirs = [socket.socket(fileno=each) for each in descriptors]
        self._ending = False
        self._watch(message["pid"])
        here = {(each.type, each.getsockname()) for each in self._all()}
        groups: dict[Any, list[socket.socket]] = {}
        for sock in theirs:
            if (sock.type, sock.getsockname()) not in here:  # the part's successor has the same sockets
                groups.setdefault((sock.family, sock.type, sock.getsockname()), []).append(sock)
        try:
            for group in groups.values():
                if (again := self._again(group)) is not None:
                    self._datagrams[again] = len(group)
                    continue
                mine = reuseport.beside(group)
                if mine.type == socket.SOCK_DGRAM:
                    self._datagrams[Datagrams(mine, self.pace)] = len(group)
                else:
                    self._listeners[mine] = len(group)
                    asyncio.get_running_loop().add_reader(mine, self._accept, mine, reuseport.target(mine))
        except OSError:
            self._close(theirs)
            raise
        finally:
            for sock in theirs:
                sock.close()

    def _again(self, group: list[socket.socket]) -> Datagrams | None:
        """What still brings answers back from there takes the way there again, too."""
        for each in self._lingering:
            if group[0].type == socket.SOCK_DGRAM and each.mine.getsockname() == group[0].getsockname():
                self._lingering.pop(each).cancel()
                reuseport.choose(each.mine, len(group), divert=True)
                return each
        return None

    def _all(self) -> list[socket.socket]:
        return [*self._listeners, *(each.mine for each in self._datagrams)]

    def _accept(self, listener: socket.socket, target: tuple[str, int]) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            loop = asyncio.get_running_loop()
            self.spawn(loop.connect_accepted_socket(lambda: Through(self, target), sock))

    def do_hold(self, message: dict[str, Any], descriptors: list[int]) -> None:
        """descriptors: connections of the part, each with its place in the part's table of files."""
        ours = {each.name for each in self.through}
        for descriptor, (link, name) in zip(descriptors, message["links"], strict=True):
            sock = socket.socket(fileno=descriptor)
            try:
                known = sock.getpeername()[:2] in ours or name in {each.name for each in self._held}
            except OSError:  # it has ended meanwhile
                known = True
            if known:
                sock.close()
            else:
                self._held.append(Held(sock, link, name))
        if self._held and not self._ticking:
            self._ticking = True
            self.spawn(self._tick())

    async def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        while self._held:
            now = loop.time()
            for each in [each for each in self._held if not each.look(now, self.pace)]:
                self._held.remove(each)
                each.sock.close()
            await asyncio.sleep(_EAGER if any(each.told for each in self._held) else _TICK)
        self._ticking = False

    def do_leave(self, _: dict[str, Any], descriptors: list[int]) -> None:
        """descriptors: the part's open sockets again, when it lives."""
        self._release()
        self._close([socket.socket(fileno=each) for each in descriptors])

    def _release(self) -> None:
        for each in self._held:
            each.release()
        self._held.clear()

    def _close(self, theirs: list[socket.socket]) -> None:
        for listener, count in self._listeners.items():
            with contextlib.suppress(OSError):
                reuseport.choose(listener, count, divert=False)
            self._accept(listener, reuseport.target(listener))  # who came before
            asyncio.get_running_loop().remove_reader(listener)
            listener.close()
        self._listeners.clear()
        for each in self._datagrams:
            each.close()
        self._datagrams.clear()
        for sock in theirs:
            if sock.type == socket.SOCK_STREAM:  # of datagrams some may still be on their way back
                reuseport.forget(sock)
            sock.close()

    def _watch(self, pid: int) -> None:
        """Know at once when the part dies."""
        loop = asyncio.get_running_loop()
        if self._part >= 0:
            loop.remove_reader(self._part)
            os.close(self._part)
        self._part = os.pidfd_open(pid)
        loop.add_reader(self._part, self._died)

    def _died(self) -> None:
        asyncio.get_running_loop().remove_reader(self._part)
        os.close(self._part)
        self._part = -1
        self._release()
        self._close([])
        for datagrams in list(self._lingering):
            self._lingered(datagrams)
        for each in list(self.through):
            each.client.abort()


def main() -> None:
    control = socket.socket(fileno=os.dup(sys.stdin.fileno()))
    control.setblocking(False)
    with contextlib.suppress(OSError):
        os.nice(-10)

    async def run() -> None:
        await Detour(control).serve()

    asyncio.run(run())
