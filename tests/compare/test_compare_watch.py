"""What a watched kill says: counted from samples, and from the tiers' own counts."""

from __future__ import annotations

from typing import Any

from tierline.compare.load import Load, Sample
from tierline.compare.saviours import Counts, told
from tierline.compare.watch import noticed, text


def load(*samples: Sample) -> Load:
    return Load(list(samples), 12.0, 0.0, 0.1)


def steady(begin: float, end: float, latency: float = 0.002, status: int = 200) -> list[Sample]:
    return [Sample(begin + n / 100, latency, status, "hit") for n in range(round((end - begin) * 100))]


def test_nothing_is_noticed_when_every_request_is_answered_in_time() -> None:
    found = noticed(load(*steady(0, 12)), 4, 8)
    assert (found.failed, found.slow, found.recovered) == (0, 0, 0.0)
    assert found.marks == "·" * 16 + "|" + "·" * 16 + "|" + "·" * 16
    assert "nobody noticed" in text(found, "zone a killed")


def test_failures_count_and_recovery_without_healing_is_told_from_the_event() -> None:
    found = noticed(load(*steady(0, 4), *steady(4, 5, status=503), *steady(5, 12)), 4, 8)
    assert found.failed == 100
    assert found.statuses == {200: 1100, 503: 100}
    assert found.marks == "·" * 16 + "|××××" + "·" * 12 + "|" + "·" * 16
    assert "back to normal after 1.00 s, without being healed" in text(found, "zone a killed")
    assert {name: phase.failed for name, phase in found.phases.items()} == {
        "before": 0,
        "while": 100,
        "after": 0,
    }


def test_what_only_healing_ends_is_told_from_the_healing() -> None:
    found = noticed(load(*steady(0, 4), *steady(4, 8.5, status=502), *steady(8.5, 12)), 4, 8)
    assert "back to normal 0.50 s after it was healed, not before" in text(found, "everything killed")


def test_what_ends_as_it_is_healed_was_ended_by_that() -> None:
    found = noticed(load(*steady(0, 4), *steady(4, 8, status=502), *steady(8, 12)), 4, 8.02)
    assert "back to normal 0.00 s after it was healed, not before" in text(found, "everything killed")


def test_no_answer_at_all_is_a_failure() -> None:
    found = noticed(load(*steady(0, 4), *steady(4, 12, status=0)), 4, 8)
    assert found.recovered is None
    assert "not back to normal by the end" in text(found, "everything killed")
    assert "800 × no answer" in text(found, "everything killed")


def test_slow_means_far_slower_than_before_and_noticeable() -> None:
    found = noticed(load(*steady(0, 4), *steady(4, 5, latency=0.2), *steady(5, 12, latency=0.004)), 4, 8)
    assert (found.slow, found.failed) == (100, 0)
    assert found.marks.startswith("·" * 16 + "|~~~~·")


def test_one_slow_request_among_many_is_counted_and_no_outage() -> None:
    found = noticed(load(*steady(0, 6), Sample(6.005, 0.3, 200, "hit"), *steady(6.01, 12)), 4, 8)
    assert found.slow == 1
    assert "hardly anybody noticed" in text(found, "zone a killed")


# Who saved the day -------------------------------------------------------------------------------------------


def row(tier: str, zone: str, requests: int, status: int = 200, verdict: str = "miss") -> dict[str, Any]:
    return {
        "tier": tier, "system": "x", "zone": zone, "status": status, "verdict": verdict, "requests": requests
    }  # fmt: skip


def both(tier: str, a: int, b: int) -> list[dict[str, Any]]:
    return [row(tier, "a", a), row(tier, "b", b)]


def test_who_sent_a_dead_zones_requests_elsewhere_is_named() -> None:
    before = [*both("cdn", 0, 0), *both("lb", 0, 0), *both("gateway", 0, 0)]
    begun = [row("cdn", "eu-west-1", 100), *both("lb", 50, 50), *both("gateway", 50, 50)]
    ended = [row("cdn", "eu-west-1", 200), *both("lb", 52, 148), *both("gateway", 52, 148)]
    assert told(Counts(before, begun, ended, 4, 4)) == ["cdn sent what lb in a would have got to lb in b"], (
        "and nobody is named for what is behind it"
    )


def test_who_tried_again_is_named_and_what_came_anyway_is_not() -> None:
    before = [row("lb", "a", 0), row("gateway", "a", 0), row("gateway", "a", 0, 503)]
    begun = [row("lb", "a", 100), row("gateway", "a", 100), row("gateway", "a", 2, 503)]
    ended = [row("lb", "a", 200), row("gateway", "a", 190), row("gateway", "a", 24, 503)]
    assert told(Counts(before, begun, ended, 4, 4)) == [
        "lb answered 20 of 20 requests that failed at gateway all the same"
    ]


def test_stale_copies_are_a_rescue_only_beyond_what_is_usual() -> None:
    def counts(stale: int) -> list[str]:
        usual = [row("cache", "a", 0), row("cache", "a", 0, 200, "stale")]
        begun = [row("cache", "a", 90), row("cache", "a", 10, 200, "stale")]
        ended = [row("cache", "a", 100), row("cache", "a", 10 + stale, 200, "stale")]
        return told(Counts(usual, begun, ended, 4, 4))

    assert counts(12) == ["cache answered 55% from its copies, and asked nobody behind it"]
    assert counts(90)[0] == "cache answered 80 more than usual from stale copies"
