"""Two lines of one stack, really run beside each other."""

from __future__ import annotations

import json
from collections.abc import Callable

from tierline.compare.report import Line, verdict
from workbench import HELLO, Bench, run

TWO = """
from tierline import Gateway, HTTPCache, Service, Stack, Visit
stack = Stack(
    "two", cache=HTTPCache(), gateway=Gateway(), zones=["a"],
    services=[Service("hello", "hello:app", expose=["/"])],
    workload=[Visit("/x/{1..50}", weight=2), Visit("/y")],
)
"""


def test_compare_measures_both_tells_the_binaries_and_leaves_nothing(bench: Callable[..., Bench]) -> None:
    line = bench(TWO, hello=HELLO)
    page = line.folder / "page.html"
    done = run(
        "compare", "embedded", "--use", "cache=varnish", "--stack", str(line.folder), "--rounds", "2",
        "--seconds", "0.6", "--rate", "60", "--html", str(page), "--json", timeout=110,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert [each["name"] for each in told["lineups"]] == ["embedded", "embedded cache=varnish"]
    lines = {each["what"]: each for each in told["lines"]}
    assert all(median > 50 for median in lines["throughput"]["medians"])
    assert lines["errors"]["medians"] == [0.0, 0.0]
    assert all(len(rounds) == 2 for rounds in lines["median"]["rounds"])
    # Every process counts for a tier, those that help another too.
    assert "" not in lines and not any("" in each["memory_mb"] for each in told["lineups"])
    for lineup in told["lineups"]:
        programs = {each["engine"]: each for each in lineup["programs"]}
        assert {"envoy", lineup["lineup"]["cache"], "python"} <= set(programs)
        assert len(programs["envoy"]["sha256"]) == 64
        assert programs["envoy"]["version"].startswith("1.")
    text = page.read_text()
    assert "src=" not in text and "http://" not in text.replace("http://www.w3.org", "")
    assert not list(line.folder.glob(".tierline-compare-*"))


def test_a_share_that_only_one_lineup_has_apart_is_compared_with_nothing() -> None:
    values = [[100.0, 110.0], [0.0, 0.0]]
    assert (
        verdict(Line("  lb", "µs/request", "lower", values, "shared"), ["a", "b"])
        == "in another process there"
    )
    assert verdict(Line("  lb", "µs/request", "lower", values), ["a", "b"]) == "b"


def test_one_lineup_alone_is_refused(bench: Callable[..., Bench]) -> None:
    line = bench(TWO, hello=HELLO)
    done = run("compare", "embedded", "--stack", str(line.folder))
    assert done.returncode == 2
    assert "name two lineups" in done.stderr
