"""tierline openapi: the OpenAPI document of what the gateway exposes."""

from __future__ import annotations

import json
from pathlib import Path

import click

from tierline.cli.shared import lineup_options, plan_of, stack_argument


@click.command()
@stack_argument
@lineup_options
@click.option("--output", type=click.Path(path_type=Path), help="Write it to a file.")
@click.option(
    "--diff",
    metavar="OLD.json",
    type=click.Path(path_type=Path),
    help="Compare with an earlier document; exit code 1 when who uses it would break.",
)
@click.option("--json", "as_json", is_flag=True, help="With --diff: the changes as JSON.")
def command(
    stack: Path | None,
    lineup: str,
    uses: tuple[str, ...],
    no_fusion: bool,
    output: Path | None,
    diff: Path | None,
    as_json: bool,
) -> None:
    """One OpenAPI 3.1 document of all that is exposed. Of journeys, services' own documents and the gateway's policies."""
    from tierline.errors import StackError
    from tierline.openapi.document import document
    from tierline.stack import load

    if as_json and diff is None:
        raise StackError("--json needs --diff OLD.json")
    loaded, _ = load(stack)
    if loaded.gateway is None:
        raise StackError("the stack has no gateway: tierline journeys --openapi describes its journeys alone")
    plan, _ = plan_of(stack, lineup, uses, no_fusion)
    found, notes = document(loaded, plan)
    for note in notes:
        click.echo(note, err=True)
    if diff is not None:
        from tierline.cli.difference import tell

        tell(diff, found, as_json, "tierline openapi")
        return
    whole = json.dumps(found, indent=2) + "\n"
    if output is None:
        click.echo(whole, nl=False)
    else:
        output.write_text(whole)
