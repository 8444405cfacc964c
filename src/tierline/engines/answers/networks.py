"""Addresses and networks: parsing, matching, and how far an answer for one address holds."""

from __future__ import annotations

import socket
from typing import Generic, TypeVar

T = TypeVar("T")

_BITS = {4: 32, 6: 128}


class NetworkError(ValueError):
    """A text that is no address or network."""


def address(text: str) -> tuple[int, int]:
    """`(4 or 6, number)`. An IPv4 address mapped into IPv6 counts as IPv4; a scope id is ignored."""
    text = text.partition("%")[0]
    try:
        if ":" not in text:
            return 4, int.from_bytes(socket.inet_pton(socket.AF_INET, text), "big")
        packed = socket.inet_pton(socket.AF_INET6, text)
    except (OSError, ValueError):
        raise NetworkError(f"{text!r} is not an address") from None
    if packed.startswith(b"\0" * 10 + b"\xff\xff"):
        return 4, int.from_bytes(packed[12:], "big")
    return 6, int.from_bytes(packed, "big")


def network(text: str) -> tuple[int, int, int]:
    """`(4 or 6, number, prefix length)` of `address/length`; an address alone is a network of one."""
    base, slash, length = text.partition("/")
    family, number = address(base)
    bits = _BITS[family]
    if slash and not (length.isdigit() and int(length) <= bits):
        raise NetworkError(f"{text!r} has no prefix length of 0 to {bits}")
    prefix = int(length) if slash else bits
    if number & ((1 << (bits - prefix)) - 1):
        raise NetworkError(f"{text!r} has bits set after its prefix")
    return family, number, prefix


def behind_loopback(net: str) -> str:
    """The loopback twin of an address or network of simulated clients (RFC 2544); nothing for any other.

    A name server that looks only at who asks (BIND) is asked from there: all of 127.0.0.0/8 is this machine.
    """
    first, _, rest = net.partition(".")
    return f"127.{rest}" if first == "198" and rest.partition(".")[0] in ("18", "19") else ""


class Networks:
    """A set of networks."""

    def __init__(self, texts: list[str]) -> None:
        self._networks = [network(text) for text in texts]

    def __contains__(self, text: str) -> bool:
        family, number = address(text)
        return any(
            family == f and number >> (_BITS[f] - p) == n >> (_BITS[f] - p) for f, n, p in self._networks
        )


class _Node(Generic[T]):
    __slots__ = ("child", "value")

    def __init__(self) -> None:
        self.child: list[_Node[T] | None] = [None, None]
        self.value: T | None = None


class Trie(Generic[T]):
    """Networks to values by longest prefix, one bit per step."""

    def __init__(self) -> None:
        self._roots: dict[int, _Node[T]] = {4: _Node(), 6: _Node()}

    def add(self, text: str, value: T) -> None:
        family, number, prefix = network(text)
        node = self._roots[family]
        for bit in range(_BITS[family] - 1, _BITS[family] - 1 - prefix, -1):
            side = number >> bit & 1
            below = node.child[side]
            if below is None:
                below = node.child[side] = _Node()
            node = below
        node.value = value

    def find(self, family: int, number: int) -> tuple[list[T], int]:
        """The values on the address's way, shortest prefix first, and how many leading bits decided.

        All addresses that share those bits find the same: that is the scope of RFC 7871, section 7.2.1.
        """
        node = self._roots[family]
        values: list[T] = []
        depth = 0
        for bit in range(_BITS[family] - 1, -1, -1):
            if node.value is not None:
                values.append(node.value)
            below = node.child[number >> bit & 1]
            if below is None:
                return values, depth + 1 if any(node.child) else depth
            node = below
            depth += 1
        if node.value is not None:
            values.append(node.value)
        return values, depth
