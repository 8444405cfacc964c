"""What `up` shows: losses, a live table while starting, addresses when ready, and what changes afterwards."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from tierline.engines import open_files

if TYPE_CHECKING:
    from tierline.plan.model import Plan
    from tierline.run.line import Line

_MARK = {"ready": "●", "failed": "✗", "killed": "✗", "backing off": "↻", "stopped": "○"}


def losses(plan: Plan) -> list[str]:
    """The parity report as lines, told before anything starts."""
    lines = [
        f"{click.style('loss', fg='yellow')}: {loss.tier}.{loss.system}: {loss.why}" for loss in plan.losses
    ]
    notes = [*plan.notes, *filter(None, [open_files.told()])]
    return lines + [f"{click.style('note', fg='yellow')}: {note}" for note in notes]


class View:
    """One line per change of a process; a single line that moves where the output is a terminal."""

    def __init__(self) -> None:
        self._seen: dict[str, str] = {}
        self._told = 0
        self._terminal = sys.stdout is not None and sys.stdout.isatty()

    async def watch(self, line: Line) -> None:
        """Shows what happens, until it is cancelled."""
        while True:
            self._changes(line)
            if self._terminal and line.phase == "starting":
                ready = sum(child.phase == "ready" for child in line.children.values())
                waiting = ", ".join(
                    n for n, c in line.children.items() if c.phase in ("preparing", "starting")
                )
                click.echo(f"\r\033[K  … {ready}/{len(line.children)} ready; {waiting[:70]}", nl=False)
            await asyncio.sleep(0.05)

    def started(self, line: Line) -> None:
        """Once, when everything answers: what wasn't shown yet, then where everything is."""
        self._changes(line)
        _clear(self._terminal)
        click.echo(summary(line.status()))
        click.echo("Ctrl-C stops it.")

    def _changes(self, line: Line) -> None:
        for child in line.children.values():
            before = self._seen.get(child.process.name)
            if before == child.phase:
                continue
            self._seen[child.process.name] = child.phase
            if child.phase == "ready":
                _clear(self._terminal)
                again = f", start {child.restarts + 1}" if child.restarts else ""
                click.echo(
                    f"  {_MARK['ready']} {child.process.name:<24} {child.ready_after:5.2f} s  pid {child.pid}{again}"
                )
            elif child.phase in ("failed", "killed", "backing off") and before is not None:
                _clear(self._terminal)
                click.echo(f"  {_MARK[child.phase]} {child.process.name:<24} {child.phase} {child.problem}")
        for event in (
            line.events.last(line.events.count - self._told) if line.events.count > self._told else ()
        ):
            _clear(self._terminal)
            colour = "green" if event["what"] in ("reloaded", "scaled", "season") else "yellow"
            click.echo(f"  {click.style(event['what'], fg=colour)} {event['name']}: {event['text']}")
        self._told = line.events.count


def _clear(terminal: bool) -> None:
    if terminal:
        click.echo("\r\033[K", nl=False)


def summary(status: dict[str, Any]) -> str:
    """Addresses and what to try next."""
    urls = status.get("urls", {})
    lines = [
        f"{click.style(status.get('stack', ''), bold=True)} is up after {status.get('ready_in', 0):.1f} s"
    ]
    width = max(map(len, urls), default=0)
    lines += [f"  {label:<{width}}  {url}" for label, url in urls.items()]
    notes = [event for event in status.get("events", ()) if event["what"] == "note"]
    lines += [f"{click.style('note', fg='yellow')}: {event['name']}: {event['text']}" for event in notes]
    lines.append("try  tierline trip / · tierline status · tierline logs --follow · tierline down")
    return "\n".join(lines)


def services(told: dict[str, Any], now: float) -> list[str]:
    """Instances of each service by zone, what they carry, and why there are so many."""
    if not told["services"]:
        return []
    lines = [
        f"  {'service':<18}{'zone':<8}{'instances':<14}{'allowed':<9}{'age':>7}{'requests/s':>12}{'cpu':>7}{'p50':>10}"
    ]
    for each in told["services"]:
        allowed = f"{each['min']}-{each['max']}" if each["min"] != each["max"] else f"{each['max']}"
        if each["asleep"]:
            lines.append(f"  {each['name']:<18}{'':<8}{'0, asleep':<14}{allowed}")
        for zone, number in each["desired"].items():
            here = [one for one in each["instances"] if one["zone"] == zone]
            if not here:
                continue
            well = sum(one["phase"] == "ready" for one in here)
            shown = f"{number}" if well == number else f"{well} of {number}"
            if each["pinned"] is not None:
                shown += ", pinned"
            ages = [one["began"] for one in here if one["began"]]
            age = f"{now - max(ages):.0f} s" if ages else ""
            lines.append(
                f"  {each['name']:<18}{zone:<8}{shown:<14}{allowed:<9}{age:>7}"
                f"{_known(here, 'rps', '.1f'):>12}{_known(here, 'cpu', '.0%'):>7}{_late(here):>10}"
            )
        if each["waiting"]:
            lines.append(f"    {each['waiting']} waiting")
        if each["reason"]:
            lines.append(f"    {now - each['reason_at']:.0f} s ago  {each['reason']}")
    for each in told["seasons"]:
        lines.append(f"  season {season(each, now)}")
        lines += [f"    {'●' if one['well'] else '✗'} {one['what']}: {one['said']}" for one in each["warmed"]]
    return lines


def season(told: dict[str, Any], now: float) -> str:
    """One season, its state and what it asks for."""
    if told["on"]:
        state = f"on for {now - told['since']:.0f} s"
    elif told["begins"] and told["begins"] > now:
        state = f"from {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(told['begins']))}"
    else:
        state = "not on"
    return f"{told['name']}: {state}, at least {told['min']} in each zone"


def clusters(told: dict[str, Any]) -> list[str]:
    """Who leads among processes that hold the same data, who follows, and how far behind."""
    lines = []
    for each in told["clusters"]:
        state = "" if each["leads"] else ", but doesn't answer"
        safe = (
            "each write is confirmed by a follower" if each["synchronous"] else "no follower confirms writes"
        )
        lines.append(f"  {each['name']}: {each['leader']} leads{state}; {safe}")
        for one in each["followers"]:
            behind = (
                f"{one['behind_bytes']} bytes, {one['behind_ms']:g} ms behind"
                if one["state"] != "away"
                else ""
            )
            lines.append(f"    {one['name']:<24}{one['state']:<12}{behind}".rstrip())
    return lines


def _known(instances: list[dict[str, Any]], what: str, form: str) -> str:
    known = [each[what] for each in instances if each[what] is not None]
    return format(sum(known), form) if known else "?"


def _late(instances: list[dict[str, Any]]) -> str:
    known = [each["p50"] for each in instances if each["p50"] is not None]
    return f"{max(known) * 1000:.1f} ms" if known else ""
