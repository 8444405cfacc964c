"""tierline client: a typed client of the journeys, generated from their definitions."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tierline.errors import StackError

if TYPE_CHECKING:
    from tierline.journeys import Journey

LANGUAGES = ("typescript", "javascript", "python")


@click.command()
@click.argument("language", type=click.Choice(LANGUAGES))
@click.argument("stack", required=False, type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Write it to this file."
)
@click.option(
    "--of", "service", metavar="SERVICE", help="A client of this service, for the parts of journeys (python)."
)
@click.option(
    "--document",
    metavar="FILE|URL",
    help="With --of: the service's OpenAPI document; without it, the service's app is asked for one.",
)
@click.option("--check", is_flag=True, help="Write nothing; fail when the file is not what would be written.")
def command(
    language: str,
    stack: Path | None,
    output: Path | None,
    service: str | None,
    document: str | None,
    check: bool,
) -> None:
    """A typed client of the stack's journeys in LANGUAGE.

    javascript is a module that browsers load as it is; with --output its types stand beside it as .d.ts.
    The same definitions always give the same text, so a generated file can be kept and checked.
    """
    from tierline.journeys.journey import kind_of
    from tierline.stack import load

    if check and output is None:
        raise StackError("--check needs --output: the file to compare")
    if service is not None:
        from tierline.cli.service import command_for, text_of

        if language != "python":
            raise StackError(
                "--of makes a client for the parts of journeys, which are Python: client python --of …"
            )
        texts = {output or Path(): text_of(service, stack, document, output)}
        again = command_for(service, stack, document, output)
        _write(texts, output, check, again, f"the document of {service} says")
        return
    if document is not None:
        raise StackError("--document needs --of: the service whose document it is")
    loaded, _ = load(stack)
    if not loaded.journeys:
        raise StackError(
            f"the stack {loaded.name!r} has no journeys, so there is nothing to make a client of"
        )
    kinds = [kind_of(client) for client in loaded.clients] or ["web"]
    texts = _texts(language, loaded.journeys, kinds, output or Path())
    told = f" {stack}" if stack else ""
    _write(texts, output, check, f"tierline client {language}{told} --output {output}")


def _write(
    texts: dict[Path, str], output: Path | None, check: bool, again: str, says: str = "the journeys say"
) -> None:
    """Writes or prints the texts, or fails where a file is another one."""
    if output is None:
        click.echo(next(iter(texts.values())), nl=False)
        return
    for file, text in texts.items():
        if not check:
            file.write_text(text)
        elif not file.is_file() or file.read_text() != text:
            raise StackError(f"{file} is not what {says}; make it again: {again}")


def _texts(language: str, journeys: Iterable[Journey], kinds: list[str], file: Path) -> dict[Path, str]:
    """Each file's text; the client itself first."""
    from tierline.journeys.pyclient import python
    from tierline.journeys.typescript import declarations, javascript, typescript

    if language == "python":
        return {file: python(journeys, clients=kinds)}
    if language == "typescript":
        return {file: typescript(journeys, clients=kinds)}
    types = file.with_name(f"{file.stem}.d.ts") if file.name else Path("types")
    return {file: javascript(journeys, clients=kinds), types: declarations(journeys, clients=kinds)}
