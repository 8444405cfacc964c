"""Applications that share a process: who harms the others is told by name, and taken out when it goes on."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import Callable

import httpx

from waiting import PATIENCE, eventually, never
from workbench import Bench, run

Make = Callable[..., Bench]

GOOD = """
async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"well"})
"""

BAD = """
import asyncio, ctypes, os, sys, time

kept = []

def sleepy():
    time.sleep(1.2)

async def app(scope, receive, send):
    assert scope["type"] == "http"
    path = scope["path"]
    if path == "/block":
        sleepy()
    elif path == "/exit":
        os._exit(7)
    elif path == "/sys-exit":
        sys.exit(3)
    elif path == "/segfault":
        ctypes.string_at(0)
    elif path == "/wait":
        await asyncio.sleep(30)
    elif path == "/leak":
        kept.append(bytearray(b"x" * (4 << 20)))
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"bad"})
"""

STACK = """
from tierline import *
home = Journey("home", "/home")

@home.part
async def word(bad):
    return (await bad.get("/block")).text

stack = Stack("shared", gateway=Gateway(), journeys=[home], zones=["a"],
              services=[Service("good", "good:app", expose=["/good"]), Service("bad", "bad:app", expose=["/"])])
"""


def shared(bench: Make) -> tuple[Bench, str, str]:
    line = bench(STACK, good=GOOD, bad=BAD)
    line.up()
    at = line.status()["addresses"]
    return line, f"http://{at['good.a/http']}", f"http://{at['bad.a/http']}"


def told(line: Bench, *words: str) -> str:
    """The event that says all of this."""

    def found() -> str:
        lines = line.log("events").splitlines()
        return next((each for each in lines if all(word in each for word in words)), "")

    assert eventually(found), (words, line.log("events"), line.log("apps.a"))
    return found()


def dies(url: str) -> None:
    with contextlib.suppress(httpx.HTTPError):
        httpx.get(url, timeout=PATIENCE)


def test_a_blocked_loop_is_told_with_name_line_and_in_the_trip(bench: Make) -> None:
    line, _, bad = shared(bench)
    assert httpx.get(bad + "/block").text == "bad"
    text = told(line, "blocked apps.a: bad blocked the event loop for ", " s at bad.py:7 (in sleepy)")
    # It sleeps for 1.2 s; on a busy machine it is woken later.
    assert float(text.partition("event loop for ")[2].partition(" s at")[0]) >= 1.1
    assert re.search(r"bad blocked the event loop for [0-9.]+ s at bad\.py:7", line.run("status").stdout)
    assert "bad blocked the event loop" in line.process("apps.a")["notice"]
    # Through the journeys, which wait for it in the same process.
    trip = line.trip("/home")
    hop = next(hop for hop in trip["hops"] if hop["system"] == "event loop")
    assert (hop["verdict"], hop["attributes"]["name"]) == ("blocked by bad", "bad.py:7 (in sleepy)")
    assert "blocked by bad" in run("trip", str(line.folder), "/home").stdout


def test_who_ends_the_process_is_told_and_taken_out_when_it_goes_on(bench: Make) -> None:
    line, good, bad = shared(bench)
    assert httpx.get(bad + "/sys-exit").status_code == 500
    assert line.process("apps.a")["restarts"] == 0, "sys.exit() in a handler fails its own request only"
    for number in range(3):
        dies(bad + "/exit")
        text = told(line, "died apps.a") if number == 0 else ""
        assert eventually(lambda: line.log("events").count(" died ") == number + 1)  # noqa: B023
        if text:
            assert "ended with exit code 7: bad called os._exit(7) at bad.py:15 (in app)" in text
            assert "it was serving GET /exit of bad" in text
        assert eventually(lambda: _well(good)), line.log("apps.a")
    told(
        line,
        "isolated apps.a",
        "bad was at work in 3 deaths of apps.a in a row",
        "Service('bad', fuse=False)",
    )
    roles = {process["name"]: process["roles"] for process in line.status()["processes"]}
    assert roles["bad.a"] == ["bad.a"] and roles["apps.a"] == ["experience.a", "good.a"]
    # From now on it harms nobody else.
    restarts = line.process("apps.a")["restarts"]
    assert eventually(lambda: _well(bad))
    dies(bad + "/exit")
    assert eventually(lambda: _well(bad)) and _well(good)
    assert line.process("apps.a")["restarts"] == restarts
    # And stays so when the stack is applied again.
    done = line.run("reload")
    assert "nothing changed" in done.stdout, done.stdout + done.stderr


def test_an_application_that_cannot_start_again_is_told_by_name(bench: Make) -> None:
    line, good, _ = shared(bench)
    (line.folder / "bad.py").write_text("import no_such_module\n")
    os.kill(line.process("apps.a")["pid"], signal.SIGKILL)
    told(line, "died apps.a: ended with exit code 1: bad.py:1: ModuleNotFoundError", "at the start of bad")
    # Its neighbours don't stay away because of it.
    told(line, "isolated apps.a: bad was at work in 3 deaths of apps.a")
    assert eventually(lambda: _well(good))
    assert "ModuleNotFoundError" in eventually(lambda: line.process("bad.a")["problem"])


def test_a_segmentation_fault_and_a_kill_are_told_with_what_was_served(bench: Make) -> None:
    line, good, bad = shared(bench)
    dies(bad + "/segfault")
    told(line, "died apps.a: killed by SIGSEGV in bad, at bad.py:19 (in app)", "serving GET /segfault of bad")
    assert eventually(lambda: _well(good))
    with contextlib.suppress(httpx.HTTPError):
        httpx.get(bad + "/wait", timeout=0.3)
    with contextlib.suppress(httpx.HTTPError), httpx.Client() as client:
        client.build_request("GET", bad + "/wait")
        os.kill(line.process("apps.a")["pid"], signal.SIGKILL)
    told(line, "died apps.a: killed by SIGKILL")


def test_memory_that_grows_is_told_with_the_line_that_keeps_it(bench: Make) -> None:
    line, _, bad = shared(bench)
    # What was there from the start is no growth.
    assert never(lambda: " grows " in line.log("events"), within=6)

    def leaks() -> bool:
        httpx.get(bad + "/leak")
        return " grows " in line.log("events")

    assert eventually(leaks, every=0.05)
    text = told(line, "grows apps.a: bad makes the memory grow:")
    assert "of what was kept in a sample is from bad.py:23" in text


def test_a_settings_module_that_two_services_share_is_each_ones_own(bench: Make) -> None:
    said = """
    from settings import WHO

    async def app(scope, receive, send):
        assert scope["type"] == "http"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": WHO.encode()})
    """
    line = bench(
        """
        from tierline import Service, Stack
        stack = Stack("settled", zones=["a"], services=[
            Service("one", "one:app", env={"WHO": "one"}), Service("two", "two:app", env={"WHO": "two"}),
        ])
        """,
        one=said,
        two=said,
        settings="import os\nWHO = os.environ['WHO']\n",
    )
    line.up()
    at = line.status()["addresses"]
    assert line.process("apps.a")["roles"] == ["one.a", "two.a"]
    assert [httpx.get(f"http://{at[f'{name}.a/http']}").text for name in ("one", "two")] == ["one", "two"]
    assert "settings reads WHO at import: each application has a copy of its own" in line.log("apps.a")


def _well(url: str) -> bool:
    try:
        return httpx.get(url, timeout=PATIENCE).status_code == 200
    except httpx.HTTPError:
        return False
