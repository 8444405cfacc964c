"""Health checks: each target asked over and over, in the server's own loop, none waiting for another."""

from __future__ import annotations

import errno
import socket
import sys
from collections.abc import Callable, Generator
from functools import partial
from os import urandom
from time import time
from typing import TYPE_CHECKING, Any

from tierline.engines.answers.config import Check, Config, ConfigError
from tierline.engines.answers.loop import IN, OUT, Loop, Timer
from tierline.engines.answers.networks import NetworkError, address

if TYPE_CHECKING:
    import ssl

_HEAD = 16_384


class Unhealthy(Exception):
    """Why a check failed, in a few words."""


Waiting = Generator[tuple[socket.socket, int], None, None]
"""Yields what it waits for; returns when the target is healthy; raises Unhealthy or OSError."""


def attempt(check: Check, opened: list[socket.socket]) -> Waiting:
    """One check, from connecting to the answer. Its sockets go into `opened`, for the caller to close."""
    family = socket.AF_INET6 if ":" in check.host else socket.AF_INET
    link = socket.socket(family, socket.SOCK_STREAM)
    opened.append(link)
    link.setblocking(False)
    code = link.connect_ex((check.host, check.port))
    if code == errno.EINPROGRESS:
        yield link, OUT
        code = link.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        raise Unhealthy(errno.errorcode.get(code, str(code)))
    if check.kind == "tcp":
        return
    if check.kind == "https":
        link = yield from _secure(check, link, opened)
    name = check.name or (f"[{check.host}]" if ":" in check.host else check.host)
    rest = memoryview(
        f"GET {check.path} HTTP/1.1\r\nHost: {name}\r\nUser-Agent: tierline-health\r\n"
        # A trace of its own that nobody samples: checks are counted, but are nobody's trip.
        f"traceparent: 00-{urandom(16).hex()}-{urandom(8).hex()}-00\r\n"
        "Connection: close\r\n\r\n".encode()
    )
    while rest:
        sent = yield from _again(link, OUT, partial(link.send, rest))
        rest = rest[sent:]
    head = b""
    while b"\r\n" not in head and len(head) < _HEAD:
        piece = yield from _again(link, IN, partial(link.recv, 4096))
        if not piece:
            raise Unhealthy("closed before an answer")
        head += piece
    words = head.split(b"\r\n", 1)[0].split()
    if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
        raise Unhealthy("no HTTP answer")
    if not 200 <= int(words[1]) < 400:
        raise Unhealthy(f"status {int(words[1])}")


def _secure(
    check: Check, plain: socket.socket, opened: list[socket.socket]
) -> Generator[tuple[socket.socket, int], None, ssl.SSLSocket]:
    """A TLS connection over a plain one. `ssl` is only loaded where there is something to check with it."""
    import ssl

    global _context
    if _context is None:
        _context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        _context.check_hostname = False
        _context.verify_mode = ssl.CERT_NONE
        _context.set_alpn_protocols(["http/1.1"])
    link = _context.wrap_socket(
        plain, server_hostname=check.name or check.host, do_handshake_on_connect=False
    )
    opened.append(link)
    yield from _again(link, OUT, link.do_handshake)
    return link


_context: ssl.SSLContext | None = None


def _again(
    link: socket.socket, events: int, what: Callable[[], Any]
) -> Generator[tuple[socket.socket, int], None, Any]:
    """Calls until it does not have to wait, and yields what it waits for in between."""
    while True:
        try:
            return what()
        except BlockingIOError:
            yield link, events
        except OSError as error:
            kind = type(error).__name__
            if kind not in ("SSLWantReadError", "SSLWantWriteError"):
                raise
            yield link, IN if kind == "SSLWantReadError" else OUT


class Watch:
    """One target and its check: healthy until `threshold` failures in a row say otherwise."""

    def __init__(self, loop: Loop, name: str, check: Check | None, changed: Callable[[], None]) -> None:
        self.check = check
        self.healthy = True
        self._loop = loop
        self._name = name
        self._changed = changed
        self._since = time()
        self._checks = self._failures = self._row = 0
        self._reason = ""
        self._timer: Timer | None = None
        self._deadline: Timer | None = None
        self._run: Waiting | None = None
        self._opened: list[socket.socket] = []
        self._waits = -1
        if check is not None:
            self._timer = loop.after(0, self._begin)

    def data(self) -> dict[str, Any]:
        return {
            "healthy": self.healthy,
            "since": self._since,
            "checks": self._checks,
            "failures": self._failures,
            "reason": self._reason,
        }

    def stop(self) -> None:
        for timer in (self._timer, self._deadline):
            if timer is not None:
                timer.cancel()
        self._clear()

    def _begin(self) -> None:
        assert self.check is not None
        self._deadline = self._loop.after(
            self.check.timeout,
            lambda: self._done(f"no answer within {self.check.timeout:g} s" if self.check else ""),
        )
        self._run = attempt(self.check, self._opened)
        self._go(0)

    def _go(self, _events: int) -> None:
        """Takes the check as far as it gets without waiting."""
        if self._waits >= 0:
            self._loop.remove(self._waits)
            self._waits = -1
        if self._run is None:
            return
        try:
            link, events = next(self._run)
        except StopIteration:
            self._done("")
        except Unhealthy as error:
            self._done(str(error))
        except (OSError, ValueError) as error:
            self._done(getattr(error, "strerror", None) or str(error) or type(error).__name__)
        else:
            self._waits = link.fileno()
            self._loop.add(self._waits, events, self._go)

    def _clear(self) -> None:
        if self._waits >= 0:
            self._loop.remove(self._waits)
            self._waits = -1
        self._run = None
        for link in self._opened:
            link.close()
        self._opened.clear()

    def _done(self, reason: str) -> None:
        assert self.check is not None
        if self._deadline is not None:
            self._deadline.cancel()
        self._clear()
        self._checks += 1
        self._failures += bool(reason)
        self._reason = reason
        self._row = self._row + 1 if bool(reason) == self.healthy else 0
        if self._row >= (self.check.threshold if self.healthy else self.check.rise):
            self.healthy = not self.healthy
            self._row = 0
            self._since = time()
            print(
                f"{self._name} is {'up' if self.healthy else f'down: {reason}'}", file=sys.stderr, flush=True
            )
            self._changed()
        self._timer = self._loop.after(self.check.interval, self._begin)


class Health:
    """All targets. What is known of one stays when a new configuration has the same check for it."""

    def __init__(self, loop: Loop, changed: Callable[[], None]) -> None:
        self._loop = loop
        self._changed = changed
        self.watches: dict[tuple[str, str], Watch] = {}
        self._left_out: set[tuple[str, str]] = set()

    def healthy(self, place: str, target: str) -> bool:
        if (place, target) in self._left_out:
            return False
        watch = self.watches.get((place, target))
        return watch is None or watch.healthy

    def use(self, config: Config) -> None:
        """Watches exactly the targets of a configuration."""
        self._left_out = {
            (place, target.name)
            for place, at in config.places.items()
            for target in at.targets
            if target.left_out
        }
        wanted = {
            (place, target.name): target.check for place, at in config.places.items() for target in at.targets
        }
        for key, watch in list(self.watches.items()):
            if key not in wanted or wanted[key] != watch.check:
                watch.stop()
                del self.watches[key]
        for key, check in wanted.items():
            if key not in self.watches:
                self.watches[key] = Watch(self._loop, "/".join(key), check, self._changed)

    def data(self) -> dict[str, Any]:
        return {"/".join(key): watch.data() for key, watch in self.watches.items()}

    def stop(self) -> None:
        for watch in self.watches.values():
            watch.stop()


def verify(config: Config) -> None:
    """Raises ConfigError for a check that can't be run, and for two targets of one name in a place."""
    for name, place in config.places.items():
        names = [target.name for target in place.targets]
        if not names:
            raise ConfigError(f"place {name} has no targets")
        if len(set(names)) < len(names):
            raise ConfigError(f"place {name} has two targets of one name")
        for target in place.targets:
            check = target.check
            if check is None:
                continue
            where = f"check of {name}/{target.name}"
            try:
                address(check.host)
            except NetworkError as error:
                raise ConfigError(f"{where}: {error}") from None
            if not 0 < check.port < 65536:
                raise ConfigError(f"{where}: port {check.port} is not in 1 to 65535")
            if check.interval <= 0 or check.timeout <= 0 or check.threshold < 1 or check.rise < 1:
                raise ConfigError(f"{where}: interval, timeout, threshold and rise are above 0")
            if not check.path.startswith("/") or not check.path.isprintable() or " " in check.path:
                raise ConfigError(f"{where}: path {check.path!r} is not a path of a URL")
            if not check.name.isprintable() or " " in check.name:
                raise ConfigError(f"{where}: name {check.name!r} is not a host name")
