"""How `kill`, `hang`, `delay` and `heal` name a part: NAME, or process NAME, zone Z, region R."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tierline.cli.named import is_stack, parts, status
from tierline.errors import RunError

if TYPE_CHECKING:
    from tierline.run.state import State

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


def watched(state: State, request: dict[str, Any], done: str, rate: float, seconds: float) -> None:
    """A steady load before, during and after; print what users noticed."""
    from tierline.compare.watching import watching

    if not 3 <= seconds <= 3600 or not 0 < rate <= 100_000:
        raise RunError(
            f"--seconds {seconds:g} --rate {rate:g}: 3 to 3600 seconds, and up to 100000 requests per second"
        )
    click.echo(watching(state, request, done, rate, seconds))


def watch_options(command: Any) -> Any:
    """--watch, --rate and --seconds."""
    for option in (
        click.option(
            "--seconds",
            default=12.0,
            show_default=True,
            help="With --watch: in all; it begins at a third, and is healed at two.",
        ),
        click.option("--rate", default=100.0, show_default=True, help="With --watch: requests per second."),
        click.option(
            "--watch", is_flag=True, help="A steady load before, while and after it was healed; then tell."
        ),
    ):
        command = option(command)
    return command


def words(command: Any) -> Any:
    """The arguments that `part` reads."""
    return click.argument("words", nargs=-1, metavar="[process|zone|region] NAME [STACK]")(command)
