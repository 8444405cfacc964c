"""Trace context, the lines that engines write, and how hops become a trip."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tierline.trips import record
from tierline.trips.hop import Hop
from tierline.trips.normalise import hop as read
from tierline.trips.trip import document, ordered, own_times

# Trace context -----------------------------------------------------------------------------------------------

GOOD = f"00-{'ab' * 16}-{'cd' * 8}-01"


def test_a_traceparent_is_read_and_written() -> None:
    span = record.parse(GOOD)
    assert span is not None
    assert (span.trace, span.span, span.sampled) == ("ab" * 16, "cd" * 8, True)
    assert span.traceparent == GOOD
    assert not record.parse(GOOD[:-1] + "0").sampled  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "wrong",
    [
        None, "", "nonsense", GOOD[:-1], GOOD + "0", GOOD.replace("00-", "ff-", 1), GOOD.replace("ab", "zz"),
        f"00-{'0' * 32}-{'cd' * 8}-01", f"00-{'ab' * 16}-{'0' * 16}-01", "-" * 55, GOOD[:-2] + "zz",
    ],
)  # fmt: skip
def test_what_is_no_traceparent_is_nobodys_trace(wrong: str | None) -> None:
    assert record.parse(wrong) is None


def test_nothing_is_recorded_outside_a_sampled_request(tmp_path: Path) -> None:
    before, record.recorder = record.recorder, record.Recorder(tmp_path / "hops.jsonl")
    try:
        with record.hop("domain", "postgresql"):
            pass
        token = record.current.set(record.Span("ab" * 16, "cd" * 8, False))
        with record.hop("domain", "postgresql"):
            pass
        record.current.reset(token)
        record.recorder.flush()
    finally:
        record.recorder = before
    assert (tmp_path / "hops.jsonl").read_text() == ""


def test_what_fails_inside_a_hop_is_marked_and_goes_on_failing(tmp_path: Path) -> None:
    before, record.recorder = record.recorder, record.Recorder(tmp_path / "hops.jsonl")
    token = record.current.set(record.Span("ab" * 16, "cd" * 8, True))
    try:
        with pytest.raises(KeyError), record.hop("core", "valkey", name="GET"):
            raise KeyError
        record.recorder.flush()
    finally:
        record.current.reset(token)
        record.recorder = before
    (line,) = (tmp_path / "hops.jsonl").read_text().splitlines()
    told = json.loads(line)
    assert (told["s"], told["a"]) == (1, {"error.type": "KeyError"})


# What engines write ------------------------------------------------------------------------------------------


def line(**told: Any) -> bytes:
    return json.dumps({"f": "01", "s": 200, "t": "ab" * 16, "i": "cd" * 8, "T": "cdn", **told}).encode()


@pytest.mark.parametrize(
    ("system", "written", "shown"),
    [
        ("nginx", "HIT", "hit"), ("nginx", "MISS", "miss"), ("nginx", "STALE", "stale"), ("nginx", "UPDATING", "stale"),
        ("nginx", "REVALIDATED", "revalidated"), ("envoy", "via_upstream", "allowed"),
        ("envoy", "jwt_authn_access_denied{Jwt_is_missing}", "refused: token"),
        ("envoy", "local_rate_limited", "refused: rate limit"), ("envoy", "route_not_found", "no route"),
        ("envoy", "no_healthy_upstream", "nobody behind"),
        ("envoy", "upstream_reset_before_response_started{x}", "upstream failed"),
        ("envoy", "something_new", "something_new"), ("valkey", "ok", "ok"),
    ],
)  # fmt: skip
def test_a_verdict_is_told_in_the_same_words_whoever_wrote_it(system: str, written: str, shown: str) -> None:
    found = read(
        line(y=system, v=written, tp=GOOD, d="5", b=1) if system == "envoy" else line(y=system, v=written)
    )
    assert found is not None
    assert found.verdict == shown


def test_the_end_and_the_duration_in_seconds_become_a_beginning() -> None:
    found = read(line(y="nginx", E="1700000000.250", D="0.050"))
    assert found is not None
    assert (found.start_us, found.duration_us) == (1_700_000_000_200_000, 50_000)


def test_a_beginning_and_an_end_become_a_duration() -> None:
    found = read(line(y="haproxy", b="1000", e="4500"))
    assert found is not None
    assert (found.start_us, found.duration_us) == (1000, 3500)


def test_attributes_that_say_nothing_are_left_out() -> None:
    found = read(line(y="nginx", a={"a": "", "b": "-", "c": None, "d": "x", "e": 0}))
    assert found is not None
    assert found.attributes == {"d": "x", "e": 0}


@pytest.mark.parametrize(
    "torn",
    [
        b"",
        b"{",
        b"[]",
        b"3",
        b"null",
        b'"x"',
        b'{"E": "soon"}',
        b'{"tp": "a-b"}',
        b'{"s": {}}',
        b'{"a": 3}',
        b"\xff",
    ],
)
def test_a_line_that_can_not_be_read_is_no_hop(torn: bytes) -> None:
    assert read(torn) is None


# A trip ------------------------------------------------------------------------------------------------------


def hop(
    tier: str, start: int, took: int, span: str = "", parent: str = "", step: int = 1, **more: Any
) -> Hop:
    return Hop(
        trace="t", span=span, parent=parent, tier=tier, system=tier, start_us=start, duration_us=took,
        resolution_us=step, **more,
    )  # fmt: skip


def test_hops_are_ordered_from_the_client_inwards_whatever_order_they_come_in() -> None:
    hops = [
        hop("feature", 40, 10, "5", "4"), hop("lb", 20, 60, "3", "2"), hop("client", 0, 100, "1"),
        hop("gateway", 30, 40, "4", "3"), hop("cdn", 10, 80, "2", "1"), hop("feature", 55, 10, "6", "4"),
    ]  # fmt: skip
    assert [(each.tier, each.start_us) for each in ordered(hops)] == [
        ("client", 0), ("cdn", 10), ("lb", 20), ("gateway", 30), ("feature", 40), ("feature", 55),
    ]  # fmt: skip


def test_a_hop_that_came_twice_is_shown_once_and_a_missing_parent_hides_nobody() -> None:
    hops = [hop("client", 0, 100, "1"), hop("domain", 50, 5, "9", "8"), hop("domain", 50, 5, "9", "8")]
    assert [each.tier for each in ordered(hops)] == ["client", "domain"]
    assert ordered([]) == []


def test_parents_in_a_circle_are_shown_all_the_same() -> None:
    assert len(ordered([hop("cdn", 0, 1, "1", "2"), hop("lb", 0, 1, "2", "1")])) == 2


def test_own_time_is_what_the_hops_below_do_not_cover() -> None:
    hops = ordered(
        [
            hop("client", 0, 100, "1"), hop("gateway", 10, 80, "2", "1"),
            hop("feature", 20, 30, "3", "2"), hop("feature", 40, 30, "4", "2"),  # at once: 20 to 70
        ]
    )  # fmt: skip
    assert own_times(hops) == [20, 30, 30, 30]


def test_a_coarse_clock_is_fitted_between_its_neighbours() -> None:
    """nginx tells milliseconds: it can't have begun before its caller or after who it called."""
    hops = ordered(
        [
            hop("client", 10_300, 2_000, "1"), hop("cdn", 10_000, 1_000, "2", "1", step=1000),
            hop("lb", 11_100, 900, "3", "2"),
        ]
    )  # fmt: skip
    client, cdn, lb = hops
    assert client.start_us <= cdn.start_us <= lb.start_us
    assert (
        lb.start_us + lb.duration_us <= cdn.start_us + cdn.duration_us <= client.start_us + client.duration_us
    )
    assert all(own >= 0 for own in own_times(hops))


def test_what_an_envoy_called_stands_below_it_whenever_a_coarse_clock_saw_it_begin() -> None:
    """Envoy passes its parent's context on: to the cache that it calls as a balancer, and to services."""
    hops = [
        hop("client", 1_000, 9_000, "1"), hop("lb", 2_300, 7_000, "2", "1"),
        hop("cache", 2_000, 7_000, "3", "1", step=1000), hop("gateway", 4_000, 4_000, "4", "3"),
        hop("feature", 3_900, 3_000, "5", "3"),
    ]  # fmt: skip
    assert [each.tier for each in ordered(hops)] == ["client", "lb", "cache", "gateway", "feature"]


def test_the_document_counts_from_the_first_hop() -> None:
    hops = [
        hop("client", 1000, 50, "1", status=404, name="GET /x"),
        hop("domain", 1010, 5, "2", "1", status=1),
    ]
    told = document("t", 404, 50, hops)
    assert (told["trace_id"], told["status"], told["total_us"]) == ("t", 404, 50)
    assert [each["start_us"] for each in told["hops"]] == [0, 10]
    assert told["hops"][0]["attributes"] == {"name": "GET /x", "http.response.status_code": 404}
    assert told["hops"][1]["attributes"] == {"error": True}
