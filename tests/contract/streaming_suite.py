"""Streams stream, in every system and whole lineup: what a service sends arrives as it comes, and so does what a client
sends; a client that leaves is made known to the service.

Nothing here waits for the clock: the service sends its next piece once the client, over a request of its own, has said
that it has the one before (streaming_app.py). A feature that a system lacks must really fail.
"""

from __future__ import annotations

import json
import ssl
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import pytest
import streaming_client
from streaming_client import VERSIONS, Exchange
from streaming_quic import HTTP3

PATIENCE = 15.0
"""Seconds within which what arrives at once has arrived, on the slowest machine."""
UPGRADE = {
    "connection": "Upgrade",
    "upgrade": "websocket",
    "sec-websocket-version": "13",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
}
KINDS = ("sse", "ndjson", "html")
LACKS = (AssertionError, OSError, IndexError, KeyError)


class Place:
    """Where a tier or a line is reached."""

    def __init__(
        self, plain: tuple[str, int], secure: tuple[str, int] | None = None, authority: str = "localhost",
        h2c: bool = False, quic: tuple[str, int] | None = None, prefix: str = "",
        close: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        self.plain, self.secure, self.authority, self.h2c, self.quic = plain, secure, authority, h2c, quic
        self.prefix, self.close = prefix, close
        self._open: list[Exchange] = []

    @property
    def versions(self) -> list[str]:
        newer = {"HTTP/2": self.secure or self.h2c, "HTTP/3": self.quic}
        return ["HTTP/1.1", *(version for version, there in newer.items() if there)]

    def open(self, version: str) -> Any:
        """A connection, as its first request."""
        tls = None
        if version == "HTTP/2" and self.secure:
            tls = ssl.create_default_context()
            tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
        address = self.secure if tls and self.secure else self.plain
        if version == "HTTP/3":
            assert self.quic is not None
            address = self.quic
        made = (HTTP3 if version == "HTTP/3" else VERSIONS[version])(address, tls, self.authority)
        self._open.append(made)
        return made

    def ask(
        self, version: str, method: str, path: str, headers: Mapping[str, str] | None = None, open: bool = False
    ) -> Any:  # fmt: skip
        return self.open(version).ask(method, self.prefix + path, headers, open)

    def say(self, what: str, id: str, more: str = "") -> None:
        """Ask the service to do something, or to answer once it has seen something."""
        asked = self.ask("HTTP/1.1", "POST", f"/{what}?id={id}{more}")
        assert asked.head() == 200, (what, asked.status, asked.body)
        asked.whole()
        asked.close()

    def tidy(self) -> None:
        for each in self._open:
            each.close()
        self._open.clear()


class StreamingContract:
    """Inherit it and say where: `make` starts it."""

    lacks: ClassVar[Mapping[str, str]] = {}
    place: ClassVar[Place]

    @classmethod
    def make(cls) -> Place:
        raise NotImplementedError

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def running(cls) -> Iterator[None]:
        cls.place = cls.make()
        yield
        cls.place.close()

    @pytest.fixture(autouse=True)
    def closing(self) -> Iterator[None]:
        yield
        self.place.tidy()

    def each(
        self, feature: str, check: Callable[..., None], *given: Any, place: Place | None = None,
        versions: list[str] | None = None,
    ) -> None:  # fmt: skip
        """Try it over each version of HTTP; what is lacked must fail over one of them at least."""
        place = place or self.place
        failed = {}
        lacking = feature in self.lacks
        for version in versions or place.versions:
            streaming_client.PATIENCE = 2.0 if lacking else PATIENCE
            try:
                check(place, version, *given)
            except LACKS as error:
                failed[version] = error
            finally:
                place.tidy()
        if lacking:
            assert failed, f"declared to lack {feature}, and does it"
        else:
            assert not failed, "\n".join(f"{version}: {error!r}" for version, error in failed.items())

    @pytest.mark.parametrize("coding", ["", "gzip, br"])
    @pytest.mark.parametrize("kind", KINDS)
    def test_what_a_service_sends_arrives_as_it_comes(self, kind: str, coding: str) -> None:
        self.each("streams", streams, "GET", kind, coding)

    @pytest.mark.parametrize("method", ["POST", "PUT"])
    def test_so_do_answers_of_other_methods(self, method: str) -> None:
        self.each("streams", streams, method, "ndjson", "")

    def test_so_do_streams_whose_service_speaks_of_caching(self) -> None:
        for control in ("no-cache", "no-store", "private", "max-age=60"):
            self.each("streams", streams, "GET", "sse", "", f"&control={control}")

    def test_a_stream_without_end_holds_no_second_client(self) -> None:
        self.each("streams", second_client)

    def test_an_upload_arrives_as_it_is_sent(self) -> None:
        self.each("uploads", uploads, True)

    def test_so_does_one_that_does_not_say_how_long_it_is(self) -> None:
        self.each("unsized-uploads", uploads, False)

    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
    def test_a_client_that_leaves_is_made_known(self, method: str) -> None:
        self.each("disconnects", leaves, method, "wait")

    def test_so_is_one_whose_answer_a_cache_might_have_kept(self) -> None:
        self.each("leaves-before-copy", leaves, "GET", "wait")

    def test_so_is_one_that_leaves_the_answer_to_a_post(self) -> None:
        self.each("disconnects", leaves, "POST", "stream")

    def test_so_is_one_that_leaves_a_stream(self) -> None:
        self.each("leaves-stream", leaves, "GET", "stream")

    def test_so_is_one_that_leaves_its_upload(self) -> None:
        self.each("leaves-upload", leaves_upload)

    def test_trailers_of_a_request_end_no_connection(self) -> None:
        self.each("request_trailers", request_trailers)

    def test_trailers_of_an_answer_arrive(self) -> None:
        self.each("trailers", answer_trailers)

    def test_early_hints_arrive(self) -> None:
        self.each("early_hints", early_hints)

    def test_websockets_work(self) -> None:
        self.each("websocket", websocket, versions=["HTTP/1.1"])


def _id() -> str:
    return uuid.uuid4().hex


def streams(place: Place, version: str, method: str, kind: str, coding: str, more: str = "") -> None:
    id = _id()
    asked = place.ask(
        version, method, f"/stream?id={id}&type={kind}{more}", {"accept-encoding": coding} if coding else {}
    )
    assert asked.head() == 200, asked.status
    for number in range(3):
        asked.until(f"piece {number} ")
        place.say("next", id)
    place.say("end", id)
    assert asked.whole().count("piece") >= 3


def second_client(place: Place, version: str) -> None:
    id = _id()
    path = f"/stream?id={id}&type=sse"
    one = place.ask(version, "GET", path)
    one.until("piece 0 ")
    two = place.ask(version, "GET", path)
    two.until("piece 0 ")
    place.say("next", id)
    one.until("piece 1 ")
    two.until("piece 1 ")
    place.say("end", id)


def uploads(place: Place, version: str, known: bool) -> None:
    id = _id()
    if known and version == "HTTP/1.1":
        # The first part comes with the headers, as clients send it.
        size = {"content-length": "600"}
        asked = place.open(version).ask("POST", f"{place.prefix}/upload?id={id}", size, body=b"x" * 200)
        send = asked.sock.sendall
    else:
        size = {"content-length": "600"} if known else {}
        asked = place.ask(version, "POST", f"/upload?id={id}", size, open=True)
        send = asked.send
        send(b"x" * 200)
    place.say("got", id, "&bytes=200")
    for number in (2, 3):
        send(b"x" * 200)
        place.say("got", id, f"&bytes={200 * number}")
    if not (known and version == "HTTP/1.1"):  # what says how long it is has no last chunk
        asked.finish()
    assert asked.head() == 200
    assert asked.whole() == "600"


def leaves(place: Place, version: str, method: str, what: str) -> None:
    id = _id()
    asked = place.ask(version, method, f"/{what}?id={id}&type=sse")
    place.say("came", id)
    if what == "stream":
        asked.until("piece 0 ")
    asked.leave()
    place.say("left", id)


def leaves_upload(place: Place, version: str) -> None:
    id = _id()
    size, part = {"content-length": "600"}, b"x" * 100
    if version == "HTTP/1.1":
        asked = place.open(version).ask("POST", f"{place.prefix}/upload?id={id}", size, body=part)
    else:
        asked = place.ask(version, "POST", f"/upload?id={id}", size, open=True)
        asked.send(part)
    place.say("got", id, "&bytes=100")
    asked.leave()
    place.say("left", id)


def request_trailers(place: Place, version: str) -> None:
    """Passed on or dropped, but other streams of the connection go on, and so does the request."""
    id = _id()
    beside = place.ask(version, "GET", f"/stream?id={id}&type=sse")
    beside.until("piece 0 ")
    asked = beside.more() if version != "HTTP/1.1" else place.open(version)
    asked.ask("POST", place.prefix + "/echo", {"trailer": "x-sum"}, open=True)
    asked.send(b"body")
    asked.finish({"x-sum": "1"})
    assert asked.head() == 200, asked.status
    assert json.loads(asked.whole())["body"] == "body"
    place.say("next", id)
    beside.until("piece 1 ")
    place.say("end", id)


def answer_trailers(place: Place, version: str) -> None:
    wants = {"te": "trailers", **({"connection": "te"} if version == "HTTP/1.1" else {})}
    asked = place.ask(version, "POST", "/trailers", wants)
    assert asked.head() == 200
    assert asked.whole() == "body"
    assert asked.trailers.get("x-told") == "at the end", asked.trailers


def early_hints(place: Place, version: str) -> None:
    id = _id()
    asked = place.ask(version, "GET", f"/early?id={id}", {"sec-fetch-mode": "navigate"})
    assert "style.css" in asked.hints(), asked.interim
    place.say("end", id)
    assert asked.head() == 200


def websocket(place: Place, version: str) -> None:
    asked = place.ask(version, "GET", "/ws", UPGRADE)
    assert asked.head() == 101, asked.status
    for word in (b"one", b"two"):
        asked.sock.sendall(bytes([0x82, 0x80 | len(word), 0, 0, 0, 0]) + word)
        asked.until(word.decode())
