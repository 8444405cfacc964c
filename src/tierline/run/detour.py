"""The detour that a delayed part's connections take: `python -I -S detour.py`, one process per part.

Standard input is a socket to the supervisor (run/delay.py): one JSON message per packet, open sockets with it.

    enter   new connections come here instead of to the part: a second socket listens on the part's own address, and
            a filter that the kernel asks for each new connection (socket(7), SO_ATTACH_REUSEPORT_CBPF) chooses this
            one, unless the connection carries our mark; ours to the part do
    hold    connections that the part had before: what arrives on them is announced to the part later (socket(7),
            SO_RCVLOWAT), so nobody has to connect anew
    delay   how long, from now on; 0 passes on at once
    leave   new connections go to the part again; those that came this way stay
    end     the last: nothing waits any more, and this process ends with the last connection that came this way

Nothing is ever refused or cut when a delay begins or ends. When the part dies, its connections and the second
socket end with it, so that it finds its port free when it starts again.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import json
import os
import random
import socket
import struct
import sys
import termios
import time
from collections import deque
from typing import Any

_SO_ATTACH_REUSEPORT_CBPF, _SO_DETACH_REUSEPORT_BPF = 51, 68
_PR_SET_TIMERSLACK = 29
_MARK = 0x1C
"""Type of service (ip(7), IP_TOS) of our own connections to the part: nobody else uses it on loopback."""
_MOST_HELD = 1 << 20
"""Bytes on their way through one connection, at most: then its sender waits, as TCP has it."""
_TICK = 0.004
"""Seconds between two looks at connections that the part had before."""
_QUIET = 1 << 18
"""Bytes that a held connection must have before the part is told of them."""
_REARM = 0.02
"""Seconds after which a connection is held again whose part was told and doesn't read."""
_EAGER = 0.003
"""Seconds for which we look again and again whether the part has read: its next request may come at once."""
_NAP = 0.00003
"""Seconds between those looks. Who naps is woken sooner on a busy machine than who spins."""
_PACKET = 1 << 20


class Pace:
    """How long what arrives waits, seconds, give or take the jitter."""

    def __init__(self) -> None:
        self.seconds = self.jitter = 0.0

    def draw(self) -> float:
        return max(0.0, self.seconds + self.jitter * random.uniform(-1, 1))  # noqa: S311


class Through(asyncio.Protocol):
    """One connection by way of the detour: `Through` faces the client, `_Back` the part."""

    def __init__(self, detour: Detour, address: tuple[str, int]) -> None:
        self._detour, self._address = detour, address
        self._waiting: deque[tuple[float, bytes]] = deque()
        self._held = 0
        self._last = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.client: asyncio.Transport
        self.part: asyncio.Transport | None = None
        self.name: tuple[str, int] | None = None
        """Our side of the connection to the part."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.client = transport  # type: ignore[assignment]
        self._detour.through.add(self)
        self._detour.spawn(self._connect())

    async def _connect(self) -> None:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        loop = asyncio.get_running_loop()
        try:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, _MARK)
            sock.bind(("127.0.0.1", 0))  # its name is known before the part can see it
            self.name = sock.getsockname()
            async with asyncio.timeout(5):
                await loop.sock_connect(sock, self._address)
                await loop.create_connection(lambda: _Back(self), sock=sock)
        except (OSError, TimeoutError):
            sock.close()
            self.client.abort()
            return
        if self.client.is_closing() and self.part is not None:
            self.part.abort()
        self._flush()

    def data_received(self, data: bytes) -> None:
        self._put(data)

    def eof_received(self) -> bool:
        self._put(b"")  # the end waits its turn
        return True

    def _put(self, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        # What comes later never overtakes.
        self._last = max(self._last, loop.time() + self._detour.pace.draw())
        self._waiting.append((self._last, data))
        self._held += len(data)
        if self._held > _MOST_HELD:
            self.client.pause_reading()
        if self.part is not None and len(self._waiting) == 1:
            self._flush()

    def hurry(self) -> None:
        """The delay was changed: what waits goes at once when there is none any more."""
        if not self._detour.pace.seconds:
            self._last = 0.0
            self._waiting = deque((0.0, data) for _, data in self._waiting)
            self._flush()

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.part is None:
            return
        loop = asyncio.get_running_loop()
        while self._waiting and self._waiting[0][0] <= loop.time():
            _, data = self._waiting.popleft()
            self._held -= len(data)
            if data:
                self.part.write(data)
            elif self.part.can_write_eof():
                self.part.write_eof()
        if self._held <= _MOST_HELD // 2 and not self.client.is_closing():
            self.client.resume_reading()
        if self._waiting:
            self._timer = loop.call_at(self._waiting[0][0], self._flush)

    def pause_writing(self) -> None:
        if self.part is not None:
            self.part.pause_reading()

    def resume_writing(self) -> None:
        if self.part is not None:
            self.part.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        self._detour.gone(self)
        if self._timer is not None:
            self._timer.cancel()
        if self.part is not None and not self.part.is_closing():
            if error is None:
                self.part.close()
            else:
                self.part.abort()


class _Back(asyncio.Protocol):
    """The part's side of a connection."""

    def __init__(self, front: Through) -> None:
        self._front = front

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._front.part = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self._front.client.write(data)

    def eof_received(self) -> bool:
        if self._front.client.can_write_eof() and not self._front.client.is_closing():
            self._front.client.write_eof()
        return True

    def pause_writing(self) -> None:
        self._front.client.pause_reading()

    def resume_writing(self) -> None:
        if not self._front.client.is_closing():
            self._front.client.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        if error is None:
            self._front.client.close()
        else:
            self._front.client.abort()


class Held:
    """A connection that the part had before. Ours is a second handle of the part's own socket."""

    def __init__(self, sock: socket.socket, link: str, name: str) -> None:
        self.sock = sock
        self.name = name
        self._link = link
        self._due = 0.0
        self.told = 0.0
        self._quiet(True)

    def _quiet(self, quiet: bool) -> None:
        with contextlib.suppress(OSError):
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, _QUIET if quiet else 1)

    def look(self, now: float, pace: Pace) -> bool:
        """False when the connection has ended: the part has closed its own handle."""
        try:
            if os.readlink(self._link) != self.name:  # noqa: PTH115  many, and often
                return False
        except OSError:
            return False
        if self.told:  # the part was told: hold what comes next
            if not self._pending() or now - self.told > _REARM:
                self.told = 0.0
                self._quiet(True)
        elif self._due:
            if now >= self._due:
                self._due, self.told = 0.0, now
                self._quiet(False)
        elif self._pending():
            self._due = now + pace.draw() - _TICK / 2
        return True

    def _pending(self) -> int:
        with contextlib.suppress(OSError):
            found: int = struct.unpack("i", fcntl.ioctl(self.sock, termios.FIONREAD, bytes(4)))[0]
            return found
        return 0

    def release(self) -> None:
        self._quiet(False)
        self.sock.close()


class Detour:
    """See the module."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self.pace = Pace()
        self.through: set[Through] = set()
        self._listeners: dict[socket.socket, tuple[tuple[str, int], int]] = {}
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
        if self._ending and not self.through:
            self._end.set()

    def do_end(self, _: dict[str, Any], descriptors: list[int]) -> None:
        self.do_leave({}, descriptors)
        self.do_delay({"seconds": 0.0, "jitter": 0.0}, [])
        self._ending = True
        # Who was accepted a moment ago isn't counted yet.
        asyncio.get_running_loop().call_later(0.5, self._over)

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
        for each in list(self.through):
            each.hurry()

    def do_enter(self, message: dict[str, Any], descriptors: list[int]) -> None:
        """descriptors: the part's listening sockets, which are let go again at once: one that we kept would go on
        listening when the part has died."""
        theirs = [socket.socket(fileno=each) for each in descriptors]
        self._ending = False
        self._watch(message["pid"])
        here = {each.getsockname() for each in self._listeners}
        groups: dict[Any, list[socket.socket]] = {}
        for sock in theirs:
            if sock.getsockname() not in here:  # the part's successor has the same sockets
                groups.setdefault((sock.family, sock.getsockname()), []).append(sock)
        try:
            for group in groups.values():
                self._divert(group)
        except OSError:
            self._close(theirs)
            raise
        finally:
            for sock in theirs:
                sock.close()

    def _divert(self, group: list[socket.socket]) -> None:
        first = group[0]
        for sock in group:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        owner = os.fstat(first.fileno()).st_uid
        before = os.geteuid()
        if before == 0 and owner != before:
            os.seteuid(owner)  # sockets share an address only when they are the same user's
        try:
            mine = socket.socket(first.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        finally:
            if os.geteuid() != before:
                os.seteuid(before)
        mine.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        mine.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if first.family == socket.AF_INET6:
            only = first.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
            mine.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
        mine.bind(first.getsockname())
        mine.listen(1024)
        _choose(mine, len(group), divert=True)
        host, port = first.getsockname()[:2]
        target = (host if first.family == socket.AF_INET and host != "0.0.0.0" else "127.0.0.1", port)  # noqa: S104
        self._listeners[mine] = (target, len(group))
        asyncio.get_running_loop().add_reader(mine, self._accept, mine, target)

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
            told = [each.told for each in self._held if each.told]
            eager = any(now - each < _EAGER for each in told)
            if eager:
                time.sleep(_NAP)  # noqa: ASYNC251  asyncio's naps are no shorter than a millisecond
            await asyncio.sleep(0 if eager else _EAGER if told else _TICK)
        self._ticking = False

    def do_leave(self, _: dict[str, Any], descriptors: list[int]) -> None:
        """descriptors: the part's listening sockets again, when it lives."""
        self._release()
        self._close([socket.socket(fileno=each) for each in descriptors])

    def _release(self) -> None:
        for each in self._held:
            each.release()
        self._held.clear()

    def _close(self, theirs: list[socket.socket]) -> None:
        for listener, (target, count) in self._listeners.items():
            with contextlib.suppress(OSError):
                _choose(listener, count, divert=False)
            self._accept(listener, target)  # who came before
            asyncio.get_running_loop().remove_reader(listener)
            listener.close()
        self._listeners.clear()
        for sock in theirs:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, _SO_DETACH_REUSEPORT_BPF, 0)
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
        for each in list(self.through):
            each.client.abort()


def _choose(listener: socket.socket, theirs: int, *, divert: bool) -> None:
    """Tell the kernel who gets a new connection: of `theirs` sockets and ours, which is the last.

    The filter is classic BPF (the kernel's networking/filter documentation): the packet's type of service says
    whether the connection is ours to the part; among several sockets of the part chance decides.
    """
    network, random_word = 0xFFF00000, 0xFFFFF000 + 56
    to_part = [(0x20, 0, 0, random_word), (0x94, 0, 0, theirs), (0x16, 0, 0, 0)]
    ours = [(0x30, 0, 0, network + 1), (0x15, 1, 0, _MARK), (0x06, 0, 0, theirs)]
    program = [*ours, *to_part] if divert else to_part
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in program))
    listener.setsockopt(
        socket.SOL_SOCKET,
        _SO_ATTACH_REUSEPORT_CBPF,
        struct.pack("HL", len(program), ctypes.addressof(code)),
    )


def main() -> None:
    control = socket.socket(fileno=os.dup(sys.stdin.fileno()))
    control.setblocking(False)
    ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)  # short naps are to be short
    with contextlib.suppress(OSError):
        os.nice(-10)

    async def run() -> None:
        await Detour(control).serve()

    asyncio.run(run())


if __name__ == "__main__":
    main()
