"""The cinema's whole line under load and with its processes killed. The last tests of the session's line."""

from __future__ import annotations

import os
import signal
from collections import Counter

import pytest

from tierline.trips.client import Client
from tierline.trips.steady import steady
from waiting import eventually
from workbench import Bench, alive

pytestmark = pytest.mark.real


def visitor(line: Bench, region: str = "eu-west-1") -> Client:
    told = line.status()
    return Client(told, line.state / "authority" / "ca.pem", told["domain"], region)


def test_ten_seconds_of_steady_load_without_a_failed_request(cinema: Bench) -> None:
    fresh = [f"/film/{50_000 + n}" for n in range(400)]
    hot = ["/home", "/film/42", "/search?q=star", "/"] * 100
    mixed = [path for pair in zip(hot, fresh, strict=True) for path in pair]
    results = steady(visitor(cinema), mixed, rate=60, seconds=10)
    assert len(results) == 600
    statuses = Counter(result.status for result in results)
    # A number may be no film; every film that there is must come.
    assert set(statuses) <= {200, 404}, statuses
    assert statuses[200] > 500


def test_every_process_that_is_killed_comes_back_and_the_line_answers(cinema: Bench) -> None:
    names = [each["name"] for each in cinema.status()["processes"]]
    assert len(names) >= 15
    client = visitor(cinema)
    for number, name in enumerate(names):
        before = cinema.process(name)
        assert before["pid"] > 0, before  # killing process 0 would kill this test's own group
        os.kill(before["pid"], signal.SIGKILL)

        def answers(number: int = number) -> bool:
            from tierline.errors import RunError

            try:
                # A film nobody asked for yet, so that it goes all the way.
                return (
                    client.ask(f"/film/{30_000 + number}", {"x-client": "web"}, sampled=False).status == 200
                )
            except (RunError, OSError):
                return False

        def back(name: str = name, old: int = before["pid"]) -> bool:
            told = cinema.process(name)
            return bool(told["phase"] == "ready" and told["pid"] not in (0, old))

        assert eventually(back), f"{name}: {cinema.process(name)}"
        assert eventually(answers), f"the line doesn't answer after {name} was killed"
        assert not alive(before["pid"])
        assert cinema.process(name)["restarts"] == before["restarts"] + 1, cinema.log(name)[-2000:]


def test_down_leaves_no_process_socket_or_lock(cinema: Bench) -> None:
    told = cinema.status()
    cinema.down()
    assert cinema.left() == []
    assert not any(alive(pid) for pid in [told["pid"], *(each["pid"] for each in told["processes"])])
    # Data is kept: the line is up again without loading anything.
    done = cinema.up()
    assert cinema.trip("/film/42")["status"] == 200, done.stdout
    cinema.down()
