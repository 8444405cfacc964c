"""The line's counter: what it gives, what it remembers."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from tierline.engines.counter.counts import Counts
from tierline.engines.counter.store import Store


def line(
    kind: str, requests: int, per: float, *, who: str = "x", spent: int = 0, age: int = 0, want: int = 1
) -> bytes:
    return f"limit\t{kind}\t{requests}\t{per}\t{requests}\t{who}\t{spent}\t{age}\t{want}".encode()


def counts(path: Path) -> Counts:
    store = Store(path)
    return Counts(store.kept(), store.keep)


class Clock:
    """Time that passes when the test says so."""

    now = 1_000_000.0

    def time(self) -> float:
        return self.now

    monotonic = time


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("tierline.engines.counter.counts.time", clock)
    return clock


@pytest.fixture
def fresh(tmp_path: Path) -> Counts:
    return counts(tmp_path / "quotas.sqlite")


@pytest.mark.parametrize("kind", ["bucket", "window"])
def test_so_many_and_no_more(fresh: Counts, kind: str) -> None:
    assert [fresh.take([line(kind, 3, 600)])[:1] for _ in range(5)] == [b"+"] * 3 + [b"-"] * 2
    assert fresh.take([line(kind, 3, 600, who="y")])[:1] == b"+"


def test_all_limits_give_or_none_does(fresh: Counts) -> None:
    both = [line("bucket", 1, 600, who="a"), line("bucket", 9, 600, who="b")]
    assert fresh.take(both).startswith(b"+0.")
    assert fresh.take(both)[:1] == b"-"
    assert fresh.take(both[1:]).startswith(b"+7."), "who was refused took nothing of the other limit"


def test_a_bucket_fills_evenly(fresh: Counts, clock: Clock) -> None:
    assert [fresh.take([line("bucket", 2, 0.2)])[:1] for _ in range(3)] == [b"+", b"+", b"-"]
    clock.now += 0.11
    assert fresh.take([line("bucket", 2, 0.2)])[:1] == b"+"


def test_a_window_comes_back_whole(fresh: Counts, clock: Clock) -> None:
    assert [fresh.take([line("window", 2, 0.2)])[:1] for _ in range(3)] == [b"+", b"+", b"-"]
    clock.now += 0.21
    assert [fresh.take([line("window", 2, 0.2)])[:1] for _ in range(3)] == [b"+", b"+", b"-"]


def test_what_was_given_on_a_gateways_own_word_is_owed(fresh: Counts) -> None:
    fresh.take([line("bucket", 10, 600, spent=14, want=0)])
    assert fresh.take([line("bucket", 10, 600)]).startswith(b"--")
    # Long ago: it has filled up since.
    fresh.take([line("bucket", 10, 1, who="y", spent=10, age=5000, want=0)])
    assert fresh.take([line("bucket", 10, 1, who="y")]).startswith(b"+9")


def test_quotas_outlive_it(tmp_path: Path) -> None:
    path = tmp_path / "quotas.sqlite"
    first = counts(path)
    first.take([line("window", 5, 600), line("bucket", 5, 600)])
    first.take([line("window", 5, 600, spent=2)])
    assert counts(path).take([line("window", 5, 600)]).startswith(b"+0.")


def test_a_window_gives_many_at_once(fresh: Counts) -> None:
    assert fresh.take([line("window", 50, 600, want=20)]).endswith(b" 20\n")
    assert fresh.take([line("window", 50, 600, want=20)]).startswith(b"+10.")
    assert fresh.take([line("window", 50, 600, want=20)]).endswith(b" 10\n"), "what is left, and no more"
    assert fresh.take([line("window", 50, 600, want=20)])[:1] == b"-"


def test_a_changed_limit_applies_at_once(fresh: Counts) -> None:
    fresh.take([line("window", 5, 86400)])
    assert fresh.take([line("window", 9, 86400)]).startswith(b"+7.")
    # A day that became a minute isn't waited for.
    _, ends, _ = fresh.take([line("window", 9, 60)]).split()
    assert int(ends) <= 60_000


def test_a_broken_file_is_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "quotas.sqlite"
    path.write_bytes(b"no database" * 100)
    assert counts(path).take([line("window", 5, 600)])[:1] == b"+"
    assert path.with_suffix(".broken").exists()


def test_long_names_are_kept_short_and_apart(tmp_path: Path) -> None:
    kept: list[bytes] = []
    counts = Counts({}, lambda key, end, used: kept.append(key))
    names = ["x" * 100_000 + end for end in "ab"]
    for kind in ("window", "bucket"):
        given = [counts.take([line(kind, 2, 600, who=name)])[:1] for name in names * 3]
        assert given == [b"+"] * 4 + [b"-"] * 2
    assert len(set(kept)) == 2 and max(len(key) for key in kept) < 200
    # And whoever is told of with them is counted as ever.
    both = counts.take([line("bucket", 9, 600, who=names[0] * 2), line("bucket", 9, 600)])
    assert both.startswith(b"+8.") and both.count(b"\n8.") == 1


@pytest.mark.parametrize(
    "bad", [b"", b"x", b"a\tb", line("bucket", 1, 1) + b"\tmore", line("window", 1, 1)[:-4]]
)
def test_nonsense_is_refused(fresh: Counts, bad: bytes) -> None:
    with pytest.raises(ValueError):
        fresh.take([bad])


def test_a_quota_that_can_not_be_written_counts_and_is_written_later(tmp_path: Path) -> None:
    path = tmp_path / "quotas.sqlite"
    store = Store(path)
    counting = Counts(store.kept(), store.keep)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.with_name("quotas.sqlite-wal").stat().st_size, before[1]))
    try:
        given = [counting.take([line("window", 3, 600, who=who)])[:1] for who in "xyxxx"]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert given == [b"+", b"+", b"+", b"+", b"-"]
    assert not Store(path).kept()
    counting.take([line("window", 3, 600, who="y")])
    assert sorted(used for _, used in Store(path).kept().values()) == [2, 3]
