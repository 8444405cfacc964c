"""Objects of a bucket as static files: through every CDN, with ranges and copies, and nothing else of the bucket."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import botocore.session
import httpx
import pytest

from workbench import Bench, run

STACK = """
from tierline import CDN, Bucket, Service, Stack
films = Bucket("films")
secret = Bucket("secret")
stack = Stack(
    "cinema", cdn=CDN(buckets={"/media/": "films"}), zones=["a"],
    services=[Service("one", "one:app", uses=[films, secret], expose=["/"])],
)
"""
APP = """
async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"service"})
"""
FILM = bytes(range(256)) * 400


@pytest.fixture(scope="module", params=["nginx", "varnish"])
def line(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    made = Bench(tmp_path_factory.mktemp(f"bucket-{request.param}"), STACK, {"one": APP})
    made.up("--use", f"cdn={request.param}")
    s3 = store(made)
    s3.put_object(Bucket="films", Key="media/a film.mp4", Body=FILM, ContentType="video/mp4")
    s3.put_object(Bucket="films", Key="private.txt", Body=b"not below /media/")
    s3.put_object(Bucket="secret", Key="media/plan.txt", Body=b"another bucket")
    yield made
    made.close()


def store(line: Bench) -> Any:
    """The bucket as the service has it."""
    env = json.loads(next(iter(line.state.glob("run/*/apps.json"))).read_text())["apps"][0]["env"]
    return botocore.session.get_session().create_client(
        "s3", region_name="us-east-1", endpoint_url=env["AWS_ENDPOINT_URL_S3"],
        aws_access_key_id=env["AWS_ACCESS_KEY_ID"], aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
    )  # fmt: skip


def ask(line: Bench, path: str, method: str = "GET", **headers: str) -> httpx.Response:
    told = line.status()
    url = told["urls"]["http"].rstrip("/") + path
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.request(method, url, headers={"host": told["domain"], **named}, trust_env=False)


def test_an_object_is_a_file_with_ranges_and_copies(line: Bench) -> None:
    answer = ask(line, "/media/a%20film.mp4")
    assert answer.status_code == 200 and answer.content == FILM
    assert answer.headers["content-type"] == "video/mp4" and "max-age" in answer.headers["cache-control"]
    assert not [name for name in answer.headers if name.startswith("x-amz") or name == "set-cookie"]
    part = ask(line, "/media/a%20film.mp4", range="bytes=100-199")
    assert part.status_code == 206 and part.content == FILM[100:200]
    assert part.headers["content-range"] == f"bytes 100-199/{len(FILM)}"
    assert ask(line, "/media/a%20film.mp4").headers["x-cache"].startswith("HIT")
    known = ask(line, "/media/a%20film.mp4", if_none_match=answer.headers["etag"])
    assert known.status_code == 304


@pytest.mark.parametrize(
    "path",
    [
        "/media/", "/media/none.mp4", "/media/?list-type=2", "/media/..%2fprivate.txt", "/media/%2e%2e/private.txt",
        "/media/../../secret/media/plan.txt", "/private.txt?list-type=2",
    ],
)  # fmt: skip
def test_nothing_else_of_the_bucket_can_be_had(line: Bench, path: str) -> None:
    answer = ask(line, path)
    assert b"another bucket" not in answer.content and b"not below" not in answer.content
    assert b"ListBucketResult" not in answer.content and b"<Code>" not in answer.content
    assert answer.status_code in (400, 404) or answer.content == b"service"


def test_a_question_to_the_bucket_is_answered_with_the_object(line: Bench) -> None:
    assert ask(line, "/media/a%20film.mp4?acl").content == FILM


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE"])
def test_nobody_can_write(line: Bench, method: str) -> None:
    assert ask(line, "/media/a%20film.mp4", method).status_code in (403, 405)
    assert ask(line, "/media/a%20film.mp4").content == FILM


def test_who_has_no_key_reads_only_what_is_public(line: Bench) -> None:
    endpoint = store(line).meta.endpoint_url
    assert httpx.get(f"{endpoint}/films/media/a%20film.mp4", trust_env=False).status_code == 200
    assert httpx.get(f"{endpoint}/films?list-type=2", trust_env=False).status_code == 403
    assert httpx.get(f"{endpoint}/secret/media/plan.txt", trust_env=False).status_code == 403
    assert httpx.put(f"{endpoint}/films/media/x", content=b"x", trust_env=False).status_code == 403


def test_an_unknown_bucket_is_told(line: Bench) -> None:
    wrong = line.folder / "wrong.py"
    wrong.write_text(STACK.replace('"/media/": "films"', '"/media/": "film"'))
    done = run("plan", str(wrong))
    assert done.returncode == 2 and "did you mean 'films'?" in done.stderr, done.stderr
