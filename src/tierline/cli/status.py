"""tierline status: what runs, where, since when."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click

from tierline.cli.shared import running, stack_argument


@click.command()
@stack_argument
@click.option("--json", "as_json", is_flag=True, help="As data.")
def command(stack: Path | None, as_json: bool) -> None:
    """Services with their load, processes with their zones, ages, restarts and memory; which database leads."""
    from tierline.run import control

    told = control.ask(running(stack).root, {"do": "status"})
    if as_json:
        click.echo(json.dumps(told, indent=1))
        return
    import psutil

    from tierline.cli.view import clusters, services

    click.echo(f"{told['stack']}  {told['phase']}  supervisor {told['pid']}")
    width = max(map(len, [*told["urls"], "certificate"]))
    for label, url in told["urls"].items():
        click.echo(f"  {label:<{width}} {url}")
    if told.get("certificate"):
        click.echo(f"  {'certificate':<{width}} {_certificate(told['certificate'])}")
    if lines := services(told, time.time()):
        click.echo("\n" + "\n".join(lines))
    click.echo(
        f"\n  {'process':<26}{'zone':<16}{'state':<12}{'pid':>7}{'age':>8}{'starts':>7}{'memory':>9}{'errors':>8}"
    )
    for process in told["processes"]:
        memory = ""
        if process["pid"]:
            try:
                memory = f"{_memory(process['pid']) >> 20} MB"
            except psutil.Error:
                memory = "?"
        age = f"{time.time() - process['began']:.0f} s" if process["began"] else ""
        click.echo(
            f"  {process['name']:<26}{process['zone']:<16}{process['phase']:<12}{process['pid'] or '':>7}{age:>8}"
            f"{process['restarts'] + 1:>7}{memory:>9}{process['errors']['count'] or '':>8}"
        )
        if last := process["errors"]["last"]:
            click.echo(f"    last error: {last}")
        if unwell := process["errors"]["health"]:
            click.echo(f"    {unwell}")
        if late := process["delay"]:
            more = f" ± {late['jitter'] * 1000:g} ms" if late["jitter"] else ""
            click.echo(f"    delayed by {late['seconds'] * 1000:g} ms{more} {late['problem']}".rstrip())
        if process["problem"]:
            click.echo(f"    {process['problem']}")
        if process["notice"]:
            click.echo(f"    {process['notice']}")
    if lines := clusters(told):
        click.echo("\n" + "\n".join(lines))
    for each in told["unwritten"]:
        since = time.strftime("%H:%M:%S", time.localtime(each["since"]))
        click.echo(f"\n  can't write {each['what']} since {since}: {each['problem']}; what runs goes on")
    for name, problem in told["refused"].items():
        click.echo(f"\n  {name}: not applied: {problem}")
    if told["events"]:
        click.echo()
    for event in told["events"][-8:]:
        at = time.strftime("%H:%M:%S", time.localtime(event["at"]))
        click.echo(f"  {at}  {event['what']} {event['name']}: {event['text']}")


def _certificate(told: dict[str, Any]) -> str:
    """Of an ACME authority: until when, or why not yet."""
    until = time.strftime("%Y-%m-%d %H:%M", time.localtime(told["until"])) if told["until"] else "not yet"
    problem = f"; {told['problem']}" if told["problem"] else ""
    return f"{', '.join(told['names'])} from {told['directory']}: {until}{problem}"


def _memory(pid: int) -> int:
    """Proportional set size of a process and its children, bytes."""
    import psutil as ps

    top = ps.Process(pid)
    total = 0
    for each in (top, *top.children(recursive=True)):
        try:
            total += each.memory_full_info().pss
        except ps.Error:
            continue
    return total
