"""When the autoscaler adds and removes, second by second: no process needed."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from tierline import Scale
from tierline.run.scale_rule import Rule


def played(
    scale: Scale, loads: Callable[[int, int], dict[str, float]], seconds: int, begin: int = 1
) -> list[tuple[int, int, str]]:
    """(second, instances, why) of every change. loads: what there is at a second with so many instances."""
    rule, instances, changes = Rule(scale.data()), begin, []
    for second in range(seconds):
        found = rule.decide(float(second), instances, loads(second, instances))
        if found is not None:
            instances = found.instances
            changes.append((second, instances, found.why))
    return changes


def rps(value: float) -> Callable[[int, int], dict[str, float]]:
    return lambda second, instances: {"rps": value}


def test_it_adds_as_many_as_are_needed_at_once_and_says_why() -> None:
    assert played(Scale(1, 4, rps=200), rps(412), 60) == [(0, 3, "412 requests/s over 200 per instance")]


def test_it_keeps_to_the_most_there_may_be() -> None:
    ((_, instances, why),) = played(Scale(1, 4, rps=200), rps(5000), 60)
    assert instances == 4 and why.endswith("max=4 allows no more")


def test_it_removes_one_after_the_other_each_after_a_whole_cooldown() -> None:
    changes = played(Scale(1, 4, rps=200, cooldown="10s"), rps(10), 60, begin=4)
    assert [(second, instances) for second, instances, _ in changes] == [(10, 3), (20, 2), (30, 1)]
    assert changes[0][2] == "10 requests/s under 200 per instance for 10 s"


def test_a_burst_in_the_cooldown_keeps_what_there_is() -> None:
    def sways(second: int, instances: int) -> dict[str, float]:
        return {"rps": 390.0 if second % 8 == 0 else 20.0}

    assert played(Scale(1, 4, rps=200, cooldown="10s"), sways, 200, begin=2) == []


def test_a_load_that_sways_around_its_target_changes_nothing() -> None:
    dice = random.Random(1)

    def sways(second: int, instances: int) -> dict[str, float]:
        return {"rps": dice.gauss(400, 15), "cpu": dice.gauss(0.9, 0.03)}

    assert played(Scale(1, 9, rps=200, cpu=0.5, cooldown="5s"), sways, 600, begin=2) == []


def test_it_rests_after_adding() -> None:
    def grows(second: int, instances: int) -> dict[str, float]:
        return {"rps": 100.0 * (second + 3)}

    changes = played(Scale(1, 50, rps=100, cooldown_out="10s"), grows, 40)
    assert [second for second, _, _ in changes] == [0, 10, 20, 30]


def test_latency_grows_by_at_most_double_and_shrinks_only_when_it_is_calm() -> None:
    def answers(second: int, instances: int) -> dict[str, float]:
        return {"latency": (1.6 if second < 40 else 0.05) / instances}

    changes = played(Scale(1, 16, latency="200ms", cooldown="6s", cooldown_out="5s"), answers, 120)
    assert [instances for _, instances, _ in changes][:3] == [2, 4, 8]
    assert changes[0][2] == "1600 ms over 200 ms"
    assert changes[-1][1] == 1


def test_of_several_targets_the_one_that_asks_for_most_decides() -> None:
    changes = played(Scale(1, 9, rps=100, cpu=0.5), lambda *_: {"rps": 120.0, "cpu": 1.4}, 30)
    assert changes == [(0, 3, "140% of a core over 50% per instance")]


def test_what_cannot_be_measured_removes_nothing() -> None:
    loads: dict[str, Any] = {"rps": 1.0}
    assert played(Scale(1, 4, rps=100, cpu=0.5, cooldown="5s"), lambda *_: loads, 60, begin=3) == []


def test_without_a_target_nothing_is_decided() -> None:
    assert played(Scale(1, 4), lambda *_: {"rps": 1e6}, 60, begin=2) == []
