"""Uploads and downloads that pass through: streamed both ways, with ranges and conditions, bounded, and guarded."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from served_files import PIECE
from serving import granian

from tierline.errors import StackError
from tierline.journeys import Journey, Passage, build
from tierline.lineups import choose
from tierline.openapi.diff import changes
from tierline.plan.model import Plan
from tierline.plan.resolve import resolve
from tierline.plan.show import text
from tierline.stack import load
from waiting import eventually


@pytest.fixture(scope="module", params=["in this process", "elsewhere"])
def address(request: pytest.FixtureRequest) -> Iterator[str]:
    with contextlib.ExitStack() as stack:
        words = {}
        if request.param == "elsewhere":
            words["FILES"] = stack.enter_context(granian("served_files:service"))
        yield stack.enter_context(granian("served_files:app", **words))


@pytest.fixture
def client(address: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://{address}", timeout=20) as found:
        yield found


def test_an_upload_arrives_whole_and_its_answer_comes_back(client: httpx.Client) -> None:
    body = PIECE * 40
    for content in (body, (PIECE for _ in range(40))):
        reply = client.put(
            "/uploads/a%20b", content=content,
            headers={"content-type": "image/png", "authorization": "Bearer x", "cookie": "s=1", "x-own": "1"},
        )  # fmt: skip
        assert reply.status_code == 201
        first, *headers = reply.text.split("\n")
        assert first.split() == [
            "PUT",
            "/files/a%20b",
            str(len(body)),
            hashlib.sha256(body).hexdigest(),
            "True",
        ]
        sent = dict(line.split(": ", 1) for line in headers)
        assert (sent["content-type"], sent["authorization"]) == ("image/png", "Bearer x")
        assert not {"cookie", "x-own"} & sent.keys()
        assert not {"set-cookie", "x-secret"} & reply.headers.keys()
        assert reply.headers["cache-control"] == "private, no-cache", "it was answered to a token"
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["content-security-policy"] == "script-src 'none'", "an SVG has scripts too"
    form = client.post("/uploads/f", files={"file": ("a.txt", b"hello", "text/plain")})
    assert "content-type: multipart/form-data; boundary=" in form.text


def test_neither_an_upload_nor_a_download_is_held_in_memory(client: httpx.Client, address: str) -> None:
    port = int(address.rpartition(":")[2])
    pids = {c.pid for c in psutil.net_connections("tcp") if c.laddr and c.laddr.port == port and c.pid}
    processes = {
        p for pid in pids for p in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    }

    def used() -> int:
        return sum(process.memory_info().rss for process in processes if process.is_running())

    client.put("/uploads/warm", content=PIECE * 8)
    client.get("/files/500000")
    before, most = used(), 0
    reply = client.put("/uploads/big", content=(PIECE for _ in range(1600)))
    assert reply.text.split()[2] == str(1600 * len(PIECE))
    most = max(most, used())
    with client.stream("GET", "/files/100000000") as download:
        total = 0
        for piece in download.iter_raw():
            total += len(piece)
            if total % 10 == 0:
                most = max(most, used())
    assert total == 100_000_000
    assert max(most, used()) - before < 40_000_000


def test_ranges_and_conditions_are_kept(client: httpx.Client) -> None:
    whole = client.get("/files/1000")
    assert (whole.status_code, len(whole.content), whole.headers["content-type"]) == (200, 1000, "image/png")
    assert whole.headers["etag"] == '"v1"' and whole.headers["content-disposition"] == "attachment"
    part = client.get("/files/1000", headers={"range": "bytes=10-19", "if-range": '"v1"'})
    assert (part.status_code, part.content) == (206, PIECE[:10])
    assert part.headers["content-range"] == "bytes 10-19/1000"
    assert client.get("/files/1000", headers={"range": "bytes=10-19", "if-range": '"v0"'}).status_code == 200
    same = client.get("/files/1000", headers={"if-none-match": '"v1"'})
    assert (same.status_code, same.content) == (304, b"")
    head = client.head("/files/1000")
    assert (head.status_code, head.headers["content-length"], head.content) == (200, "1000", b"")
    out = client.get("/files/1000", headers={"range": "bytes=2000-"})
    assert (out.status_code, out.headers["content-range"]) == (416, "bytes */1000")
    assert "secret" not in out.text and out.headers["content-type"] == "application/problem+json"


def test_refusals_come_before_the_body_and_tell_nothing_of_the_service(client: httpx.Client) -> None:
    refused = client.get("/files/refused")
    assert (refused.status_code, refused.headers["retry-after"]) == (403, "7")
    assert client.get("/files/fails").status_code == 502
    for reply in (refused, client.get("/files/fails")):
        assert "secret" not in reply.text and reply.json()["journey"] == "files"
    with pytest.raises(httpx.HTTPError):
        client.get("/files/breaks")
    assert client.put("/files/1000").status_code == 405
    assert client.put("/files/1000").headers["allow"] == "GET"
    assert client.get("/files/film").json() == {"details": "a journey"}
    assert client.get("/nothing/1").status_code == 404
    for path in ("/files/..%2f", "/files/%2e%2e"):
        assert client.get(path).status_code in (404, 502)
    cross = {"cookie": "a=b", "origin": "https://evil.test"}
    assert client.put("/uploads/x", content=b"1", headers=cross).status_code == 403


def test_bodies_are_bounded_in_size_type_and_time(client: httpx.Client, address: str) -> None:
    image = {"content-type": "image/png"}
    assert client.put("/small/a", content=b"x" * 1000, headers=image).status_code == 201
    big = client.put("/small/a", content=b"x" * 1001, headers=image)
    assert big.status_code == 413 and "larger than 1000 bytes" in big.json()["detail"]
    assert client.put("/small/a", content=(b"x" * 600 for _ in range(2)), headers=image).status_code == 413
    wrong = client.put("/small/a", content=b"x", headers={"content-type": "text/html"})
    assert wrong.status_code == 415 and "allowed: image/*, multipart/form-data" in wrong.json()["detail"]
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=60) as slow:
        slow.sendall(
            b"PUT /small/a HTTP/1.1\r\nhost: x\r\ncontent-type: image/png\r\ncontent-length: 10\r\n\r\nabc"
        )
        assert slow.recv(100).startswith(b"HTTP/1.1 408")


@pytest.mark.parametrize("kind", ["image/png", "text/html"])
def test_who_sends_on_is_still_told_of_the_refusal(address: str, kind: str) -> None:
    """A server that closes amid a body resets the connection, and what it said is lost on the way."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as sending:
        sending.sendall(
            f"PUT /small/a HTTP/1.1\r\nhost: x\r\ncontent-type: {kind}\r\ncontent-length: 20000000\r\n\r\n".encode()
        )
        sending.sendall(b"x" * 20_000_000)
        assert sending.recv(100).startswith(b"HTTP/1.1 41")


def test_a_client_that_leaves_ends_the_upload(client: httpx.Client, address: str) -> None:
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=60) as leaving:
        head = b"PUT /uploads/gone HTTP/1.1\r\nhost: x\r\ncontent-length: 100000000\r\n\r\n"
        leaving.sendall(head + b"x" * 100_000)
    assert eventually(lambda: "left" in client.get("/files/seen").text)
    assert "/files/gone" not in client.get("/files/seen").text, "the service never takes it for whole"


def test_who_may_is_asked_first(client: httpx.Client) -> None:
    def token(**claims: str) -> dict[str, str]:
        return {
            "x-tierline-claims": base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
        }

    nobody = client.get("/private/1000")
    assert (nobody.status_code, nobody.headers["www-authenticate"]) == (401, "Bearer")
    assert client.get("/private/1000", headers=token(sub="a", scope="other")).status_code == 403
    mine = client.get("/private/1000", headers=token(sub="a", scope="files:read"))
    assert (mine.status_code, mine.headers["cache-control"]) == (200, "private, no-cache")


def test_passages_are_part_of_the_contract(client: httpx.Client) -> None:
    document = client.get("/-/openapi.json").json()
    OpenAPIV31SpecValidator(document).validate()
    paths = document["paths"]
    assert paths["/uploads/{name}"].keys() == {"put", "post"}
    assert set(paths["/small/{name}"]["put"]["requestBody"]["content"]) == {"image/*", "multipart/form-data"}
    assert paths["/private/{name}"]["get"]["security"] == [{"bearer": ["files:read"]}]
    less = {**document, "paths": {path: item for path, item in paths.items() if path != "/uploads/{name}"}}
    assert [(each.rule, each.path) for each in changes(document, less)] == [
        ("path-removed", "/uploads/{name}")
    ]


def test_a_passage_that_can_not_be_is_told_when_it_is_written() -> None:
    for words, said in (
        ({"path": "files"}, "path: 'files' is not a path"),
        ({"at": "/x/{other}"}, "at: 'other' is no value of the path"),
        ({"methods": ["FETCH"]}, "methods: 'FETCH' is not allowed"),
        ({"media": "image/png"}, "is one text; give a list"),
        ({"media": ["png"]}, "media: 'png' is not a media type"),
        ({"most": "much"}, "most: 'much' is not a size"),
        ({"timeout": "soon"}, "timeout: 'soon' is not a duration"),
    ):
        with pytest.raises(StackError, match=said):
            Passage(**{"name": "files", "path": "/files/{id}", "to": "files", **words})  # type: ignore[arg-type]
    screen = Journey("screen", "/screen")
    screen.part(name="one")(lambda: 1)
    with pytest.raises(StackError, match="there is no service 'file', did you mean 'files'"):
        build([screen], services={"files": nowhere}, passages=[Passage("files", "/f", to="file")])


async def nowhere(scope: object, receive: object, send: object) -> None:
    """An application that is never asked."""


STACK = """
from served_files import service
from tierline import Gateway, HTTPCache, Journey, LoadBalancer, Service, Stack
from tierline.journeys import Passage

screen = Journey("screen", "/screen")

@screen.part
def one() -> int:
    return 1

stack = Stack(
    "files", lb=LoadBalancer(), cache=HTTPCache(), gateway=Gateway(), journeys=[screen], zones=["a"],
    services=[Service("files", "served_files:service")],
    passages=[{passages}],
)
"""


def test_a_stack_leads_passages_past_its_cache(tmp_path: Path) -> None:
    def planned(passages: str) -> Plan:
        (tmp_path / "stack.py").write_text(STACK.format(passages=passages))
        stack, _ = load(tmp_path / "stack.py")
        return resolve(stack, choose("embedded", ()))

    found = planned('Passage("files", "/files/{name}", to="files")')
    experience = next(role for role in found.roles.values() if role.slot == "experience")
    assert {"name": "files", "path": "/files/{name}", "private": True} in experience.settings["journeys"]
    assert "bypass /files/{name} → gateway" in text(found, {})
    for passages, said in (
        ('Passage("files", "/files", to="nobody")', "Passage objects to files"),
        ('"/files"', "Passage objects to files"),
        ('Passage("screen", "/files", to="files")', "journeys whose names differ"),
    ):
        with pytest.raises(StackError, match=said):
            planned(passages)
