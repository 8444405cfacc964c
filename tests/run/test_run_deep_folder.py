"""A project in a folder with a long path: everything that goes over Unix sockets, whose addresses hold 107 bytes."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from waiting import eventually
from workbench import HELLO, Bench, run

STACK = """
from tierline import *
stack = Stack(
    "deep", zones=["a"], dns=DNS("deep.test"), cdn=CDN(), lb=LoadBalancer(), cache=HTTPCache(),
    gateway=Gateway(limits=[RateLimit(1000, per="1s", by="client")]),
    services=[Service("hello", "hello:app", expose=["/"], scale=Scale(1, 3))],
)
"""
LINEUPS = {
    "embedded": (),
    "fast": ("--lineup", "fast"),
    "popular": ("--lineup", "popular"),
    "alternate": ("--lineup", "alternate"),
    "all others": tuple(
        word
        for use in ("dns=powerdns", "cdn=varnish", "lb=nginx", "cache=trafficserver", "gateway=haproxy")
        for word in ("--use", use)
    ),
}


@pytest.mark.parametrize("words", LINEUPS.values(), ids=LINEUPS)
def test_it_starts_scales_purges_and_ends(tmp_path: Path, words: tuple[str, ...]) -> None:
    folder = tmp_path / ("a-project-whose-folder-has-a-long-name-" * 2) / ("deeper-" * 6)
    line = Bench(folder, STACK, {"hello": HELLO})
    try:
        line.up(*words)
        trip = line.trip("/a")
        assert trip["status"] == 200 and {"dns", "cdn", "lb", "gateway"} <= {
            hop["tier"] for hop in trip["hops"]
        }
        done = run("scale", "hello", "2", str(folder))
        assert done.returncode == 0, done.stderr
        done = run("purge", str(folder), "--prefix", "/a", "--path", "/a")
        assert done.returncode == 0, done.stderr
        assert " 2 " not in done.stdout and done.stdout.count("serves no older copy") == 2, (
            "rules aren't copies"
        )
        done = run("scale", "hello", "1", str(folder))
        assert done.returncode == 0, done.stderr
        done = run("restart", "gateway", str(folder))
        assert done.returncode == 0, done.stderr
        assert eventually(lambda: httpx.get(line.status()["urls"]["http"], verify=False).status_code < 400)
        assert line.run("metrics").returncode == 0
        line.down()
    finally:
        line.close()
