"""A line that runs for long: what it writes and remembers has a bound."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tierline.run import growth
from waiting import eventually
from workbench import TIERLINE, Bench

STACK = """
from tierline import Service, Stack
stack = Stack("talks", services=[Service("one", "one:app", expose=["/"])], zones=["a"])
"""
APP = """
async def app(scope, receive, send):
    assert scope["type"] == "http"
    words = scope["path"].strip("/").split("/")
    for number in range(int(words[1]) if words[0] == "say" else 0):
        print(number, "x" * 1000)
    print("asked for", scope["path"], flush=True)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"said"})
"""


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path, STACK, {"one": APP})
    made.up()
    yield made
    made.close()


def test_a_log_that_grows_begins_anew_and_is_followed(line: Bench) -> None:
    log = line.state / "logs" / "one.a.log"
    url = line.status()["urls"]["http"]
    follower = subprocess.Popen(
        [*TIERLINE, "logs", "--stack", str(line.folder), "one.a", "--follow", "-n", "1"],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    heard: list[str] = []

    def listen() -> None:
        assert follower.stdout is not None
        heard.extend(each for each in follower.stdout if "asked for" in each)

    listener = threading.Thread(target=listen)
    listener.start()
    try:
        assert httpx.get(f"{url}say/20000", timeout=30).status_code == 200
        before = log.with_name("one.a.log.1")
        assert eventually(before.exists)
        assert eventually(lambda: log.stat().st_size < 1 << 20)
        assert before.stat().st_size <= growth.LOG
        kept = before.read_text()
        assert "19999 xxx" in kept and not kept.startswith("xxx"), "the last of it, in whole lines"
        assert httpx.get(f"{url}after").status_code == 200
        assert eventually(lambda: any("/after" in each for each in heard)), heard
        assert "asked for /after" in log.read_text()
    finally:
        follower.terminate()
        follower.wait()
        listener.join()


def test_hops_that_nobody_reads_are_cut(tmp_path: Path) -> None:
    (tmp_path / "edge.a.jsonl").write_bytes(b"x" * 2000)
    (tmp_path / "edge.b.jsonl").write_bytes(b"x" * 500)
    assert growth.cut(tmp_path, 1000) == ["edge.a"]
    assert [(tmp_path / f"edge.{zone}.jsonl").stat().st_size for zone in "ab"] == [0, 500]


def test_a_process_that_writes_goes_on_in_the_log_that_began_anew(tmp_path: Path) -> None:
    """As programs have it: open for appending."""
    path = tmp_path / "one.log"
    with path.open("ab") as log:
        subprocess.run([sys.executable, "-c", "print('old ' * 1000)"], stdout=log, check=True)
        growth.bound(tmp_path, 1000)
        subprocess.run([sys.executable, "-c", "print('new')"], stdout=log, check=True)
    assert path.read_text() == "new\n"
    growth.bound(tmp_path, 1000)
    assert path.read_text() == "new\n"
