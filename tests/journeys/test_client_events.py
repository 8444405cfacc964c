"""The events of a stream in the generated clients: compiled strictly, and read from a server."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from served_events import JOURNEYS
from serving import granian

from tierline.journeys.pyclient import python
from tierline.journeys.typescript import typescript

HERE = Path(__file__).parent

TOLD = [
    "first no. 7 0 price",
    "part similar b",
    "problem reviews 404",
    "end price",
]
"""What each client prints of the web's stream; parts that are deferred come in any order."""

TYPESCRIPT = """
import { Journeys } from "./client";

declare const process: { argv: string[] };

async function main(): Promise<void> {
  const told: string[] = [];
  for await (const event of new Journeys("web", { base: process.argv[2] }).screenStream({ number: 7 })) {
    switch (event.event) {
      case "first": {
        const title: string | undefined = event.value.title;
        const price: number | undefined = event.value.price;
        told.push(`first ${title} ${price} ${(event.degraded || []).map((each) => each.part)}`);
        break;
      }
      case "part":
        if (event.part === "similar") {
          const similar: string[] = event.value;
          told.push(`part similar ${similar[1]}`);
        }
        break;
      case "problem":
        told.push(`problem ${event.part} ${event.status}`);
        break;
      case "view":
        told.push(`view ${event.value.title}`);
        break;
      case "end":
        told.push(`end ${event.degraded.map((each) => each.part)}`);
        break;
      default: {
        const never: never = event;
        told.push(String(never));
      }
    }
  }
  console.log(JSON.stringify(told));
}

main();
"""

TYPESCRIPT_WRONG = """
import { Journeys } from "./client";

export async function main(): Promise<void> {
  for await (const event of new Journeys("web").screenStream({ number: 7 })) {
    if (event.event === "first") console.log(event.value.nothing);
    if (event.event === "first") console.log(event.value.title.length);
    if (event.event === "part" && event.part === "nothing") console.log(event);
    if (event.event === "part" && event.part === "similar") console.log(event.value.toFixed());
    if (event.event === "last") console.log(event);
  }
}
"""

PYTHON = """
import asyncio
import json
import sys
from typing import assert_never

from client import WebJourneys


async def main() -> None:
    web, told = WebJourneys(sys.argv[1]), []
    async for event in web.screen_stream(number=7):
        if event["event"] == "first":
            lost = ",".join(each["part"] for each in event.get("degraded", []))
            told.append(f"first {event['value']['title']} {event['value']['price']} {lost}")
        elif event["event"] == "part":
            told.append(f"part {event['part']} {event['value'][1]}")
        elif event["event"] == "problem":
            told.append(f"problem {event['part']} {event['status']}")
        elif event["event"] == "view":
            told.append(f"view {event['value']}")
        elif event["event"] == "end":
            told.append(f"end {','.join(each['part'] for each in event['degraded'])}")
        else:
            assert_never(event)
    print(json.dumps(told))
    await web.close()


asyncio.run(main())
"""

PYTHON_WRONG = """
from client import WebJourneys


async def main() -> None:
    async for event in WebJourneys("x").screen_stream(number=7):
        if event["event"] == "first":
            print(event["part"])
        if event["event"] == "problem":
            print(event["status"].upper())
        if event["event"] == "last":
            print(event["value"])
"""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with granian("served_events:app") as address:
        yield f"http://{address}"


def test_typescript_knows_each_event_and_node_reads_them(tmp_path: Path, server: str) -> None:
    (tmp_path / "client.ts").write_text(typescript(JOURNEYS))
    (tmp_path / "uses.ts").write_text(TYPESCRIPT)
    (tmp_path / "wrong.ts").write_text(TYPESCRIPT_WRONG)
    flags = "--target es2020 --lib es2020,dom --module commonjs --strict"
    argv = ["tsc", *flags.split(), "uses.ts", "wrong.ts"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    refused = re.findall(r"^([\w.]+)\((\d+),\d+\): error", done.stdout, re.MULTILINE)
    assert {(file, int(line)) for file, line in refused} == {("wrong.ts", n) for n in range(6, 11)}, (
        done.stdout
    )
    argv = ["node", "uses.js", server]
    ran = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    told = json.loads(ran.stdout)
    assert [told[0], *sorted(told[1:-1]), told[-1]] == TOLD


def test_python_knows_each_event_and_reads_them(tmp_path: Path, server: str) -> None:
    (tmp_path / "client.py").write_text(python(JOURNEYS))
    (tmp_path / "uses.py").write_text(PYTHON)
    (tmp_path / "wrong.py").write_text(PYTHON_WRONG)
    argv = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(HERE.parents[1] / ".mypy_cache")]
    done = subprocess.run(
        [*argv, "uses.py", "wrong.py"], cwd=tmp_path, capture_output=True, text=True, timeout=100
    )
    refused = {tuple(line.split(":")[:2]) for line in done.stdout.splitlines() if ": error:" in line}
    assert refused >= {("wrong.py", "8"), ("wrong.py", "10")}, done.stdout
    assert all(file == "wrong.py" for file, _ in refused), done.stdout
    ran = subprocess.run(
        [sys.executable, "uses.py", server], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    assert [told[0], *sorted(told[1:-1]), told[-1]] == TOLD
