"""What the tests of the answering server share: an answerer in this process, a server in another."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import dns.edns
import dns.message
import dns.query
import msgspec

from ports import free_port
from tierline.engines.answers.answerer import Answerer
from tierline.engines.answers.config import Config
from tierline.engines.answers.hops import Hops
from tierline.engines.answers.stats import Stats
from waiting import PATIENCE, eventually

ZONE: dict[str, Any] = {
    "name": "cinema.test",
    "ttl": 60,
    "soa": {"primary": "ns1", "minimum": 30},
    "ns": ["ns1", "ns2"],
    "records": [
        {"name": "ns1", "type": "A", "values": ["127.0.0.1"]},
        {"name": "ns2", "type": "A", "values": ["127.0.0.2"]},
        {"name": "ns2", "type": "AAAA", "values": ["2001:db8::2"]},
        {"name": "@", "type": "MX", "values": ["10 mail", "20 mail.example.org."]},
        {"name": "@", "type": "TXT", "values": ["v=spf1 -all", '"two strings" "of one \\"record\\""']},
        {"name": "@", "type": "CAA", "values": ['0 issue "ca.example"']},
        {"name": "mail", "type": "A", "values": ["127.0.0.9", "127.0.0.10"], "ttl": 5},
        {"name": "_sip._tcp", "type": "SRV", "values": ["0 5 5060 mail"]},
        {"name": "www", "type": "CNAME", "values": ["@"]},
        {"name": "two", "type": "CNAME", "values": ["one"]},
        {"name": "one", "type": "CNAME", "values": ["mail"]},
        {"name": "out", "type": "CNAME", "values": ["www.example.org."]},
        {"name": "loop", "type": "CNAME", "values": ["pool"]},
        {"name": "pool", "type": "CNAME", "values": ["loop"]},
        {"name": "*.wild", "type": "A", "values": ["127.0.0.11"]},
        {"name": "here.wild", "type": "TXT", "values": ["no address"]},
        {"name": "a.b.deep", "type": "A", "values": ["127.0.0.12"]},
        {"name": "svc", "type": "HTTPS", "values": ["1 . alpn=h2,h3 port=8443 ipv4hint=127.0.0.9"]},
        {"name": "other", "type": "ALIAS", "values": ["@"]},
        {"name": "sub", "type": "NS", "values": ["ns.sub", "ns.example.org."]},
        {"name": "ns.sub", "type": "A", "values": ["127.0.0.13"]},
        {"name": "large", "type": "TXT", "values": [f"{n:03d} " + "x" * 196 for n in range(20)]},
        {"name": "middle", "type": "TXT", "values": [f"{n:03d} " + "x" * 96 for n in range(8)]},
    ],
    "routes": [{"name": "@", "to": {"kind": "latency", "to": ["eu", "us"]}}],
}


def target(name: str, address: str, port: int = 8443, **more: Any) -> dict[str, Any]:
    return {"name": name, "a": [address], "https": f"alpn=h2 port={port}", **more}


def config(**more: Any) -> dict[str, Any]:
    """A configuration over two places; `more` replaces its fields."""
    return {
        "listen": ["127.0.0.1:0"],
        "zones": [ZONE],
        "places": {
            "eu": {"region": "eu-west-1", "targets": [target("edge", "127.0.1.1")]},
            "us": {"region": "us-east-1", "targets": [target("edge", "127.0.2.1")]},
        },
        "home": "eu-west-1",
        "subnets": [
            {"net": "198.18.0.0/16", "region": "eu-west-1", "country": "IE"},
            {"net": "198.18.5.0/24", "region": "us-east-1", "country": "US"},
            {"net": "198.18.6.0/24", "country": "DE"},
            {"net": "2001:db8:5::/48", "region": "us-east-1", "country": "US"},
        ],
        "latency": {
            "eu-west-1": {"eu-west-1": 1, "us-east-1": 75},
            "us-east-1": {"eu-west-1": 75, "us-east-1": 1},
        },
        **more,
    }


class Local:
    """An answerer without sockets. `down` holds the (place, target) that are unhealthy."""

    def __init__(self, data: dict[str, Any] | None = None) -> None:
        self.down: set[tuple[str, str]] = set()
        self.stats = Stats()
        self.answerer = Answerer(
            msgspec.convert(data or config(), Config),
            lambda place, name: (place, name) not in self.down,
            self.stats,
            Hops("", "embedded", ""),
        )

    def raw(self, data: bytes, host: str = "127.0.0.1") -> bytes | None:
        """As udp.py does it: what is kept first."""
        source = self.answerer.sources.get(host)
        if source is not None and source.bucket is None:
            known = self.answerer.known(data, source.locale)
            if known is not None:
                return known
        return self.answerer.datagram(data, host)

    def ask(
        self,
        name: str,
        kind: str = "A",
        *,
        subnet: str = "",
        host: str = "127.0.0.1",
        tcp: bool = False,
        **more: Any,
    ) -> dns.message.Message:
        """Asks three times, so that each cache answers once, and wants the same each time."""
        options = [dns.edns.ECSOption.from_text(f"ECS {subnet}")] if subnet else []
        query = dns.message.make_query(name, kind, **({"use_edns": 0, "options": options} | more))
        wire = query.to_wire()
        if tcp:
            (answer,) = self.answerer.message(wire, host)
            return dns.message.from_wire(answer)
        answers = [self.raw(wire, host) for _ in range(3)]
        assert answers[0] is not None
        message = dns.message.from_wire(answers[0])
        assert query.is_response(message)
        if not more.pop("random", False):
            assert answers[0] == answers[1] == answers[2]
        return message

    def addresses(self, name: str = "cinema.test", kind: str = "A", **more: Any) -> list[str]:
        return addresses(self.ask(name, kind, **more))


def addresses(message: dns.message.Message) -> list[str]:
    return [item.to_text() for rrset in message.answer for item in rrset if rrset.rdtype in (1, 28)]


def records(section: list[Any]) -> list[str]:
    return [f"{rrset.name} {line}" for rrset in section for line in _lines(rrset)]


def _lines(rrset: Any) -> list[str]:
    return [line.split(" ", 1)[1] for line in rrset.to_text().splitlines()]


class Server:
    """A server in a process of its own. Its log is `log`, its file `path`."""

    def __init__(self, folder: Path, data: dict[str, Any]) -> None:
        self.port = free_port()
        self.folder = folder
        self.path = folder / "dns.json"
        self.data = data | {"listen": [f"127.0.0.1:{self.port}"], "stats": str(folder / "dns.sock")}
        self.write(self.data)
        self.log_path = folder / "log"
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tierline.engines.answers", str(self.path)], stderr=log
            )
        self.wait(lambda: self.udp("cinema.test", "SOA", timeout=0.2))

    def write(self, data: dict[str, Any] | str) -> None:
        """By atomic rename, as the supervisor does."""
        new = self.path.with_suffix(".new")
        new.write_text(data if isinstance(data, str) else json.dumps(data))
        new.rename(self.path)

    def hup(self) -> None:
        os.kill(self.process.pid, signal.SIGHUP)

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    def query(self, name: str, kind: str, **more: Any) -> dns.message.Message:
        return dns.message.make_query(name, kind, **({"use_edns": 0} | more))

    def udp(self, name: str, kind: str = "A", timeout: float = PATIENCE, **more: Any) -> dns.message.Message:
        return dns.query.udp(self.query(name, kind, **more), "127.0.0.1", port=self.port, timeout=timeout)

    def tcp(self, name: str, kind: str = "A", **more: Any) -> dns.message.Message:
        return dns.query.tcp(self.query(name, kind, **more), "127.0.0.1", port=self.port, timeout=30)

    def wait(self, what: Any, seconds: float = PATIENCE) -> Any:
        """Until `what` is true; its exceptions count as false."""

        def true() -> Any:
            assert self.process.poll() is None, self.log
            with contextlib.suppress(Exception):
                return what()
            return None

        found = eventually(true, seconds, every=0.01)
        assert found, (self.log, what())
        return found

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(PATIENCE)
