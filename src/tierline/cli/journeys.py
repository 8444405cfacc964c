"""tierline journeys: the stack's journeys, and what is generated from them."""

from __future__ import annotations

from pathlib import Path

import click

from tierline.cli.shared import stack_argument


@click.command()
@stack_argument
@click.option("--openapi", "form", flag_value="openapi", help="The OpenAPI 3.1 document.")
@click.option("--typescript", "form", flag_value="typescript", help="A typed TypeScript client.")
@click.option("--python", "form", flag_value="python", help="A typed Python client.")
def command(stack: Path | None, form: str | None) -> None:
    """Every journey: methods, path, parts; or a document or client generated from them."""
    from tierline.stack import load

    loaded, _ = load(stack)
    if form == "openapi":
        from tierline.journeys.openapi import document

        click.echo(document(loaded.journeys, title=loaded.name).decode())
    elif form == "typescript":
        from tierline.journeys.typescript import typescript

        click.echo(typescript(loaded.journeys))
    elif form == "python":
        from tierline.journeys.pyclient import python

        click.echo(python(loaded.journeys))
    else:
        for journey in loaded.journeys:
            parts = ", ".join(journey.parts)
            click.echo(f"{journey.name:<14}{','.join(journey.methods):<10}{journey.path:<24}{parts}")
