"""Certificates by ACME: proven through the line's own port, renewed in time, shown without a failed request."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509

from acme_server import ACMEServer
from ports import free_port
from waiting import PATIENCE, eventually
from workbench import HELLO, Bench

Make = Callable[..., Bench]
NAME = "shop.localhost"
STACK = """
from tierline import ACME, LoadBalancer, Service, Stack
stack = Stack(
    "shop",
    lb=LoadBalancer(
        certificate=ACME("{directory}", "ops@shop.localhost", authority="{trust}"),
        redirect_http=True, hosts=["shop.localhost"], {more}
    ),
    services=[Service("hello", "hello:app", expose=["/"])],
    zones=["a"],
)
"""


@pytest.fixture
def authority(tmp_path: Path) -> Iterator[ACMEServer]:
    folder = tmp_path / "ca"
    folder.mkdir()
    server = ACMEServer(folder, {})
    yield server
    server.close()


def up(bench: Make, authority: ACMEServer, system: str, more: str = "") -> Bench:
    """A line whose plain port is the name's port 80."""
    text = STACK.format(directory=authority.url + "/directory", trust=authority.web_trust, more=more)
    made = bench(text, hello=HELLO)
    port = free_port()
    authority.where[NAME] = ("127.0.0.1", port)
    made.up("--use", f"lb={system}", "--port", f"http={port}")
    return made


def serial(line: Bench, trust: Path) -> int:
    """Of the certificate that is shown; 0 when it isn't one of the authority's."""
    context = ssl.create_default_context(cafile=str(trust))
    host, port = line.status()["addresses"]["lb.a/https"].rsplit(":", 1)
    try:
        with socket.create_connection((host, int(port)), timeout=3) as sock:
            secure = context.wrap_socket(sock, server_hostname=NAME)
            found = x509.load_der_x509_certificate(secure.getpeercert(True) or b"")
            secure.close()
    except ssl.SSLCertVerificationError:
        return 0
    return found.serial_number


class Visitors:
    """Some keep their connections, some come anew each time; posts, which nobody tries again."""

    def __init__(self, line: Bench, trust: Path) -> None:
        self._url = line.status()["urls"]["https"]
        self._context = ssl.create_default_context(cafile=str(trust))
        self._context.check_hostname = False
        self._stop = threading.Event()
        self.failed: list[Any] = []
        self.count = 0
        self._threads = [threading.Thread(target=self._visit, args=(number % 2 == 0,)) for number in range(4)]

    def _visit(self, keep: bool) -> None:
        client = httpx.Client(verify=self._context, trust_env=False, timeout=PATIENCE)
        while not self._stop.is_set():
            try:
                status: Any = client.post(self._url, headers={"host": NAME}).status_code
            except httpx.HTTPError as error:
                status = repr(error)
            self.count += 1
            if status != 200:
                self.failed.append(status)
            if not keep:
                client.close()
                client = httpx.Client(verify=self._context, trust_env=False, timeout=PATIENCE)
        client.close()

    def __enter__(self) -> Visitors:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


@pytest.mark.parametrize("system", ["haproxy", "envoy", "nginx", "traefik"])
def test_issued_and_renewed_under_load_without_a_failed_request(
    bench: Make, authority: ACMEServer, system: str
) -> None:
    authority.lifetime = 12
    line = up(bench, authority, system)
    assert eventually(lambda: serial(line, authority.trust)), line.log("supervisor")
    first = serial(line, authority.trust)
    shown = {first}
    with Visitors(line, authority.trust) as visitors:

        def renewed() -> bool:
            shown.add(serial(line, authority.trust))
            return len(shown) >= 3

        assert eventually(renewed, every=0.2)
    assert visitors.failed == []
    assert visitors.count > 100
    assert len(shown) >= 3 and 0 not in shown, "an older one was shown till its end, or past it"
    assert shown <= set(authority.issued)
    # Only what an authority asks is answered plainly.
    plain = line.status()["urls"]["http"]
    for path, status in (
        ("", 308),
        (".well-known/acme-challenge/", 308),
        (".well-known/acme-challenge/a/b", 308),
    ):
        told = httpx.get(plain + path, headers={"host": NAME}, trust_env=False).status_code
        assert told == status or (status == 308 and told == 301), path
    assert authority.refusals == []
    assert len(authority.accounts) == 1


@pytest.mark.parametrize("system", ["haproxy", "traefik"])
def test_what_was_issued_is_kept_for_the_next_start(bench: Make, authority: ACMEServer, system: str) -> None:
    line = up(bench, authority, system)
    assert eventually(lambda: serial(line, authority.trust)), line.log("supervisor")
    told = line.status()["certificate"]
    assert told["names"] == [NAME]
    assert told["problem"] == ""
    assert 3000 < told["until"] - time.time() < 3700
    assert f"{NAME} from {authority.url}/directory: 2" in line.run("status").stdout
    line.down()
    port = authority.where[NAME][1]
    line.up("--use", f"lb={system}", "--port", f"http={port}")
    assert serial(line, authority.trust) == authority.issued[0]
    assert len(authority.issued) == 1
    # Keys are readable by their owner alone.
    modes = {path.name: path.stat().st_mode & 0o777 for path in (line.state / "authority" / "acme").iterdir()}
    assert modes and set(modes.values()) == {0o600}


def test_a_name_that_is_not_ours_is_told_and_the_line_serves_on(bench: Make, authority: ACMEServer) -> None:
    line = up(bench, authority, "haproxy")
    assert eventually(lambda: serial(line, authority.trust))
    line.down()
    with socket.socket() as sock:  # somebody else has the name's port 80
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        authority.where[NAME] = sock.getsockname()
        line.down("--volumes")
        line.up("--use", "lb=haproxy")
        assert eventually(lambda: "doesn't answer the challenge" in line.status()["certificate"]["problem"])
    url = line.status()["urls"]["https"]
    with httpx.Client(verify=False, trust_env=False) as client:
        assert client.get(url, headers={"host": NAME}).status_code == 200
    assert "doesn't answer the challenge" in line.run("status").stdout


def test_an_authority_that_is_down_is_asked_again(bench: Make, authority: ACMEServer) -> None:
    authority.down = True
    line = up(bench, authority, "haproxy")
    assert eventually(lambda: line.status()["certificate"]["problem"])
    authority.down = False
    assert eventually(lambda: serial(line, authority.trust)), line.status()["certificate"]
    assert line.status()["certificate"]["problem"] == ""
