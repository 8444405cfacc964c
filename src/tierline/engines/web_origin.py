"""Whether a request to a page or intake on loopback was made by a web page of somebody else.

A browser sends requests of any page to 127.0.0.1: across origins with an `Origin`, and, once a name of the page's own
resolves to 127.0.0.1 (DNS rebinding), with that name as `Host`.
"""

from __future__ import annotations

from collections.abc import Iterable

_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


def foreign_host(hosts: Iterable[str], own: str, port: int) -> bool:
    """Whether one of a request's `Host` fields names another server. own: the address it listens on."""
    names = {*_LOOPBACK, own.lower()}
    allowed = {*names, *(f"{name}:{port}" for name in names)}
    return any(host.strip().lower() not in allowed for host in hosts)
