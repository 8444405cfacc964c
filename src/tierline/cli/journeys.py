"""tierline journeys: the stack's journeys, and the documents that describe them."""

from __future__ import annotations

from pathlib import Path

import click

from tierline.cli.shared import stack_argument


@click.command()
@stack_argument
@click.option("--openapi", is_flag=True, help="The OpenAPI 3.1 document.")
@click.option("--schema", metavar="NAME", help="The JSON Schema of what a journey answers.")
@click.option("--as", "client", default="web", show_default=True, help="With --schema: the kind of client.")
@click.option(
    "--diff",
    metavar="OLD.json",
    type=click.Path(path_type=Path),
    help="Compare with a document that --openapi printed earlier; exit code 1 when an app in use would break.",
)
@click.option("--json", "as_json", is_flag=True, help="With --diff: the changes as JSON.")
def command(
    stack: Path | None, openapi: bool, schema: str | None, client: str, diff: Path | None, as_json: bool
) -> None:
    """Every journey with methods, path and parts. Or the document of all, the schema of one's answer, or what has changed."""
    import msgspec

    from tierline.errors import StackError, choices, nearest
    from tierline.journeys.journey import kind_of
    from tierline.journeys.routes import VIEWERS
    from tierline.stack import load

    if as_json and diff is None:
        raise StackError("--json needs --diff OLD.json")
    loaded, _ = load(stack)
    kinds = tuple(kind_of(each) for each in loaded.clients) or VIEWERS
    if diff is not None:
        from tierline.cli.difference import tell
        from tierline.journeys.openapi import openapi as described

        now = described(loaded.journeys, title=loaded.name, clients=kinds, passages=loaded.passages)
        tell(diff, now, as_json, "tierline journeys --openapi")
    elif openapi:
        from tierline.journeys.openapi import document

        click.echo(
            document(loaded.journeys, title=loaded.name, clients=kinds, passages=loaded.passages).decode()
        )
    elif schema:
        from tierline.journeys.schemas import json_schema

        found = {journey.name: journey for journey in loaded.journeys}
        if schema not in found:
            raise StackError(f"no journey {schema!r}{nearest(schema, found)} there are: {choices(found)}")
        click.echo(msgspec.json.format(msgspec.json.encode(json_schema(found[schema], client))).decode())
    else:
        rows = [(j.name, ", ".join(j.methods), j.path, ", ".join(j.parts)) for j in loaded.journeys]
        rows += [(p.name, ", ".join(p.methods), p.path, f"→ {p.to}") for p in loaded.passages]
        widths = [max(len(row[column]) for row in rows) + 2 for column in range(3)] if rows else []
        for *cells, last in rows:
            click.echo("".join(f"{cell:<{wide}}" for cell, wide in zip(cells, widths, strict=True)) + last)
        if not loaded.journeys:
            click.echo("this stack has no journeys: Stack(journeys=[Journey(…)]) adds them", err=True)
