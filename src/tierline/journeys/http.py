"""A service over HTTP/1.1: kept-alive connections to several addresses, the nearest first.

An address that refuses or fails is left alone for a while, and the next one answers instead.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tierline.errors import StackError
from tierline.journeys.address import Address, trusting
from tierline.journeys.fault import DeadlineExceeded, ServiceError, Unreachable
from tierline.journeys.policy import bound
from tierline.journeys.service import IDEMPOTENT, Call, ServiceReply, Transport
from tierline.journeys.wire import Connection

_IDLE = 25.0
"""Below the keep-alive time of the servers that people run."""
_PAUSE = 0.5
_LONGEST_PAUSE = 15.0
_FAILURES = 3
_SWEEP = 0.02


class HTTP(Transport):
    """Pooled connections.

    addresses: `"127.0.0.1:8001"`, `"unix:/run/catalog.sock"`, a URL such as `"https://api.example.com/v2"`, whose path
    comes before that of each call, or `(address, distance)` pairs.
    most_connections: per address; further calls wait for a free one, within their deadline.
    connect_timeout: seconds, 1 by default, 5 with TLS. timeout: what a call may take at most, also where a deadline leaves more.
    ca_file: certificates (PEM) to trust instead of the system's; of the process's own, `SSL_CERT_FILE` counts.
    forward: the client's header fields that go with every call, such as `authorization` or `accept-language`.
    """

    def __init__(
        self,
        addresses: str | Iterable[str | tuple[str, int] | Address],
        *,
        name: str = "service",
        most_connections: int = 64,
        connect_timeout: float | None = None,
        timeout: str | float | None = None,
        ca_file: str | Path | None = None,
        forward: Iterable[str] = (),
    ) -> None:
        self._name = name
        if isinstance(forward, str):
            raise StackError(
                f"HTTP of {name!r}, forward: {forward!r} is one text; give a list: [{forward!r}]"
            )
        self.forward = tuple(forward)
        self._longest = None if timeout is None else bound(timeout, f"HTTP of {name!r}, timeout")
        self._ca_file = ca_file
        self._tls: ssl.SSLContext | None = None
        self._most = most_connections
        self._connect_timeout = connect_timeout
        self._addresses: list[Address] = []
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._next = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._flying: dict[asyncio.Future[ServiceReply], tuple[float, str, str]] = {}
        self._sweeper: asyncio.TimerHandle | None = None
        if ca_file is not None:
            self._tls = trusting(ca_file, f"HTTP of {name!r}")
        self.set_addresses([addresses] if isinstance(addresses, str) else addresses)

    def set_addresses(self, addresses: Iterable[str | tuple[str, int] | Address]) -> None:
        """Changes where the service is, while it is called; connections to addresses that stay are kept."""
        known = {address.where: address for address in self._addresses}
        found: list[Address] = []
        for given in addresses:
            address = (
                given
                if isinstance(given, Address)
                else Address(*((given,) if isinstance(given, str) else given))
            )
            kept = known.pop(address.where, None)
            if kept is not None:
                kept.distance = address.distance
                address = kept
            if address.secure and self._tls is None:
                self._tls = trusting(None, f"HTTP of {self._name!r}")
            address.start = f" HTTP/1.1\r\nhost: {address.authority or self._name}\r\n"
            found.append(address)
        for gone in known.values():
            gone.gone = True
            for connection in gone.idle:
                connection.close()
            gone.open -= len(gone.idle)
            gone.idle.clear()
        self._addresses = sorted(found, key=lambda address: address.distance)

    @property
    def name(self) -> str:
        """What journeys call it."""
        return self._name

    def __repr__(self) -> str:
        return f"HTTP({[address.where for address in self._addresses]}, name={self._name!r})"

    @property
    def tls(self) -> ssl.SSLContext | None:
        """What connections trust; None where there is no TLS."""
        return self._tls

    def nearest(self) -> Address:
        """The address that is asked next."""
        return self._pick(asyncio.get_running_loop())

    def refused(self, address: Address) -> bool:
        """Leaves an address alone that accepted no connection; whether there is another to ask."""
        loop = asyncio.get_running_loop()
        self._failed(loop, address, refused=True)
        return any(other.ejected_until <= loop.time() for other in self._addresses)

    @property
    def addresses(self) -> list[Address]:
        return list(self._addresses)

    async def close(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for address in self._addresses:
            for connection in address.idle:
                connection.close()
            address.open -= len(address.idle)
            address.idle.clear()

    def _forget(self, loop: asyncio.AbstractEventLoop) -> None:
        """Connections belong to the event loop that made them; a test may have had another."""
        self._loop = loop
        self._waiting.clear()
        self._flying.clear()
        self._sweeper = None
        for address in self._addresses:
            address.idle.clear()
            address.open = address.busy = 0

    async def request(self, call: Call) -> ServiceReply:
        method, target, body = call.method, call.target, call.body
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._forget(loop)
        pieces: list[bytes] = [b""]
        for key, value in call.headers:
            pieces += (key, b": ", value, b"\r\n")
        if body or method in ("POST", "PUT", "PATCH"):
            pieces.append(b"content-length: %d\r\n\r\n" % len(body))
            pieces.append(body)
        else:
            pieces.append(b"\r\n")
        within = call.within if self._longest is None else min(call.within, self._longest)
        ends = loop.time() + within
        while True:
            address = self._pick(loop)
            if address.idle:
                connection = address.idle.pop()
                if loop.time() - connection.idle_since > _IDLE or not connection.reusable:
                    address.open -= 1
                    connection.close()
                    continue
            elif address.open >= self._most:
                await self._turn(loop, ends)
                continue
            else:
                try:
                    connection = await self._connect(loop, address, ends)
                except Unreachable:
                    # It is left alone now. The next address is asked at once, as long as there is one.
                    now = loop.time()
                    if now < ends and any(other.ejected_until <= now for other in self._addresses):
                        continue
                    raise
            stale_maybe = connection.used
            address.busy += 1
            began = loop.time()
            pieces[0] = f"{method} {address.base}{target}{address.start}".encode("latin-1")
            waiter = connection.send(b"".join(pieces), call.most, method == "HEAD", loop)
            self._flying[waiter] = (ends, method, target)
            if self._sweeper is None:
                self._sweeper = loop.call_later(_SWEEP, self._sweep, loop)
            try:
                reply = await waiter
            except BaseException as error:
                self._drop(address, connection)
                if isinstance(error, DeadlineExceeded) or loop.time() >= ends - 0.002:
                    # Also when the part that asked was cancelled at its deadline: a hung instance.
                    self._failed(loop, address)
                elif isinstance(error, ServiceError):
                    if stale_maybe and method in IDEMPOTENT:
                        # Closed while it was idle, most likely: its successor says what is true.
                        continue
                    self._failed(loop, address)
                raise
            finally:
                del self._flying[waiter]
            address.busy -= 1
            now = loop.time()
            address.answered += 1
            address.took += now - began
            if reply.status in (502, 503, 504):
                self._failed(loop, address)
            elif address.failures or address.ejections:
                address.failures = address.ejections = 0
            if connection.reusable and not address.gone:
                connection.idle_since = now
                address.idle.append(connection)
            else:
                address.open -= 1
                connection.close()
            if self._waiting:
                self._wake()
            return reply

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        """Ends what is overdue. One timer for all calls: the exact moment is the part's own deadline."""
        now = loop.time()
        for waiter, (ends, method, target) in list(self._flying.items()):
            if ends <= now and not waiter.done():
                late = f"{self._name}: {method} {target} did not answer within its deadline"
                waiter.set_exception(DeadlineExceeded(late))
        self._sweeper = loop.call_later(_SWEEP, self._sweep, loop) if self._flying else None

    def _pick(self, loop: asyncio.AbstractEventLoop) -> Address:
        """The nearest address that is not left alone; the least busy among equals, in turns."""
        addresses = self._addresses
        if len(addresses) == 1:
            return addresses[0]
        if not addresses:
            raise Unreachable(self._name, "it has no instance")
        now = loop.time()
        usable = [address for address in addresses if address.ejected_until <= now]
        if not usable:
            # All are left alone: trying one is better than giving up.
            return min(addresses, key=lambda address: address.ejected_until)
        nearest = usable[0].distance
        near = [address for address in usable if address.distance == nearest]
        self._next += 1
        start = self._next % len(near)
        return min(near[start:] + near[:start], key=lambda address: address.busy)

    async def _turn(self, loop: asyncio.AbstractEventLoop, ends: float) -> None:
        """Waits until some connection is given back or dropped."""
        turn = loop.create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout_at(ends):
                await turn
        except TimeoutError:
            raise DeadlineExceeded(
                f"{self._name}: all {self._most} connections were busy until the deadline"
            ) from None
        except BaseException:
            if turn.done() and not turn.cancelled():
                self._wake()
            raise

    async def _connect(self, loop: asyncio.AbstractEventLoop, address: Address, ends: float) -> Connection:
        address.open += 1
        try:
            longest = self._connect_timeout or (5.0 if address.secure else 1.0)
            async with asyncio.timeout_at(min(ends, loop.time() + longest)):
                made: tuple[Any, Connection]
                if address.socket:
                    made = await loop.create_unix_connection(lambda: Connection(self._name), address.socket)
                else:
                    made = await loop.create_connection(
                        lambda: Connection(self._name),
                        address.host,
                        address.port,
                        ssl=self._tls if address.secure else None,
                        server_hostname=address.host if address.secure else None,
                    )
        except BaseException as error:
            address.open -= 1
            self._wake()
            if not isinstance(error, (OSError, TimeoutError)):
                raise
            self._failed(loop, address, refused=True)
            raise Unreachable(self._name, f"{address.where}: {self._said(error)}") from None
        return made[1]

    def _said(self, error: Exception) -> str:
        """Why there is no connection, and for a certificate what to do about it."""
        if isinstance(error, TimeoutError):
            return "did not accept a connection in time"
        if isinstance(error, ssl.SSLCertVerificationError):
            trusted = f"ca_file={self._ca_file}" if self._ca_file else "the system's authorities"
            return (
                f"its certificate is refused: {error.verify_message}; trusted are {trusted}, and the certificate must "
                "hold the name of the address; for an authority of your own: HTTP(…, ca_file=…)"
            )
        return str(error)

    def _drop(self, address: Address, connection: Connection) -> None:
        address.busy -= 1
        address.open -= 1
        connection.close()
        if self._waiting:
            self._wake()

    def _wake(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    def _failed(self, loop: asyncio.AbstractEventLoop, address: Address, *, refused: bool = False) -> None:
        address.failures += 1
        if refused or address.failures >= _FAILURES:
            address.failures = 0
            pause = min(_LONGEST_PAUSE, _PAUSE * 2**address.ejections)
            address.ejections += 1
            address.ejected_until = loop.time() + pause
            for connection in address.idle:
                connection.close()
            address.open -= len(address.idle)
            address.idle.clear()
