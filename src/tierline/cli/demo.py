"""tierline demo: a tour of a line that ends by itself."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click

from tierline.cli.named import paths, status
from tierline.cli.shared import stack_argument
from tierline.errors import RunError


@click.command()
@stack_argument
@click.option("--path", help="The page to visit; default: the first of the stack's own workload.")
@click.option("--regions", default="eu-west-1,us-east-1", show_default=True, help="Where the clients are.")
@click.option(
    "--kill",
    "victim",
    help="The process that is killed; default: a gateway, or else what there is behind the client.",
)
@click.option("--seconds", default=6.0, show_default=True, help="Length of the load around the kill.")
def command(stack: Path | None, path: str | None, regions: str, victim: str | None, seconds: float) -> None:
    """A tour that ends by itself. Start, visit a page as every client from several regions, kill a process under
    load, measure, stop."""
    from tierline.run.state import State
    from tierline.stack import find

    state = State(find(stack))
    path = path or paths(stack)[0]
    place = str(state.stack.parent)
    if state.held():
        raise RunError("this stack is already up: stop it with tierline down, then run the demo")
    click.secho("\n1  start the whole line", bold=True)
    _tierline("up", place, "--detach")
    try:
        click.secho(f"\n2  {path} from the client to the database: first a miss, then a hit", bold=True)
        for region in regions.split(","):
            for client in ("web", "mobile", "affiliate"):
                for _ in range(2 if client == "web" else 1):
                    _tierline("trip", place, path, "--as", client, "--from", region)
        victim = victim or _victim(status(stack))
        click.secho(f"\n3  kill -9 {victim} while clients go on asking", bold=True)
        _break(state, path, victim, seconds)
        click.secho("\n4  what runs, and what it takes", bold=True)
        _tierline("status", place)
    finally:
        click.secho("\n5  stop", bold=True)
        began = time.monotonic()
        _tierline("down", place)
        click.echo(f"in {time.monotonic() - began:.1f} s")


def _victim(told: dict[str, Any]) -> str:
    """The first process of the tier whose loss shows most."""
    for tier in ("gateway", "lb", "experience", "feature"):
        for process in told["processes"]:
            if tier in process["tiers"]:
                return str(process["name"])
    return str(told["processes"][0]["name"])


def _tierline(*arguments: str) -> None:
    done = subprocess.run([sys.executable, "-m", "tierline", *arguments], check=False)
    if done.returncode:
        raise RunError(f"tierline {' '.join(arguments)} failed with exit code {done.returncode}")


def _break(state: Any, path: str, victim: str, seconds: float) -> None:
    """A steady 50 requests per second, half of them uncacheable; the process dies after a third of the time."""
    from tierline.run import control
    from tierline.trips.client import Client
    from tierline.trips.steady import steady

    told = control.ask(state.root, {"do": "status"})
    client = Client(told, state.root / "authority" / "ca.pem", told["domain"], told["region"])
    killed: list[float] = []

    def kill() -> None:
        control.ask(state.root, {"do": "kill", "what": "process", "name": victim, "hold": False})
        killed.append(time.monotonic())

    results = steady(client, [path, f"{path}?fresh"], rate=50, seconds=seconds, at=seconds / 3, action=kill)
    failed = [each for each in results if each.status == 0 or each.status >= 500]
    times = sorted(each.seconds * 1000 for each in results)
    click.echo(
        f"{len(results)} requests, {len(failed)} failed, median {statistics.median(times):.1f} ms, "
        f"p99 {times[int(len(times) * 0.99) - 1]:.1f} ms; {victim} runs again: {_again(state, victim)}"
    )


def _again(state: Any, victim: str) -> str:
    from tierline.run import control

    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        for process in control.ask(state.root, {"do": "status"})["processes"]:
            if process["name"] == victim and process["phase"] == "ready":
                return f"pid {process['pid']}, start {process['restarts'] + 1}"
        time.sleep(0.1)
    return "not yet"
