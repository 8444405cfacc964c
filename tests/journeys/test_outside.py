"""Services outside: TLS, base paths, Host and SNI, authorities of one's own, time-outs, and what is forwarded."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tierline.errors import StackError
from tierline.journeys import HTTP, DeadlineExceeded, Journey, ServiceClient, build
from tierline.journeys.fault import Unreachable
from tierline.journeys.testing import Outcome, ask
from tierline.run.authority import Authority


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


class Seen:
    """What a TLS server saw: server names, and the heads of requests."""

    def __init__(self) -> None:
        self.names: list[str | None] = []
        self.heads: list[str] = []
        self.protocols: list[str | None] = []
        self.connections = 0


@contextlib.asynccontextmanager
async def serving(
    certificate: tuple[Path, Path] | None, seen: Seen, *, silent: bool = False
) -> AsyncIterator[int]:
    """A server on loopback, with TLS when it has a certificate, that answers with the head that it was sent."""
    context = None
    if certificate is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*certificate)
        context.set_alpn_protocols(["http/1.1"])
        context.sni_callback = lambda _socket, name, _context: seen.names.append(name)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.connections += 1
        if context is not None:
            seen.protocols.append(writer.get_extra_info("ssl_object").selected_alpn_protocol())
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                seen.heads.append(head)
                if silent:
                    await asyncio.Event().wait()
                body = json.dumps(head).encode()
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def run(main: Any) -> Any:
    async def bounded() -> Any:
        async with asyncio.timeout(20):
            return await main

    return asyncio.run(bounded())


def test_tls_with_base_path_host_and_sni(authority: Authority) -> None:
    async def main() -> None:
        seen = Seen()
        async with serving(authority.issue("localhost"), seen) as port:
            transport = HTTP(f"https://localhost:{port}/v2/", name="api", ca_file=authority.certificate)
            api = ServiceClient("api", transport)
            for _ in range(2):
                head = (await api.get("/films/{id}", id="a/b", q=1)).json().split("\r\n")
                assert head[0] == "GET /v2/films/a%2Fb?q=1 HTTP/1.1"
                assert f"host: localhost:{port}" in head
            assert (await api.post("/orders", json={"a": 1})).json().startswith("POST /v2/orders HTTP/1.1")
            assert seen.names == ["localhost"], "one connection, kept"
            assert seen.protocols == ["http/1.1"]
            await transport.close()

    run(main())


def test_a_certificate_that_does_not_hold_is_refused_and_told(authority: Authority, tmp_path: Path) -> None:
    async def refused(url: str, ca_file: Path | None) -> str:
        with pytest.raises(Unreachable) as told:
            await ServiceClient("api", HTTP(url, name="api", ca_file=ca_file), retries=0).get("/")
        assert told.value.detail == "api: it can't be reached", "a client learns nothing of it"
        return str(told.value)

    async def main() -> None:
        seen = Seen()
        async with serving(authority.issue("other.test"), seen) as port:
            said = await refused(f"https://localhost:{port}", authority.certificate)
            assert "its certificate is refused: Hostname mismatch" in said and "HTTP(…, ca_file=…)" in said
            assert str(authority.certificate) in said
            said = await refused(f"https://localhost:{port}", None)
            assert "trusted are the system's authorities" in said
            (tmp_path / "other").mkdir()
            other = Authority(tmp_path / "other")
            other.issue("x")
            assert "its certificate is refused" in await refused(
                f"https://localhost:{port}", other.certificate
            )
            assert seen.heads == [], "nothing was sent"
        async with serving(None, Seen()) as port:
            assert "ca_file" not in await refused(f"https://localhost:{port}", None), "no TLS there at all"

    run(main())


def test_an_address_in_a_certificate_is_no_server_name(authority: Authority) -> None:
    async def main() -> None:
        seen = Seen()
        async with serving(authority.issue("127.0.0.1"), seen) as port:
            api = ServiceClient(
                "api", HTTP(f"https://127.0.0.1:{port}", name="api", ca_file=authority.certificate)
            )
            assert f"host: 127.0.0.1:{port}" in (await api.get("/")).json()
            assert seen.names == [None]

    run(main())


def test_a_url_without_tls_keeps_its_path_and_host() -> None:
    async def main() -> None:
        async with serving(None, Seen()) as one, serving(None, Seen()) as other:
            where = [(f"http://LOCALHOST:{one}/a", 0), (f"127.0.0.1:{other}", 1)]
            transport = HTTP(where, name="api")
            api = ServiceClient("api", transport)
            head = (await api.get("/x")).json()
            assert head.startswith("GET /a/x HTTP/1.1") and f"host: localhost:{one}\r\n" in head
            transport.set_addresses(where[1:])
            head = (await api.get("/x")).json()
            assert head.startswith("GET /x HTTP/1.1") and "host: api\r\n" in head

    run(main())


def test_a_call_ends_in_the_services_own_time() -> None:
    async def main() -> None:
        async with serving(None, Seen(), silent=True) as port:
            api = ServiceClient(
                "api", HTTP(f"http://127.0.0.1:{port}", name="api", timeout="100ms"), retries=0
            )
            with pytest.raises(DeadlineExceeded):
                await api.get("/")

    run(main())


def test_what_is_forwarded_is_written_once_at_the_service(authority: Authority) -> None:
    screen = Journey("screen", "/screen", cache="60s")

    @screen.part
    async def member(api: Any) -> str:
        return str((await api.get("/me")).json())

    async def main() -> None:
        seen = Seen()
        async with serving(authority.issue("localhost"), seen) as port:
            words = {"forward": ["Authorization", "accept-language"], "ca_file": authority.certificate}
            api = HTTP(f"https://localhost:{port}/v2", name="api", **words)  # type: ignore[arg-type]
            app = build([screen], services={"api": api})
            for token, expected in (("one", 1), ("one", 1), ("two", 2)):
                headers = {"authorization": f"Bearer {token}", "accept-language": "de", "x-secret": "1"}
                outcome = await ask(app, "GET", "/screen", headers, None, Outcome())
                assert f"authorization: Bearer {token}" in outcome.body["member"], "kept by caller"
                assert "accept-language: de" in outcome.body["member"]
                assert "x-secret" not in outcome.body["member"]
                assert outcome.headers["cache-control"].startswith("private")
                assert len(seen.heads) == expected
            with pytest.raises(StackError, match="written twice"):
                build([screen], services={"api": api}, forward={"api": ["cookie"]})
            await app.stop()

    run(main())


def test_what_can_not_be_is_told_when_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("nothing")
    for words, said in (
        ({"ca_file": tmp_path / "none.pem"}, "none.pem' can't be used: No such file"),
        (
            {"ca_file": tmp_path / "empty.pem"},
            r"empty.pem' can't be used: .*give a file of certificates \(PEM\)",
        ),
        ({"timeout": "soon"}, "HTTP of 'api', timeout: 'soon' is not a duration"),
        ({"forward": "authorization"}, "is one text; give a list"),
    ):
        with pytest.raises(StackError, match=said):
            HTTP("https://localhost/v2", name="api", **words)  # type: ignore[arg-type]
    with pytest.raises(StackError) as told:
        HTTP("https://me:secret@localhost", name="api")
    assert "secret" not in str(told.value)
    screen = Journey("screen", "/screen")

    @screen.part
    def x(api: Any) -> int:
        return 1

    with pytest.raises(StackError, match="'host' is not a field that can be passed on"):
        build([screen], services={"api": HTTP("https://localhost", name="api", forward=["host"])})


STACK = """
from tierline import Gateway, Journey, Stack
from tierline.journeys import HTTP
screen = Journey("screen", "/screen")

@screen.part
async def paid(payments):
    return (await payments.get("/paid")).json()

stack = Stack("shop", gateway=Gateway(), journeys=[screen], zones=["a"], outside=[{outside}])
"""


def test_a_stack_names_its_services_outside(tmp_path: Path) -> None:
    from tierline.lineups import choose
    from tierline.plan.resolve import resolve
    from tierline.stack import load

    def planned(outside: str) -> Any:
        (tmp_path / "stack.py").write_text(STACK.format(outside=outside))
        stack, _ = load(tmp_path / "stack.py")
        return resolve(stack, choose("embedded", ()))

    assert planned('HTTP("https://api.example.com/v2", name="payments", forward=["authorization"])')
    for outside, said in (
        ("", "part 'paid' needs 'payments'"),
        ('HTTP("https://api.example.com")', "outside=.*with a name"),
        ('"https://api.example.com"', "outside=.*HTTP objects"),
        ('*[HTTP("https://api.example.com", name="payments")] * 2', "a name that no service"),
    ):
        with pytest.raises(StackError, match=said):
            planned(outside)
