"""Steps of a journey on a running line become a funnel, whatever happens to the process that saw them."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable

import httpx

from waiting import eventually
from workbench import Bench, run

STACK = """
from tierline import *
home = Journey("home", "/home")
film = Journey("film", "/film")

@home.part
async def hello(said):
    return (await said.get("/home")).text

@film.part
async def title(said):
    return (await said.get("/film")).text

home.step("buy")
film.step("buy", after=home)
stack = Stack("counted", clients=[Web(), Mobile()], gateway=Gateway(), journeys=[home, film], zones=["a"],
              services=[Service("said", "said:app", uses=[Sessions("session")])])
"""

SAID = """
async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"cache-control", b"no-store")]})
    await send({"type": "http.response.body", "body": b"said"})
"""


def test_visitors_are_counted_step_by_step(bench: Callable[..., Bench]) -> None:
    line = bench(STACK, said=SAID)
    line.up()
    url = line.status()["urls"]["http"]
    ids = []
    for number in range(4):
        with httpx.Client(base_url=url, headers={"x-client": "mobile" if number == 3 else "web"}) as visitor:
            for path in ("/home", "/film") if number < 2 else ("/home",):
                assert visitor.get(path).status_code == 200
            cookie = visitor.cookies.get("tierline_session")
            assert cookie
            ids.append(cookie)
    os.kill(line.process("apps.a")["pid"], signal.SIGKILL)  # an answered step is already written
    shown = run("funnel", "--stack", str(line.folder))
    assert shown.returncode == 0, shown.stderr
    rows = [each.split() for each in shown.stdout.splitlines()]
    assert rows[0] == ["buy"]
    assert rows[1][:6] == ["1", "home", "4", "visitors", "4", "events"] and rows[1][-1] == "100.0%"
    assert (
        rows[2][:6] == ["2", "film", "2", "visitors", "2", "events"]
        and "50.0% of those before" in shown.stdout
    )
    told = json.loads(
        run("funnel", "buy", "--client", "mobile", "--json", "--stack", str(line.folder)).stdout
    )
    assert [(each["step"], each["visitors"]) for each in told[0]["steps"]] == [("home", 1)]
    wrong = run("funnel", "bye", "--stack", str(line.folder))
    assert wrong.returncode == 2 and "did you mean 'buy'?" in wrong.stderr
    # A session's id opens the session: it is nowhere in what was written.
    assert eventually((line.state / "hops" / "apps.a.jsonl").exists)
    assert not any(each in (line.state / "hops" / "apps.a.jsonl").read_text() for each in ids)
