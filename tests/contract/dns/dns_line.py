"""The name service of a real plan, running; the places that it answers with are tiny TLS servers."""

from __future__ import annotations

import asyncio
import signal
import socket
import ssl
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rdatatype

sys.path.insert(0, str(Path(__file__).parents[1]))
from edge import Line, _give

from tierline.engines.answers.networks import behind_loopback
from tierline.lineups import EMBEDDED
from tierline.plan.resolve import resolve
from tierline.run.line import engine
from tierline.run.probe import answers
from tierline.run.state import write
from tierline.stack import Stack
from tierline.tiers.dns.common import places
from waiting import PATIENCE, eventually


def asked(
    query: dns.message.Message, host: str, port: int, *, tcp: bool = False, source: str | None = None
) -> dns.message.Message:
    """The answer. A datagram that gets lost, on a busy machine for example, is sent again, as every resolver does."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            if tcp:
                return dns.query.tcp(query, host, port=port, timeout=PATIENCE, source=source)
            return dns.query.udp(query, host, port=port, timeout=5, source=source)
        except dns.exception.Timeout:
            if time.monotonic() > until:
                raise


class DNSLine(Line):
    """One name service and its places."""

    def __init__(self, stack: Stack, system: str) -> None:
        super().__init__(stack, "dns", {"dns": system})
        self.places = Places(self.context.certificate("cinema.test"))
        self.host, self.port = self.addresses[("dns", "dns")]
        self.where = {
            role.region: self.addresses[(role.id, "https")][0]
            for role in self.plan.roles.values()
            if role.id in self.plan.entry
        }
        """Region → the address that its place is answered with."""

    def start(self) -> DNSLine:
        for role in self.plan.entry:
            self.places.start(self.plan.roles[role].region, *self.addresses[(role, "https")])
        super().start()
        self.ready()
        return self

    def ready(self) -> None:
        """As the supervisor knows it."""
        probe = self.processes["dns"].ready
        self.until(lambda: asyncio.run(answers(probe)))

    def close(self) -> None:
        self.places.close()
        super().close()

    def query(
        self, name: str = "cinema.test", kind: str = "A", *, region: str = "", subnet: str = "", **more: Any
    ) -> dns.message.Message:
        options: list[dns.edns.Option] = []
        if region or subnet:
            address, _, length = (subnet or f"{places.client(region)}/24").partition("/")
            options.append(dns.edns.ECSOption(address, int(length)))
        settings = {"use_edns": 0, "options": options} if options else {"use_edns": 0}
        return dns.message.make_query(name, kind, **{**settings, **more})

    def ask(
        self, name: str = "cinema.test", kind: str = "A", *, tcp: bool = False, region: str = "", **more: Any
    ) -> dns.message.Message:
        """As a client in the region, which is told both by the subnet and by the address that asks."""
        query = self.query(name, kind, region=region, **more)
        source = behind_loopback(places.client(region)) if region else None
        answer = asked(query, self.host, self.port, tcp=tcp, source=source)
        assert query.is_response(answer)
        return answer

    def addresses_of(self, region: str = "", name: str = "cinema.test", kind: str = "A") -> list[str]:
        answer = self.ask(name, kind, region=region)
        return sorted(item.to_text() for rrset in answer.answer for item in rrset if rrset.rdtype in (1, 28))

    def places_of(self, region: str = "", times: int = 1) -> list[str]:
        """The regions whose places are answered, of several questions."""
        regions = {address: where for where, address in self.where.items()}
        return [regions[one] for _ in range(times) for one in self.addresses_of(region)]

    def raw(self, data: bytes, timeout: float = 1.0) -> bytes | None:
        """What comes back for a datagram, if anything."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
            link.settimeout(timeout)
            link.sendto(data, (self.host, self.port))
            try:
                return link.recv(65535)
            except TimeoutError:
                return None

    def until(self, what: Callable[[], bool]) -> None:
        assert eventually(what), self.log("dns")

    def noticed(self, *regions: str) -> None:
        """Until what the places of these regions answer now was asked for twice: what the first answer said is known then."""
        before = {region: self.places.asked[region, self.places.status[region]] for region in regions}
        self.until(
            lambda: all(
                self.places.asked[region, self.places.status[region]] > count + 2
                for region, count in before.items()
            )
        )

    def resettle(self, stack: Stack, system: str) -> None:
        """The plan of another stack on the addresses of this one, applied as the supervisor does."""
        self.plan = self.context.plan = resolve(stack, {**EMBEDDED, "dns": system})
        self.reload()

    def reload(self, zone: str = "") -> None:
        """Write the unit's changed files and tell who reads them, as the supervisor does."""
        for unit in self.plan.units:
            if any(role.tier == "dns" for role in unit.roles):
                for process in engine(unit.engine).processes(unit, self.context):
                    changed = [name for name, text in process.files.items() if Path(name).read_text() != text]
                    for name in changed:
                        write(Path(name), process.files[name])
                        _give(Path(name), process)
                    if changed and process.reload == "HUP":
                        self.running[process.name].send_signal(signal.SIGHUP)

    def restart(self, name: str) -> None:
        """Killed, and started again with the files that are there."""
        self.running[name].kill()
        self.running[name].wait()
        self._start(self.processes[name])
        self.ready()


class Places:
    """TLS servers that answer every request with `status[region]`, or hang up at once."""

    def __init__(self, certificate: tuple[Path, Path]) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(*certificate)
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._servers: dict[str, asyncio.Server] = {}
        self._at: dict[str, tuple[str, int]] = {}
        self.status: dict[str, int] = {}
        self.asked: Counter[tuple[str, int]] = Counter()
        """Requests that were answered, by region and status."""

    def start(self, region: str, host: str, port: int) -> None:
        self._at[region] = (host, port)
        self.heal(region)

    def heal(self, region: str) -> None:
        self.status[region] = 200
        if region not in self._servers:
            self._do(self._start(region))

    def kill(self, region: str) -> None:
        """Its port is closed."""

        async def close() -> None:
            self._servers.pop(region).close()

        self._do(close())

    def close(self) -> None:
        for region in list(self._servers):
            self.kill(region)
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _do(self, what: Any) -> None:
        asyncio.run_coroutine_threadsafe(what, self._loop).result(5)

    async def _start(self, region: str) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await reader.readuntil(b"\r\n\r\n")
                head = (
                    f"HTTP/1.1 {self.status[region]} Sure\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                )
                writer.write(head.encode())
                self.asked[region, self.status[region]] += 1
                await writer.drain()
            except (OSError, asyncio.IncompleteReadError):
                pass
            finally:
                writer.close()

        host, port = self._at[region]
        self._servers[region] = await asyncio.start_server(serve, host, port, ssl=self._context)
