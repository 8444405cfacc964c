"""Streams and steps through the cinema's whole line: nothing between holds a stream back, or keeps a visitor's cookie."""

from __future__ import annotations

import json
import re
import ssl
from typing import Any

import httpx
import pytest

from workbench import Bench, run

pytestmark = pytest.mark.real

EVENTS = {"accept": "text/event-stream"}


def device(line: Bench) -> httpx.Client:
    trust = ssl.create_default_context(cafile=str(line.state / "authority" / "ca.pem"))
    urls = line.status()["urls"]
    return httpx.Client(base_url=urls["https"], headers={"host": "cinema.test"}, verify=trust, timeout=60)


def stopped(client: httpx.Client) -> Any:
    found = client.get("/resume").json()["going_on"]
    return found and found["film"]["title"]


def test_a_stream_comes_through_every_tier_in_pieces(cinema: Bench) -> None:
    with device(cinema) as client, client.stream("GET", "/home?stream", headers=EVENTS) as reply:
        assert reply.headers["content-type"] == "text/event-stream"
        assert (
            reply.headers["cache-control"] == "no-store" and "tierline_session" in reply.headers["set-cookie"]
        )
        pieces = list(reply.iter_raw())
    assert len(pieces) > 1, "sent as the parts were ready, not all at the end"
    events = re.findall(r"^event: (\w+)$", b"".join(pieces).decode(), re.MULTILINE)
    assert events == ["part", "part", "part", "end"]


def test_what_caches_keep_carries_no_cookie(cinema: Bench) -> None:
    with device(cinema) as client:
        for _ in range(2):
            answer = client.get("/film/41001")
            assert answer.status_code == 200 and answer.headers["cache-control"].startswith("public")
            assert "set-cookie" not in answer.headers and "x-tierline-step" not in answer.headers


def test_a_member_goes_on_on_another_device_and_buys(cinema: Bench) -> None:
    with device(cinema) as laptop, device(cinema) as phone:
        laptop.get("/home?stream", headers=EVENTS)
        laptop.get("/film/20545?stream", headers=EVENTS)
        assert stopped(laptop) == "The Godfather"
        login = laptop.post("/login", json={"name": "Grace"}).json()
        token = {"authorization": f"Bearer {login['token']}"}
        laptop.post("/join", headers=token).raise_for_status()
        phone.get("/home?stream", headers=EVENTS)
        assert phone.post("/join").status_code == 401 and stopped(phone) is None
        phone.post("/join", headers=token).raise_for_status()
        assert stopped(phone) == "The Godfather", "without the token: the device stands for the member"
        wanted = {"film_id": 20545, "seats": 1, "email": "grace@example.com"}
        bought = phone.post("/checkout", json=wanted, headers=token)
        assert bought.headers["x-tierline-step"] == "tickets;3/3"
        assert stopped(laptop) is None
        phone.delete("/resume").raise_for_status()
        assert "tierline_session" not in phone.cookies


def test_a_trips_critical_path_is_explained(cinema: Bench) -> None:
    trip = json.loads(run("trip", str(cinema.folder), "/film/41002", "--json").stdout)
    for trace in (trip["trace_id"], trip["trace_id"][:16]):
        done = run("journey", "film", str(cinema.folder), "--trip", trace)
        assert re.search(r"^  critical  \w+( → \w+)*: [\d.]+ ms$", done.stdout, re.MULTILINE), done.stdout
    wrong = run("journey", "film", str(cinema.folder), "--trip", "nothing")
    assert wrong.returncode == 2 and "is the beginning of 0 of the last" in wrong.stderr
