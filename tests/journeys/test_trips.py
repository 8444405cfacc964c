"""What a sampled request leaves behind: a hop per part, one for the journey, and its critical path."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec

from tierline.journeys import Journey, Passage, build, explain
from tierline.journeys.explaining import critical_path, mermaid, svg
from tierline.journeys.testing import Outcome, ask
from tierline.trips import record
from tierline.trips.hop import Hop

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"


def journey() -> Journey:
    film = Journey("film", "/film/{film_id}")

    @film.part
    async def details(film_id: int, catalog):
        await asyncio.sleep(0.005)  # slow: hops take time
        return (await catalog.get("/films/{id}", id=film_id)).json()

    @film.part(cache="60s")
    async def similar(details):
        await asyncio.sleep(0.005)  # slow: hops take time
        return []

    @film.part(fallback=None, deadline="5ms")
    async def rating(film_id):
        await asyncio.sleep(600)

    return film


async def catalog(scope: Any, receive: Any, send: Any) -> None:
    """Nests a hop of its own, as a service's client hooks do."""
    with record.hop("domain", "postgresql", name="SELECT films"):
        await asyncio.sleep(0.001)  # slow: hops take time
    sent = dict(scope["headers"])[b"traceparent"].decode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": msgspec.json.encode({"traceparent": sent})})


def trip(tmp_path: Path, flags: str, path: str = "/film/7") -> tuple[Outcome, list[Hop]]:
    file = tmp_path / "hops"
    before = record.recorder
    record.use(file)
    try:
        passages = [Passage("poster", "/poster/{film_id}", to="catalog", at="/posters/{film_id}")]
        application = build([journey()], services={"catalog": catalog}, passages=passages, zone="b")
        headers = {"traceparent": f"00-{TRACE}-{PARENT}-{flags}"}

        async def main() -> Outcome:
            return await ask(application, "GET", path, headers, None, Outcome())

        outcome = asyncio.run(main())
        record.recorder.flush()
    finally:
        record.recorder = before
    lines = file.read_bytes().splitlines() if file.exists() else []
    return outcome, [msgspec.json.decode(line, type=Hop) for line in lines]


def test_every_part_is_a_hop_under_the_journeys(tmp_path: Path) -> None:
    outcome, hops = trip(tmp_path, "01")
    by_name = {hop.name: hop for hop in hops}
    assert set(by_name) == {"film", "details", "similar", "rating", "GET /films/7", "SELECT films"}
    top = by_name["film"]
    assert {hop.trace for hop in hops} == {TRACE}
    assert (top.parent, top.tier, top.system, top.zone, top.status) == (
        PARENT,
        "experience",
        "journeys",
        "b",
        200,
    )
    assert top.verdict == "3 parts, critical: details → similar, without rating"
    for part in ("details", "similar", "rating"):
        assert by_name[part].parent == top.span
    assert by_name["rating"].verdict == "degraded"
    assert by_name["similar"].verdict == "miss"
    call = by_name["GET /films/7"]
    assert (call.tier, call.system, call.verdict, call.parent) == (
        "feature",
        "catalog",
        "fused",
        by_name["details"].span,
    )
    assert by_name["SELECT films"].parent == call.span
    assert outcome.body["details"]["traceparent"] == f"00-{TRACE}-{call.span}-01"
    assert by_name["similar"].start_us >= by_name["details"].start_us + by_name["details"].duration_us
    data = [msgspec.to_builtins(hop) for hop in hops]
    path = critical_path(journey(), data)
    assert [step["part"] for step in path] == ["details", "similar"]
    assert path[1]["waited_us"] >= 0
    assert "critical  details → similar:" in explain(journey(), data)


def test_a_passage_is_a_hop_above_the_services(tmp_path: Path) -> None:
    outcome, hops = trip(tmp_path, "01", "/poster/7")
    by_name = {hop.name: hop for hop in hops}
    assert set(by_name) == {"passage poster", "GET /posters/7", "SELECT films"}
    passage, call = by_name["passage poster"], by_name["GET /posters/7"]
    assert (passage.parent, passage.tier, passage.verdict, passage.zone, passage.status) == (
        PARENT, "experience", "passed", "b", 200,
    )  # fmt: skip
    assert (call.parent, call.tier, call.system, call.status) == (passage.span, "feature", "catalog", 200)
    assert by_name["SELECT films"].parent == call.span
    assert msgspec.json.decode(outcome.body)["traceparent"] == f"00-{TRACE}-{call.span}-01"
    _, counted = trip(tmp_path, "00", "/poster/7")
    assert [(hop.flags, hop.tier) for hop in counted[-1:]] == [("00", "experience")]


def test_what_is_not_sampled_is_counted_and_passes_its_trace_on(tmp_path: Path) -> None:
    outcome, hops = trip(tmp_path, "00")
    assert [(hop.flags, hop.tier, hop.status) for hop in hops] == [
        ("00", "feature", 200),
        ("00", "experience", 200),
    ]
    assert outcome.body["details"]["traceparent"].startswith(f"00-{TRACE}-")
    assert outcome.body["details"]["traceparent"].endswith("-00")


def test_the_schedule_in_words_and_pictures() -> None:
    film = journey()
    text = explain(film)
    assert "film  GET /film/{film_id}  deadline 5 s" in text
    assert "level 2   similar  after details; cached 60 s (public)" in text
    assert "rating   deadline 5 ms, falls back to None" in text
    assert "  details --> similar" in mermaid(film)
    picture = svg(film)
    assert picture.startswith("<svg") and picture.count("<rect") == 3
