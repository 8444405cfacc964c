"""How `kill`, `hang`, `delay` and `heal` name a part: NAME, or process NAME, zone Z, region R."""

from __future__ import annotations

import ssl
import threading
from pathlib import Path
from typing import Any

import click

from tierline.cli.named import is_stack, parts, status
from tierline.errors import RunError

WHATS = ("process", "zone", "region")


def part(verb: str, words: tuple[str, ...], more: int = 0) -> tuple[str, str, tuple[str, ...], Path | None]:
    """What, its name, `more` words that the command wants after it, and the stack.

    Raises RunError, which lists what has a name, when the name is missing; UsageError when other words are, or are
    left over.
    """
    what, left = (words[0], words[1:]) if words and words[0] in WHATS else ("process", words)
    if not left or (len(left) == 1 and is_stack(left[0])):
        told = status(Path(left[0]) if left else None)
        raise RunError(
            f"{verb} what? name a process, tier, service or resource; zone Z; or region R:\n{parts(told)}"
        )
    if len(left) < 1 + more:
        raise click.UsageError(f"{verb} {' '.join(words)}: how long? tierline {verb} {' '.join(words)} 200ms")
    if len(left) > 2 + more:
        raise click.UsageError(
            f"{verb} {' '.join(words)}: too many words; name a part (NAME, zone Z or region R), STACK may follow"
        )
    stack = Path(left[1 + more]) if len(left) > 1 + more else None
    if what == "process" and words[0] not in WHATS and stack is not None and not stack.exists():
        raise click.UsageError(
            f"{' '.join(words)!r}: there is no stack {str(stack)!r}, and {words[0]!r} is none of 'process', 'zone', 'region'"
        )
    return what, left[0], left[1 : 1 + more], stack


def heal_with(what: str, name: str, stack: Path | None) -> str:
    """The command that ends what was begun."""
    words = [name] if what == "process" else [what, name]
    return " ".join(["tierline heal", *words, *([str(stack)] if stack is not None else [])])


def watched(state: Any, request: dict[str, Any], done: str, rate: float, seconds: float) -> None:
    """A steady load before, during and after: `request` at a third, healed at the end; print what users noticed."""
    from tierline.compare import load, watch, workload
    from tierline.run import control
    from tierline.stack import load as load_stack
    from tierline.trips.ask import counts
    from tierline.trips.client import Client

    told = control.ask(state.root, {"do": "status"})
    stack, _ = load_stack(state.stack)
    visits = workload.of_stack(stack)
    regions = {visit.region or told["region"] for visit in visits}
    authority = state.root / "authority" / "ca.pem"

    def resolve(region: str) -> load.Target:
        client = Client(told, authority, told["domain"], region)
        where, trust = client.resolve(), client.trust()
        context = trust if isinstance(trust, ssl.SSLContext) else None
        return load.Target(where.host, where.port, told["domain"], context)

    targets = {region: resolve(region) for region in regions}
    at = seconds / 3
    asked = workload.requests(visits, told["region"], 1)
    load.open_loop(targets, asked, rate, 1.0)  # warm
    before = counts(told)
    begin = threading.Timer(at, lambda: control.ask(state.root, request))
    begin.start()
    try:
        seen = load.open_loop(targets, asked, rate, seconds, resolve)
    finally:
        begin.join()
        healed = control.ask(state.root, {**request, "do": "heal"})
    event = f"{done} {request['what']} {request['name']} ({', '.join(healed['names'])}), healed at the end"
    click.echo(watch.text(watch.noticed(seen, at), event))
    for line in watch.saved(before, counts(told)):
        click.echo(f"  {line}")
    if seen.limited:
        click.echo("  the load generator was itself the limit: ask for less with --rate")


def watch_options(command: Any) -> Any:
    """--watch, --rate and --seconds."""
    for option in (
        click.option(
            "--seconds", default=12.0, show_default=True, help="With --watch: in all; it begins at a third."
        ),
        click.option("--rate", default=100.0, show_default=True, help="With --watch: requests per second."),
        click.option(
            "--watch", is_flag=True, help="A steady load before, during and after; then heal, and tell."
        ),
    ):
        command = option(command)
    return command


def words(command: Any) -> Any:
    """The arguments that `part` reads."""
    return click.argument("words", nargs=-1, metavar="[process|zone|region] NAME [STACK]")(command)
