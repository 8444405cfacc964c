"""The cinema's whole line, as its clients see it: misses and hits, clients and regions, tokens, limits, orders."""

from __future__ import annotations

import json
import os
import time
from typing import Any

import httpx
import pytest

from waiting import eventually
from workbench import Bench, run

pytestmark = pytest.mark.real

PATH = ["dns", "cdn", "lb", "cache", "gateway", "experience", "feature", "core", "domain"]


def tiers(trip: dict[str, Any]) -> list[str]:
    """The tiers of a trip in the order in which the request reached them."""
    return list(dict.fromkeys(hop["tier"] for hop in trip["hops"]))


def first(trip: dict[str, Any], tier: str) -> dict[str, Any]:
    return next(hop for hop in trip["hops"] if hop["tier"] == tier)


def asked(line: Bench, path: str, *words: str) -> tuple[int, Any]:
    """Status and body of a trip."""
    done = run("trip", str(line.folder), path, "--body", *words)
    assert done.returncode == 0, done.stderr
    status = int(done.stdout.split(None, 1)[0])
    return status, json.loads(done.stdout.strip().splitlines()[-1])


def client(line: Bench, **more: Any) -> httpx.Client:
    """A client of the first place that trusts the line's own authority."""
    import ssl

    trust = ssl.create_default_context(cafile=str(line.state / "authority" / "ca.pem"))
    return httpx.Client(
        base_url=line.status()["urls"]["https"],
        headers={"host": "cinema.test"},
        verify=trust,
        http2=True,
        **more,
    )


def telemetry(line: Bench, path: str) -> Any:
    base, _, token = line.status()["urls"]["status"].partition("/?token=")
    answer = httpx.get(f"{base}{path}", headers={"authorization": f"Bearer {token}"})
    assert answer.status_code == 200
    return answer.json()


# Miss and hit ------------------------------------------------------------------------------------------------


def test_the_first_visit_goes_through_every_tier_and_the_second_ends_at_the_cdn(cinema: Bench) -> None:
    eventually(lambda: "all down" not in first(cinema.trip("/film/40001"), "dns")["verdict"], every=0.2)
    miss, hit = cinema.trip("/film/41975"), cinema.trip("/film/41975")
    assert miss["status"] == hit["status"] == 200
    assert sorted(set(tiers(miss)) - {"client"}, key=PATH.index) == PATH
    assert tiers(miss)[:7] == ["client", "dns", "cdn", "lb", "cache", "gateway", "experience"]
    assert first(miss, "cdn")["verdict"] == "miss"
    assert first(miss, "cache")["verdict"].startswith("miss")
    assert first(miss, "gateway")["verdict"].startswith("allowed")
    assert first(miss, "experience")["verdict"].startswith("3 parts, critical: ")
    assert any(hop["verdict"].startswith("replica-1") for hop in miss["hops"] if hop["tier"] == "domain")

    assert tiers(hit) == ["client", "dns", "cdn"]
    assert first(hit, "cdn")["verdict"] == "hit"


def test_a_trip_is_data_with_the_documented_fields(cinema: Bench) -> None:
    trip = cinema.trip("/film/40002")
    assert len(trip["trace_id"]) == 32
    assert set(trip) == {"trace_id", "status", "total_us", "hops"}
    for hop in trip["hops"]:
        assert set(hop) >= {"tier", "system", "zone", "start_us", "duration_us", "verdict", "attributes"}
        assert hop["system"], hop
        assert hop["start_us"] >= 0
        assert 0 <= hop["own_us"] <= hop["duration_us"] <= trip["total_us"] + 2000
    zones = {hop["zone"] for hop in trip["hops"] if hop["tier"] in ("lb", "cache", "gateway", "experience")}
    assert len(zones) == 1, "a request stays in its zone"


def test_a_trip_is_shown_as_a_waterfall(cinema: Bench) -> None:
    done = run("trip", str(cinema.folder), "/film/40003")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[0].startswith("200  ")
    assert " ms  /film/40003" in lines[0]
    shown = [line.split()[0] for line in lines[1:]]
    assert set(shown) >= {"client", *PATH}


# Clients and regions -----------------------------------------------------------------------------------------


def test_each_client_sees_its_own_shape(cinema: Bench) -> None:
    seen = {}
    for kind in ("web", "mobile", "affiliate"):
        status, body = asked(cinema, "/film/42", "--as", kind)
        assert status == 200
        assert body["film"]["id"] == 42
        seen[kind] = body
        again = cinema.trip("/film/42", "--as", kind)
        assert first(again, "client")["system"] == kind
        assert first(again, "cdn")["verdict"] == "hit"
    assert "votes" in seen["mobile"]["film"]
    assert set(seen["affiliate"]) == {"film"}
    assert seen["affiliate"]["film"]["link"] == "/?film=42"
    assert len({json.dumps(body, sort_keys=True) for body in seen.values()}) == 3


@pytest.mark.parametrize(
    ("region", "place"),
    [
        ("eu-west-1", "eu-west-1"), ("eu-central-1", "eu-west-1"), ("us-east-1", "us-east-1"),
        ("sa-east-1", "us-east-1"), ("ap-southeast-2", "ap-southeast-2"),
    ],
)  # fmt: skip
def test_a_client_is_sent_to_the_nearest_place(cinema: Bench, region: str, place: str) -> None:
    trip = cinema.trip("/home", "--from", region)
    assert trip["status"] == 200
    assert first(trip, "client")["zone"] == region
    assert first(trip, "dns")["verdict"] == f"latency → {place}"
    assert first(trip, "cdn")["zone"] == place


def test_each_place_keeps_its_own_copies(cinema: Bench) -> None:
    for region in ("eu-west-1", "us-east-1"):
        verdicts = [first(cinema.trip("/film/4711", "--from", region), "cdn")["verdict"] for _ in range(2)]
        assert verdicts == ["miss", "hit"]


def test_an_unknown_region_is_told_with_the_nearest(cinema: Bench) -> None:
    done = run("trip", str(cinema.folder), "/", "--from", "eu-west1")
    assert done.returncode == 2
    assert "unknown region, did you mean 'eu-west-1'?" in done.stderr


# Pages, problems, tokens and limits --------------------------------------------------------------------------


def test_the_page_and_its_files_come_through_the_cdn(cinema: Bench) -> None:
    with client(cinema) as web:
        page = web.get("/")
        assert page.status_code == 200
        assert page.headers["content-type"].startswith("text/html")
        assert "<!doctype html>" in page.text.lower()
    trip = cinema.trip("/")
    assert "feature" not in tiers(trip)


@pytest.mark.parametrize("path", ["/film/99999999", "/no/such/path"])
def test_what_is_not_there_is_a_problem_document(cinema: Bench, path: str) -> None:
    with client(cinema) as web:
        answer = web.get(path, headers={"accept": "application/json"})
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    told = answer.json()
    assert told["status"] == 404
    assert told["title"]


TICKETS = json.dumps({"film_id": 42, "seats": 2, "email": "ada@example.com"})


def test_checkout_without_a_token_is_refused_by_the_gateway(cinema: Bench) -> None:
    status, problem = asked(cinema, "/checkout", "--data", TICKETS)
    assert (status, problem["status"]) == (401, 401)
    trip = cinema.trip("/checkout", "--data", TICKETS)
    assert first(trip, "gateway")["verdict"].startswith("refused: token")
    assert "experience" not in tiers(trip)
    for token in ("nonsense", run("token", str(cinema.folder), "--lifetime", "-3600").stdout.strip()):
        assert asked(cinema, "/checkout", "--data", TICKETS, "--token", token)[0] == 401


def test_an_order_is_paid_and_its_receipt_arrives_in_the_inbox(cinema: Bench) -> None:
    told = json.dumps({"film_id": 42, "seats": 3, "email": "hedy@example.com"})
    status, bought = asked(cinema, "/checkout", "--data", told, "--token", "dev")
    assert status == 200
    assert bought["order"]["status"] == "placed"

    def order() -> Any:
        return asked(cinema, f"/orders/{bought['order']['id']}", "--token", "dev")[1]

    assert eventually(lambda: order()["paid_at"], every=0.2), order()
    base, _, token = cinema.status()["urls"]["mail"].partition("/?token=")

    def mails() -> Any:
        answer = httpx.get(
            f"{base}/api/mails",
            params={"recipient": "hedy@example.com"},
            headers={"authorization": f"Bearer {token}"},
        )
        return answer.json()["mails"]

    assert eventually(mails, every=0.2)
    assert len(mails()) == 1


def test_too_many_requests_are_refused_with_429_and_a_time_to_try_again(cinema: Bench) -> None:
    with client(cinema) as web:
        answers = [web.get(f"/leaderboard?n={n}", headers={"cache-control": "no-cache"}) for n in range(8)]
    statuses = [answer.status_code for answer in answers]
    assert 200 in statuses
    assert 429 in statuses
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert refused.json()["status"] == 429
    assert int(refused.headers["retry-after"]) >= 1
    trip = cinema.trip("/leaderboard?n=9")
    if trip["status"] == 429:
        assert first(trip, "gateway")["verdict"].startswith("refused: rate limit")


# Hops --------------------------------------------------------------------------------------------------------


def test_hops_land_in_duckdb_and_every_request_is_counted(cinema: Bench) -> None:
    def counted() -> int:
        return sum(each["requests"] for each in telemetry(cinema, "/counts") if each["tier"] == "cdn")

    before = counted()
    with client(cinema) as web:
        for _ in range(200):
            assert web.get("/film/42").status_code == 200
    assert eventually(lambda: counted() >= before + 200), (before, counted())
    assert counted() < before + 300, (
        "more were counted than came"
    )  # of those before some are counted only now
    tiers = {each["tier"] for each in telemetry(cinema, "/counts")}
    assert tiers >= {"dns", "cdn", "lb", "cache", "gateway", "experience", "feature"}
    database = cinema.state / "data" / "telemetry" / "hops.duckdb"
    assert database.stat().st_size > 0

    trip = cinema.trip("/film/40010")
    listed = telemetry(cinema, "/trips")
    assert trip["trace_id"] in {each["trace_id"] for each in listed}
    assert {hop["T"] for hop in telemetry(cinema, f"/trips/{trip['trace_id']}")} >= set(PATH)


def test_a_users_own_span_joins_the_trip(cinema: Bench) -> None:
    trace, now = os.urandom(16).hex(), time.time_ns()
    with client(cinema) as web:
        parent = os.urandom(8).hex()
        web.get("/film/40011", headers={"traceparent": f"00-{trace}-{parent}-01"})
    base = cinema.status()["urls"]["status"].partition("/?token=")[0]
    span = {
        "traceId": trace, "spanId": os.urandom(8).hex(), "parentSpanId": parent, "name": "draw the page",
        "startTimeUnixNano": str(now), "endTimeUnixNano": str(now + 5_000_000),
        "attributes": [{"key": "page", "value": {"stringValue": "film"}}],
    }  # fmt: skip
    service = {"attributes": [{"key": "service.name", "value": {"stringValue": "browser"}}]}
    sent = {"resourceSpans": [{"resource": service, "scopeSpans": [{"spans": [span]}]}]}
    assert httpx.post(f"{base}/v1/traces", json=sent).status_code == 200
    assert httpx.post(f"{base}/v1/traces", content=b"nonsense").status_code == 400

    def whole() -> bool:
        hops = telemetry(cinema, f"/trips/{trace}")
        return {"browser", "nginx"} <= {hop["y"] for hop in hops}

    assert eventually(whole)
    (mine,) = (hop for hop in telemetry(cinema, f"/trips/{trace}") if hop["y"] == "browser")
    assert (mine["n"], mine["d"], mine["a"]) == ("draw the page", 5000, {"page": "film"})


def test_the_status_page_needs_its_token(cinema: Bench) -> None:
    url = cinema.status()["urls"]["status"]
    page = httpx.get(url)
    assert page.status_code == 200
    assert "gateway.a" in page.text
    for path in ("/", "/trips", "/counts", "/?token=wrong"):
        assert httpx.get(url.partition("/?")[0] + path).status_code == 401
