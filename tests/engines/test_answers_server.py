"""The answering server as it runs: real sockets, a changing file, real health checks."""

from __future__ import annotations

import json
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import dns.edns
import dns.exception
import dns.flags
import dns.query
import dns.rcode
import dns.zone
import pytest
from test_answers_support import ZONE, Server, addresses, config, target

from ports import free_port
from tierline.engines.answers.stats import read
from waiting import PATIENCE

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Any]:
    servers: list[Server] = []

    def make(**more: Any) -> Server:
        servers.append(Server(tmp_path, config(**more)))
        return servers[-1]

    yield make
    for server in servers:
        if server.process.poll() is None:
            assert server.stop() == 0, server.log


class Web:
    """An HTTP or HTTPS server whose health is a field. `seen` holds Host headers and server names."""

    def __init__(self, certificate: tuple[Path, Path] | None = None, port: int = 0) -> None:
        web = self
        self.status = 200
        self.delay = 0.0
        self.seen: set[str] = set()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                web.seen |= {self.headers["Host"], self.path}
                time.sleep(web.delay)  # slow: as the test asks
                self.send_response(web.status)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            context.sni_callback = lambda _socket, name, _context: self.seen.add(f"sni {name}")
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        ).start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def checked(kind: str, port: int, **more: Any) -> dict[str, Any]:
    """Two places, of which eu is checked."""
    check = {"kind": kind, "host": "127.0.0.1", "port": port, "interval": 0.05, "timeout": 0.3} | more
    places = config()["places"]
    return {
        "places": places
        | {"eu": {"region": "eu-west-1", "targets": [target("edge", "127.0.1.1", check=check)]}}
    }


def certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed one."""
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    chain, private = folder / "cert.pem", folder / "key.pem"
    chain.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return chain, private


def test_serves_and_stops(serve: Any) -> None:
    server = serve()
    assert addresses(server.udp("cinema.test")) == addresses(server.tcp("cinema.test")) == ["127.0.1.1"]
    large = server.udp("large.cinema.test", "TXT", payload=4096)
    assert large.flags & dns.flags.TC
    assert len(server.tcp("large.cinema.test", "TXT").answer[0]) == 20
    memory = Path(f"/proc/{server.process.pid}/status").read_text()
    kilobytes = int(memory.split("VmRSS:")[1].split()[0])
    assert kilobytes < 25_000
    stats = read(str(server.folder / "dns.sock"))
    assert stats["rcodes"]["NOERROR"] >= 5 and stats["places"]["eu"] == 2 and stats["connections"] == 2
    assert server.stop() == 0
    assert not (server.folder / "dns.sock").exists()


def test_a_taken_port_is_told(serve: Any, tmp_path: Path) -> None:
    server = serve()
    other = tmp_path / "other.json"
    other.write_text(json.dumps(server.data | {"stats": ""}))
    ran = subprocess.run(
        [sys.executable, "-m", "tierline.engines.answers", str(other)], capture_output=True, text=True
    )
    assert ran.returncode == 1
    assert ran.stderr == f"configuration refused: listen 127.0.0.1:{server.port}: Address already in use\n"


def test_queries_over_one_connection(serve: Any) -> None:
    server = serve(tcp={"idle": 0.3, "connections": 4})
    wires = [server.query("cinema.test", kind).to_wire() for kind in ("A", "MX", "TXT") for _ in range(50)]
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as link:
        stream = b"".join(struct.pack("!H", len(wire)) + wire for wire in wires)
        for at in range(0, len(stream), 997):  # cut anywhere
            link.sendall(stream[at : at + 997])
        with link.makefile("rb") as answers:
            for wire in wires:
                (length,) = struct.unpack("!H", answers.read(2))
                assert answers.read(length)[:2] == wire[:2]
            assert answers.read() == b""  # closed once idle


def test_slow_and_many_connections(serve: Any) -> None:
    server = serve(tcp={"idle": 0.5, "connections": 4})
    slow = [socket.create_connection(("127.0.0.1", server.port), timeout=60) for _ in range(8)]
    for link in slow[4:]:
        link.sendall(b"\0")
    assert addresses(server.tcp("cinema.test")) == ["127.0.1.1"]
    for link in slow:
        with suppress(ConnectionResetError):
            assert link.recv(10) == b""
        link.close()


def test_a_client_that_does_not_read(serve: Any) -> None:
    """Its answers do not pile up in memory; others are served meanwhile."""
    server = serve()
    wire = server.query("large.cinema.test", "TXT").to_wire()
    with socket.create_connection(("127.0.0.1", server.port), timeout=0.2) as link:
        try:
            for _ in range(3000):
                link.sendall((struct.pack("!H", len(wire)) + wire) * 20)
        except TimeoutError:
            pass
        assert addresses(server.udp("cinema.test")) == ["127.0.1.1"]
        memory = Path(f"/proc/{server.process.pid}/status").read_text()
        assert int(memory.split("VmRSS:")[1].split()[0]) < 30_000


def test_junk_over_tcp_closes(serve: Any) -> None:
    server = serve()
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as link:
        link.sendall(b"\0\5hello")
        assert link.recv(10) == b""
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as link:
        link.sendall(b"\0\0")
        assert link.recv(10) == b""
    assert addresses(server.tcp("cinema.test")) == ["127.0.1.1"]


def test_transfer(serve: Any) -> None:
    server = serve(transfer=["127.0.0.0/8"])
    zone = dns.zone.from_xfr(dns.query.xfr("127.0.0.1", "cinema.test", port=server.port))
    assert zone.get_soa().serial == 1
    assert sorted(item.to_text() for item in zone.get_rdataset("@", "A")) == ["127.0.1.1", "127.0.2.1"]
    assert len(zone.get_rdataset("large", "TXT")) == 20
    assert zone.get_rdataset("sub", "NS") is not None and zone.get_rdataset("*.wild", "A") is not None
    assert server.udp("cinema.test", "AXFR").rcode() == dns.rcode.REFUSED
    assert server.tcp("www.cinema.test", "AXFR").rcode() == dns.rcode.REFUSED


def test_file_changes(serve: Any) -> None:
    server = serve()
    assert addresses(server.udp("mail.cinema.test")) == ["127.0.0.9", "127.0.0.10"]

    def changed(address: str) -> dict[str, Any]:
        return server.data | {
            "zones": [ZONE | {"records": [{"name": "mail", "type": "A", "values": [address]}]}],
        }

    server.write(changed("127.0.0.77"))
    server.wait(
        lambda: addresses(server.udp("mail.cinema.test")) == ["127.0.0.77"]
    )  # by itself, in about a second
    server.write('{"listen": "nonsense"')
    server.hup()
    server.wait(lambda: "the last good one stays" in server.log)
    assert addresses(server.udp("mail.cinema.test")) == ["127.0.0.77"]
    server.write(changed("127.0.0.78"))
    server.hup()
    server.wait(lambda: addresses(server.udp("mail.cinema.test")) == ["127.0.0.78"], 0.5)
    assert read(server.data["stats"])["refused"] == 1
    server.path.unlink()
    server.hup()
    server.wait(lambda: server.log.count("refused") == 2)
    assert addresses(server.udp("mail.cinema.test")) == ["127.0.0.78"]


def test_addresses_change(serve: Any) -> None:
    server = serve()
    port = free_port()
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    server.write(server.data | {"listen": [f"127.0.0.1:{taken.getsockname()[1]}"]})
    server.hup()
    server.wait(lambda: "Address already in use" in server.log)
    taken.close()
    old, server.port = server.port, port
    server.write(server.data | {"listen": [f"127.0.0.1:{port}"]})
    server.hup()
    server.wait(lambda: addresses(server.udp("cinema.test", timeout=0.2)) == ["127.0.1.1"])
    assert addresses(server.tcp("cinema.test")) == ["127.0.1.1"]
    server.port = old
    with pytest.raises((dns.exception.Timeout, ConnectionError)):
        server.udp("cinema.test", timeout=0.2)


@pytest.mark.parametrize("kind", ["http", "https", "tcp"])
def test_health(serve: Any, tmp_path: Path, kind: str) -> None:
    files = certificate(tmp_path) if kind == "https" else None
    web = Web(files)
    server = serve(**checked(kind, web.port, path="/health", name="cinema.test"))
    where = lambda: addresses(server.udp("cinema.test"))  # noqa: E731
    state = lambda: read(server.data["stats"])["targets"]["eu/edge"]  # noqa: E731
    server.wait(lambda: state()["checks"] > 3)
    assert where() == ["127.0.1.1"] and state()["healthy"] and state()["failures"] == 0
    if kind != "tcp":
        assert {"/health", "cinema.test"} <= web.seen
        web.status = 503
        server.wait(lambda: where() == ["127.0.2.1"])
        assert not state()["healthy"] and state()["reason"] == "status 503"
        web.status = 302
        server.wait(lambda: where() == ["127.0.1.1"])
        web.delay = 2
        server.wait(lambda: where() == ["127.0.2.1"])
        assert state()["reason"] == "no answer within 0.3 s"
        web.delay = 0
        server.wait(lambda: where() == ["127.0.1.1"])
    if kind == "https":
        assert "sni cinema.test" in web.seen
    web.stop()
    server.wait(lambda: where() == ["127.0.2.1"])
    assert state()["reason"] == "ECONNREFUSED"
    web = Web(files, web.port)
    server.wait(lambda: where() == ["127.0.1.1"])
    web.stop()
    assert "eu/edge is down: " in server.log and "eu/edge is up" in server.log


def test_health_of_what_speaks_no_http(serve: Any) -> None:
    junk = socket.create_server(("127.0.0.1", 0))

    def speak() -> None:
        while True:
            try:
                link, _ = junk.accept()
            except OSError:
                return
            with link:
                link.sendall(b"220 mail ready\r\n")

    threading.Thread(target=speak, daemon=True).start()
    server = serve(**checked("http", junk.getsockname()[1]))
    server.wait(lambda: addresses(server.udp("cinema.test")) == ["127.0.2.1"])
    server.write(server.data | checked("https", junk.getsockname()[1]))
    server.hup()
    server.wait(lambda: "configuration loaded" in server.log)
    server.wait(lambda: addresses(server.udp("cinema.test")) == ["127.0.2.1"])
    junk.close()


def test_threshold(serve: Any) -> None:
    """One failure alone takes nothing out."""
    web = Web()
    server = serve(**checked("http", web.port, threshold=1000))
    web.status = 500
    server.wait(lambda: read(server.data["stats"])["targets"]["eu/edge"]["failures"] > 3)
    assert addresses(server.udp("cinema.test")) == ["127.0.1.1"]
    web.stop()


def test_health_survives_a_reload(serve: Any) -> None:
    server = serve(**checked("tcp", 1))
    server.wait(lambda: addresses(server.udp("cinema.test")) == ["127.0.2.1"])
    server.write(server.data | {"udp_size": 1400})
    server.hup()
    server.wait(lambda: "configuration loaded" in server.log)
    assert addresses(server.udp("cinema.test")) == ["127.0.2.1"]
    assert server.log.count("is down") == 1


def test_hops(serve: Any, tmp_path: Path) -> None:
    path = tmp_path / "hops.jsonl"
    server = serve(hops=str(path), region="eu-west-1")
    option = [dns.edns.GenericOption(65001, TRACE.encode()), dns.edns.ECSOption("198.18.5.0", 24)]
    for _ in range(2):
        assert addresses(server.udp("cinema.test", options=option)) == ["127.0.2.1"]
    server.tcp("none.cinema.test", options=option[:1])
    for text in (TRACE[:-1] + "0", "x" * 55, "short"):
        server.udp("cinema.test", options=[dns.edns.GenericOption(65001, text.encode())])
    server.udp("cinema.test")
    hops = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(hops) == 3 == read(server.data["stats"])["hops"]
    first = hops[0]
    assert {key: first[key] for key in ("t", "p", "T", "y", "z", "v", "n")} == {
        "t": TRACE[3:35],
        "p": TRACE[36:52],
        "T": "dns",
        "y": "embedded",
        "z": "eu-west-1",
        "v": "latency → us",
        "n": "cinema.test",
    }
    assert abs(first["b"] / 1e6 - time.time()) < 10 and 0 <= first.get("d", 0) < 100_000
    assert first["a"]["dns.answers"] == ["127.0.2.1"] and first["a"]["client.region"] == "us-east-1"
    assert hops[2]["v"] == "nxdomain" and hops[2]["s"] == 1
    assert len({hop["i"] for hop in hops}) == 3


def test_strangers_are_limited(serve: Any, tmp_path: Path) -> None:
    path = tmp_path / "hops.jsonl"
    server = serve(trusted=[], hops=str(path), rate={"per_second": 1, "burst": 40, "slip": 2})
    wire = server.query("cinema.test", "A").to_wire()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        link.connect(("127.0.0.1", server.port))
        link.settimeout(0.3)
        answers = []
        for _ in range(100):
            link.send(wire)
        try:
            while True:
                answers.append(link.recv(4096))
        except TimeoutError:
            pass
    whole = [answer for answer in answers if not answer[2] & 2]
    slipped = [answer for answer in answers if answer[2] & 2]
    assert 35 <= len(whole) <= 41 and 28 <= len(slipped) <= 33
    assert all(len(answer) <= len(wire) and answer[:2] == wire[:2] for answer in slipped)
    assert addresses(server.tcp("cinema.test")) == ["127.0.1.1"]
    server.tcp("cinema.test", options=[dns.edns.GenericOption(65001, TRACE.encode())])
    assert path.read_text() == ""
    stats = read(server.data["stats"])
    assert stats["limited"]["dropped"] >= 28 and stats["limited"]["truncated"] == len(slipped)


def test_a_flood_of_junk(serve: Any) -> None:
    server = serve()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        link.connect(("127.0.0.1", server.port))
        for number in range(3000):
            link.send(number.to_bytes(4, "big") * (number % 40))
    assert addresses(server.udp("cinema.test")) == ["127.0.1.1"]
    assert read(server.data["stats"])["failures"] == 0
    assert "Traceback" not in server.log


def test_long_paths(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    server = Server(folder, config())
    assert read(server.data["stats"])["failures"] == 0
    assert server.stop() == 0
    assert not Path(server.data["stats"]).exists()


def test_ipv6(serve: Any) -> None:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("there is no IPv6 here")
    server, port = serve(), free_port()
    server.write(server.data | {"listen": [*server.data["listen"], f"[::1]:{port}"]})
    server.hup()
    server.wait(lambda: "configuration loaded" in server.log)
    query = server.query("cinema.test", "A")
    assert addresses(dns.query.udp(query, "::1", port=port, timeout=PATIENCE)) == ["127.0.1.1"]
    assert addresses(dns.query.tcp(query, "::1", port=port, timeout=PATIENCE)) == ["127.0.1.1"]


def test_counts_survive_a_reload(serve: Any) -> None:
    server = serve()
    for _ in range(20):
        server.udp("mail.cinema.test")
    server.write(server.data | {"udp_size": 1400})
    server.hup()
    server.wait(lambda: "configuration loaded" in server.log)
    assert server.udp("mail.cinema.test").payload == 1400
    assert read(server.data["stats"])["rcodes"]["NOERROR"] >= 21
