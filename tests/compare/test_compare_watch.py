"""What a watched kill says: counted from samples."""

from __future__ import annotations

from tierline.compare.load import Load, Sample
from tierline.compare.watch import noticed, saved, text


def load(*samples: Sample) -> Load:
    return Load(list(samples), 10.0, 0.0, 0.1)


def steady(begin: float, end: float, latency: float = 0.002, status: int = 200) -> list[Sample]:
    return [Sample(begin + n / 100, latency, status, "hit") for n in range(int((end - begin) * 100))]


def test_nothing_is_noticed_when_every_request_is_answered_in_time() -> None:
    found = noticed(load(*steady(0, 10)), at=3)
    assert (found.failed, found.slow, found.recovered_after) == (0, 0, 0.0)
    assert "nothing to recover from" in text(found, "killed zone a")


def test_failures_count_and_recovery_is_told_from_the_event() -> None:
    found = noticed(load(*steady(0, 3), *steady(3, 4, status=503), *steady(4, 10)), at=3)
    assert found.failed == 100
    assert found.recovered_after is not None and 1.0 < found.recovered_after < 1.5
    assert found.statuses == {200: 900, 503: 100}


def test_no_answer_at_all_is_a_failure() -> None:
    found = noticed(load(*steady(0, 3), *steady(3, 10, status=0)), at=3)
    assert found.recovered_after is None
    assert "not by the end" in text(found, "killed everything")


def test_slow_means_far_slower_than_before_and_noticeable() -> None:
    found = noticed(load(*steady(0, 3), *steady(3, 4, latency=0.2), *steady(4, 10, latency=0.004)), at=3)
    assert (found.slow, found.failed) == (100, 0)


def test_the_tier_that_answered_for_another_is_named() -> None:
    row = {"tier": "cache", "system": "nginx", "zone": "a", "status": 200, "verdict": "stale", "requests": 5}
    assert saved([row], [{**row, "requests": 12}]) == ["cache answered 7 from a stale copy"]
