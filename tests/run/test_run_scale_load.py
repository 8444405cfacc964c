"""What instances carry: numbers that only grow, made into rates."""

from __future__ import annotations

import os
import time
from types import SimpleNamespace
from typing import Any

import pytest

from tierline.engines.python.meter import BUCKETS, Meter, bucket, middle
from tierline.run.scale_load import Loads


def child(name: str = "apps.a", pid: int = 7, began: float = 0.0) -> Any:
    return SimpleNamespace(process=SimpleNamespace(name=name), pid=pid, phase="ready", began=began)


def told(meter: Meter, at: float, pid: int = 7) -> dict[str, Any]:
    load = meter.told()
    return {
        "load": {"who": {"us": load["us"], "h": {str(k): v for k, v in load["h"].items()}}},
        "pid": pid,
        "at": at,
    }


@pytest.mark.parametrize("us", [0, 1, 3, 4, 7, 8, 100, 999, 12_345, 10**6, 10**8])
def test_a_bucket_is_within_an_eighth_of_what_is_in_it(us: int) -> None:
    meter = Meter()
    meter.observe(us * 1000)
    assert meter.told() == {"us": us, "h": {bucket(us): 1}}, "the fast way counts like the plain one"
    assert middle(bucket(us)) * 1e6 == pytest.approx(us, rel=0.125, abs=0.5)


def test_what_takes_for_ever_is_in_the_last_bucket() -> None:
    meter = Meter()
    meter.observe(10**16)
    assert list(meter.told()["h"]) == [BUCKETS - 1]


def test_rates_are_of_the_last_seconds_alone() -> None:
    loads, meter, now = Loads(), Meter(), time.monotonic()
    for second in range(11):
        for _ in range(10 if second <= 5 else 40):
            meter.observe((2 if second <= 5 else 8) * 10**6)
        loads.heard(child(), told(meter, now - 10 + second))
    recent, long = loads.of("apps.a", "who", 3.0), loads.of("apps.a", "who", 10.0)
    assert recent.rps == pytest.approx(40) and recent.latency == pytest.approx(0.008)
    assert recent.p50 == pytest.approx(0.008, rel=0.15)
    assert long.rps == pytest.approx(25)


def test_a_successor_counts_from_nothing_and_who_it_succeeded_is_not_heard_any_more() -> None:
    loads, meter, now = Loads(), Meter(), time.monotonic()
    for _ in range(1000):
        meter.observe(10**6)
    loads.heard(child(), told(meter, now - 4))
    loads.heard(child(), told(meter, now - 3))
    fresh = Meter()
    loads.heard(child(pid=8), told(fresh, now - 2, pid=8))
    loads.heard(child(pid=8), told(meter, now - 1))  # the one before, which is on its way out
    fresh.observe(10**6)
    loads.heard(child(pid=8), told(fresh, now - 1, pid=8))
    assert loads.of("apps.a", "who", 10.0).rps == pytest.approx(1)


def test_who_is_silent_is_not_known_to_be_idle() -> None:
    loads, meter, now = Loads(), Meter(), time.monotonic()
    loads.heard(child(), told(meter, now - 9))
    loads.heard(child(), told(meter, now - 5))
    assert loads.of("apps.a", "who", 3.0).rps is None
    assert loads.of("nobody", "who", 3.0).rps is None


def test_the_processor_time_of_a_process_and_its_children_is_counted() -> None:
    loads, mine = Loads(), child(pid=os.getpid())
    loads.look(mine)
    until = time.process_time() + 0.2
    while time.process_time() < until:
        pass
    loads.look(mine)
    used = loads.of("apps.a", "who", 3.0).cpu
    assert used is not None and used > 0.1
    young = child("young", os.getpid(), time.time())
    loads.look(young)
    loads.look(young)
    assert loads.of("young", "who", 3.0).cpu is None, "what it used it used for starting"
