"""Two sockets on one address, and a filter that chooses between them (socket(7), SO_ATTACH_REUSEPORT_CBPF).

For TCP the kernel asks it for each new connection, for UDP for each datagram.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import struct
from collections.abc import Sequence

_SO_ATTACH_REUSEPORT_CBPF, _SO_DETACH_REUSEPORT_BPF = 51, 68
MARK = 0x1C
"""Type of service (ip(7), IP_TOS) of our own traffic to the part: nobody else uses it on loopback."""


def beside(group: Sequence[socket.socket]) -> socket.socket:
    """A second socket on the address of a part's own ones, which must be all that it has there.

    Sockets share an address only when they are the same user's.
    """
    first = group[0]
    for sock in group:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    owner, before = os.fstat(first.fileno()).st_uid, os.geteuid()
    if before == 0 and owner != before:
        os.seteuid(owner)
    try:
        mine = socket.socket(first.family, first.type)
    finally:
        if os.geteuid() != before:
            os.seteuid(before)
    try:
        mine.setblocking(False)
        if first.type == socket.SOCK_STREAM:  # for datagrams it would mean something else
            mine.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        mine.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if first.family == socket.AF_INET6:
            only = first.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
            mine.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
        mine.bind(first.getsockname())
        if first.type == socket.SOCK_STREAM:
            mine.listen(1024)
        choose(mine, len(group), divert=True)
    except OSError:
        mine.close()
        raise
    return mine


def choose(mine: socket.socket, theirs: int, *, divert: bool) -> None:
    """Tell the kernel who gets what is new: one of `theirs` sockets, or ours, which is the last.

    The filter is classic BPF (the kernel's networking/filter documentation): the packet's type of service says
    whether it is ours to the part; among several sockets of the part chance decides.
    """
    network, random_word = 0xFFF00000, 0xFFFFF000 + 56
    to_part = [(0x20, 0, 0, random_word), (0x94, 0, 0, theirs), (0x16, 0, 0, 0)]
    ours = [(0x30, 0, 0, network + 1), (0x15, 1, 0, MARK), (0x06, 0, 0, theirs)]
    program = [*ours, *to_part] if divert else to_part
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in program))
    option = struct.pack("HL", len(program), ctypes.addressof(code))
    mine.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_REUSEPORT_CBPF, option)


def forget(theirs: socket.socket) -> None:
    """The kernel chooses as it did before."""
    with contextlib.suppress(OSError):
        theirs.setsockopt(socket.SOL_SOCKET, _SO_DETACH_REUSEPORT_BPF, 0)


def target(mine: socket.socket) -> tuple[str, int]:
    """Where the part itself is reached."""
    host, port = mine.getsockname()[:2]
    return (host if mine.family == socket.AF_INET and host != "0.0.0.0" else "127.0.0.1", port)  # noqa: S104


def towards(kind: int, client: str) -> socket.socket:
    """A socket of ours to the part, from the client's own loopback address: parts tell regions of clients by it."""
    sock = socket.socket(socket.AF_INET, kind)
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, MARK)
    try:
        sock.bind((client if client.startswith("127.") else "127.0.0.1", 0))
    except OSError:
        sock.close()
        raise
    return sock
