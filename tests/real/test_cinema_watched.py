"""`--watch` on the cinema's whole line: what is said is what happened."""

from __future__ import annotations

import re

import pytest

from waiting import eventually
from workbench import Bench, run

pytestmark = pytest.mark.real


def watch(line: Bench, *words: str) -> str:
    assert eventually(lambda: all(each["phase"] == "ready" for each in line.status()["processes"]), every=0.3)
    done = run(*words, "--watch", "--rate", "40", cwd=line.folder)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout


def failed(said: str) -> int:
    found = re.search(r"failed (\d+), slow", said)
    assert found is not None, said
    return int(found[1])


def test_a_zone_is_gone_and_the_cdn_sends_all_to_the_other(cinema: Bench) -> None:
    said = watch(cinema, "kill", "zone", "b")
    assert said.startswith("zone b killed: ")
    assert failed(said) == 0, said
    assert "cdn sent what lb in b would have got to lb in a" in said, said


def test_a_region_is_gone_and_the_name_service_sends_its_clients_elsewhere(cinema: Bench) -> None:
    said = watch(cinema, "kill", "region", "us-east-1")
    assert re.search(r"dns sent clients of us-east-1 to cdn\.[a-z0-9-]+ after \d", said), said
    # Failures alone: a machine that is busy is slow now and then, also long after the clients were sent elsewhere.
    _, away, after = next(line.strip().split("|") for line in said.splitlines() if line.count("|") == 2)
    assert "×" in away and "×" not in away[-2:] + after, said
    assert 0 < failed(said) < 40, said


def test_services_of_a_zone_are_gone_and_the_gateway_asks_the_others(cinema: Bench) -> None:
    said = watch(cinema, "kill", "apps.b")
    assert failed(said) == 0, said
    assert "gateway sent what experience in b would have got to experience in a" in said, said


def test_what_nobody_can_stand_in_for_is_told_as_what_it_is(cinema: Bench) -> None:
    said = watch(cinema, "kill", "catalog")
    assert "after it was healed, not before" in said or "not back to normal by the end" in said
    assert failed(said) > 20
    assert "in the same process: " in said


def test_a_slow_service_is_slow_until_it_is_healed(cinema: Bench) -> None:
    said = watch(cinema, "delay", "catalog", "1s")
    assert said.startswith("catalog delayed by 1s: apps.a, apps.b; healed after ")
    assert failed(said) == 0, said
    assert "calls from experience, orders to catalog stay inside apps.a, apps.b and aren't delayed" in said


def test_who_isnt_there_is_told_before_any_load(cinema: Bench) -> None:
    done = run("kill", "catlog", "--watch", cwd=cinema.folder, timeout=60)
    assert done.returncode == 2
    assert "did you mean 'catalog'?" in done.stderr
