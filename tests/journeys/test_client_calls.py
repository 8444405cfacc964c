"""The generated clients' calls: fields, streams, header fields, time-outs, cancelling, keys, and errors, against a server."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from served_calls import JOURNEYS
from serving import granian, raw, says
from test_generated import load

from tierline.journeys.pyclient import python
from tierline.journeys.typescript import declarations, javascript, typescript

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with granian("served_calls:app") as address:
        yield f"http://{address}"


BROKEN = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n",
    b'2f\r\nevent: part\ndata: {"part":"placed","value":{}}\n\n\r\n0\r\n\r\n',
)

USES = """
import { Call, Journeys, JourneyProblem, StreamCall } from "./client";

async function failing(work: Promise<unknown>): Promise<unknown> {
  try {
    return await work;
  } catch (error) {
    if (!(error instanceof JourneyProblem)) return String((error as Error).name || error);
    const { status, code, retryAfter, authenticate, retryable } = error;
    return { status, code, retryAfter, authenticate, retryable, key: error.key && error.key.length, title: error.problem.title };
  }
}

async function main(): Promise<void> {
  const [base, broken] = process.argv.slice(2);
  const web = new Journeys("web", { base, headers: { "x-own": "one" } });
  const told: Record<string, unknown> = {};
  const often: Call = { retries: 3, timeout: 5000 };
  told.retried = (await web.flaky({ name: "ts", times: 2 }, often)).tries;
  told.given_up = await failing(web.flaky({ name: "ts2", times: 9, after: 0.5 }, { retries: 1 }));
  told.limited = await failing(web.limited({}, { retries: 5, timeout: 3000 }));
  told.private = await failing(web.private());
  told.late = await failing(web.slow({}, { timeout: 200, retries: 3 }));
  const control = new AbortController();
  setTimeout(() => control.abort(), 100);
  told.left = await failing(web.slow({}, { signal: control.signal }));
  told.left_before = await failing(web.slow({}, { signal: control.signal }));
  const heard = await web.heard({ call: "me" }, { headers: { "X-Own": "two", "x-more": "3" } });
  told.heard = [heard.headers["x-own"], heard.headers["x-more"], heard.headers["x-client"], heard.headers.call];
  const body = { film_id: 7, seats: 2 };
  const one = await web.order({ body });
  const kept = await web.order({ body, name: "key", times: 2 }, { retries: 3 });
  const other = await web.order({ body }, { key: "mine" });
  told.keys = [one.placed.key.length, one.placed.key === kept.placed.key, kept.placed.times, other.placed.key];
  const missing = (one.degraded || []).map((each) => `${each.part} ${each.why} ${each.retryable} ${each.stale}`);
  told.degraded = missing;
  told.conflict = await failing(web.order({ body: { film_id: 8 } }, { key: "mine" }));
  const narrow = await web.order({ body }, { fields: ["placed.seats.row", "advice"] });
  const rows: string[] = narrow.placed.seats.map((seat) => seat.row);
  told.narrow = [rows, narrow.advice, Object.keys(narrow.placed), (narrow.degraded || []).length];
  const options: StreamCall = { key: "streamed", timeout: 4000 };
  const events: string[] = [];
  for await (const event of web.orderStream({ body }, options)) {
    events.push(event.event);
    if (event.event === "part" && event.part === "placed") events.push(event.value.key);
    if (event.event === "end") events.push(...event.degraded.map((each) => each.part));
  }
  told.events = events;
  const all = async (stream: AsyncGenerator<unknown>) => {
    for await (const _ of stream);
  };
  told.stream_refused = await failing(all(web.orderStream({ body: { film_id: 1, seats: 99 } })));
  told.stream_late = await failing(all(web.slowStream({}, { timeout: 200 })));
  told.broken_off = await failing(all(new Journeys("web", { base: broken }).orderStream({ body })));
  told.nobody = await failing(new Journeys("web", { base: "http://127.0.0.1:9" }).flaky({ name: "x" }, { retries: 1 }));
  told.mine = await failing(web.order({ body: { film_id: 1, seats: 0 } }));
  console.log(JSON.stringify(told));
  process.exit(0);
}

main();
"""

NARROW = """
import { Journeys } from "./client";
const web = new Journeys("web");
export async function main(): Promise<void> {
  const some = await web.order({ body: { film_id: 1 } }, { fields: ["placed.film"] });
"""
WRONG = {
    "a field that was not asked for": "some.advice",
    "one deeper down": "some.placed.key",
    "a field that isn't there": 'web.order({ body: { film_id: 1 } }, { fields: ["placed.nothing"] })',
    "fields of a stream": 'web.orderStream({ body: { film_id: 1 } }, { fields: ["placed"] })',
    "an unknown word": "web.private({}, { deadline: 5 })",
}


def outcome(told: dict[str, Any]) -> None:
    """What each client must tell of the same calls."""
    refused = {
        "status": 503,
        "code": "part-failed",
        "retryAfter": 1,
        "retryable": True,
        "title": "A part of the journey failed",
    }
    assert told["retried"] == 3
    assert told["given_up"] == refused
    assert told["limited"]["status"] == 429 and told["limited"]["retryAfter"] == 120, (
        "and it didn't wait for that"
    )
    assert (told["private"]["status"], told["private"]["authenticate"]) == (401, "Bearer")
    assert (told["late"]["status"], told["late"]["code"]) == (0, "timeout")
    assert told["heard"] == ["two", "3", "web", "me"]
    assert told["keys"] == [32, False, 3, "mine"]
    assert told["degraded"] == ["advice deadline-exceeded true false"]
    assert (told["conflict"]["status"], told["conflict"]["key"]) == (409, 4)
    assert told["narrow"] == [["A", "A"], None, ["seats"], 1]
    assert told["events"][:2] == ["part", "streamed"] and told["events"][-2:] == ["end", "advice"]
    assert told["stream_refused"]["status"] == 422
    assert told["stream_late"]["code"] == "timeout"
    assert (told["broken_off"]["status"], told["broken_off"]["code"]) == (0, "broken-off")
    assert told["nobody"] == {"status": 0, "code": "no-reply", "retryable": True, "title": "No reply"}
    assert told["mine"]["status"] == 422 and told["mine"]["key"] == 32


def test_what_the_typescript_client_does_about_trouble(tmp_path: Path, server: str) -> None:
    (tmp_path / "client.ts").write_text(typescript(JOURNEYS))
    declare = "declare const process: { argv: string[]; exit(code: number): void };\n"
    (tmp_path / "uses.ts").write_text(declare + USES)
    first = NARROW.count("\n") + 1
    wrong = "\n".join(f"  {line}; // {why}" for why, line in WRONG.items())
    (tmp_path / "wrong.ts").write_text(f"{NARROW}{wrong}\n}}\n")
    flags = "--target es2020 --lib es2020,dom --module commonjs --strict --noUnusedLocals"
    argv = ["tsc", *flags.split(), "client.ts", "uses.ts", "wrong.ts"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    refused = [line for line in done.stdout.splitlines() if re.search(r"\): error", line)]
    assert all(line.startswith("wrong.ts(") for line in refused), done.stdout
    lines = {int(line.split("(")[1].split(",")[0]) for line in refused}
    assert lines == set(range(first, first + len(WRONG))), done.stdout

    async def main() -> None:
        async with raw(says(*BROKEN, close=True)) as broken:
            node = await asyncio.create_subprocess_exec(
                "node", "uses.js", server, f"http://{broken}", cwd=tmp_path,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )  # fmt: skip
            out, err = await asyncio.wait_for(node.communicate(), 60)
            assert node.returncode == 0, err.decode()
            told = json.loads(out)
            outcome(told)
            assert told["left"] == told["left_before"] == "AbortError"

    asyncio.run(main())


def test_what_browsers_load_is_declared_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "client.js").write_text(javascript(JOURNEYS))
    (tmp_path / "client.d.ts").write_text(declarations(JOURNEYS))
    uses = USES.replace("./client", "./client.js")
    (tmp_path / "uses.ts").write_text(
        "declare const process: { argv: string[]; exit(code: number): void };\n" + uses
    )
    flags = "--noEmit --target es2022 --lib es2022,dom --module es2022 --moduleResolution node --strict"
    argv = ["tsc", *flags.split(), "uses.ts"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert done.stdout == ""


async def failing(problem: Any, work: Any) -> Any:
    try:
        return await work
    except problem as error:
        said = {
            "status": error.status,
            "code": error.code,
            "retryAfter": error.retry_after,
            "authenticate": error.authenticate,
            "retryable": error.retryable,
            "key": error.key and len(error.key),
            "title": error.problem.get("title"),
        }
        return {name: value for name, value in said.items() if value is not None}


async def every(stream: Any) -> list[Any]:
    return [event async for event in stream]


def test_what_the_python_client_does_about_trouble(tmp_path: Path, server: str) -> None:
    client = load(python(JOURNEYS), tmp_path / "client.py")
    problem, call = client.JourneyProblem, client.Call

    async def main(broken: str) -> dict[str, Any]:
        web = client.WebJourneys(server, x_own="one")
        told: dict[str, Any] = {}
        told["retried"] = (await web.flaky(name="py", times=2, call=call(retries=3)))["tries"]
        told["given_up"] = await failing(
            problem, web.flaky(name="py2", times=9, after=0.5, call=call(retries=1))
        )
        told["limited"] = await failing(problem, web.limited(call=call(retries=5, timeout=3)))
        told["private"] = await failing(problem, web.private())
        told["late"] = await failing(problem, web.slow(call=call(timeout=0.2, retries=3)))
        gone = asyncio.ensure_future(web.slow())
        await asyncio.sleep(0.05)  # slow: a client that leaves after a moment
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        heard = (await web.heard(call="me", call_=call(headers={"X-Own": "two", "x-more": "3"})))["headers"]
        told["heard"] = [heard["x-own"], heard["x-more"], heard["x-client"], heard["call"]]
        body = {"film_id": 7, "seats": 2}
        one = await web.order(body=body)
        kept = await web.order(body=body, name="pykey", times=2, call=call(retries=3))
        other = await web.order(body=body, call=call(key="mine"))
        keys = [each["placed"]["key"] for each in (one, kept, other)]
        told["keys"] = [len(keys[0]), keys[0] == keys[1], kept["placed"]["times"], keys[2]]
        told["degraded"] = [
            f"{each['part']} {each['why']} {json.dumps(each['retryable'])} {json.dumps(each['stale'])}"
            for each in one["degraded"]
        ]
        told["conflict"] = await failing(problem, web.order(body={"film_id": 8}, call=call(key="mine")))
        narrow = await web.order(body=body, fields=["placed.seats.row", "advice"])
        rows = [seat["row"] for seat in narrow["placed"]["seats"]]
        told["narrow"] = [rows, narrow["advice"], list(narrow["placed"]), len(narrow["degraded"])]
        told["events"] = []
        for event in await every(web.order_stream(body=body, call=call(key="streamed"))):
            told["events"].append(event["event"])
            if event.get("part") == "placed":
                told["events"].append(event["value"]["key"])
            if event["event"] == "end":
                told["events"] += [each["part"] for each in event["degraded"]]
        wrong = {"film_id": 1, "seats": 99}
        told["stream_refused"] = await failing(problem, every(web.order_stream(body=wrong)))
        told["stream_late"] = await failing(problem, every(web.slow_stream(call=call(timeout=0.2))))
        away = client.WebJourneys(f"http://{broken}")
        told["broken_off"] = await failing(problem, every(away.order_stream(body=body)))
        nobody = client.WebJourneys("http://127.0.0.1:9")
        told["nobody"] = await failing(problem, nobody.flaky(name="x", call=call(retries=1)))
        told["mine"] = await failing(problem, web.order(body={"film_id": 1, "seats": 0}))
        assert (await web.close_delete())["closed"] is True
        for each in (web, away, nobody):
            await each.close()
        return told

    async def with_broken() -> dict[str, Any]:
        async with raw(says(*BROKEN, close=True)) as broken:
            return await asyncio.wait_for(main(broken), 60)

    outcome(asyncio.run(with_broken()))


def test_the_python_client_narrows_what_fields_leave(tmp_path: Path) -> None:
    (tmp_path / "client.py").write_text(python(JOURNEYS))
    (tmp_path / "uses.py").write_text(
        "from client import Call, WebJourneys\n\n\n"
        "async def main() -> str:\n"
        "    web = WebJourneys('x')\n"
        "    whole = await web.order(body={'film_id': 1}, call=Call(timeout=2, headers={'a': 'b'}))\n"
        "    some = await web.order(body={'film_id': 1}, fields=['placed.film', 'advice'])\n"
        "    async for event in web.order_stream(body={'film_id': 1}):\n"
        "        if event['event'] == 'end':\n"
        "            print(event['degraded'][0]['why'].upper())\n"
        "    print(some['placed']['film'] + 1, whole['placed']['seats'][0]['row'].upper())\n"
        "    some['placed']['nothing']\n"
        "    await web.order(body={'film_id': 1}, fields=['placed.nothing'])\n"
        "    await web.order(body={'film_id': 1}, call=Call(deadline=1))\n"
        "    return 'x'\n"
    )
    cache = HERE.parents[1] / ".mypy_cache"
    argv = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(cache), "uses.py", "client.py"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    errors = [line for line in done.stdout.splitlines() if ": error:" in line]
    places = {tuple(line.split(":")[:2]) for line in errors}
    assert places == {("uses.py", "12"), ("uses.py", "13"), ("uses.py", "14")}, done.stdout
