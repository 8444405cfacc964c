"""tierline synth: the plan as CloudFormation."""

from __future__ import annotations

from pathlib import Path

import click

from tierline.cli.shared import plan_of, stack_argument


@click.command()
@stack_argument
@click.option("--lineup", default="aws", show_default=True, help="Which system plays each tier.")
@click.option("--use", "uses", multiple=True, metavar="SLOT=SYSTEM", help="Another system for one slot.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Write the templates here.")
@click.option("--lint", "linted", is_flag=True, help="Check them with cfn-lint (the extra `aws`).")
@click.option("--json", "as_json", is_flag=True, help="Everything as data.")
def command(
    stack: Path | None, lineup: str, uses: tuple[str, ...], out: Path | None, linted: bool, as_json: bool
) -> None:
    """Write CloudFormation templates. One per layer, in the order in which they are deployed."""
    from tierline.deploy.checks import fits_request
    from tierline.deploy.synth import synthesize
    from tierline.errors import PlanError

    plan, path = plan_of(stack, lineup, uses, no_fusion=False)
    found = synthesize(plan, path.parent)
    if linted:
        from tierline.deploy.lint import lint

        problems = lint(found.stacks)
        if problems:
            raise PlanError("cfn-lint found:\n  " + "\n  ".join(problems))
    written = found.write(out) if out is not None else []
    if as_json:
        import json

        click.echo(json.dumps({**found.data(), "losses": [_loss(loss) for loss in plan.losses]}, indent=1))
        return
    for each in found.stacks:
        resources = len(each.template["Resources"])
        by_bucket = "" if fits_request(each) else "  too large for a request: by way of a bucket"
        click.echo(
            f"{each.name:<24} {each.region:<16} {resources:>3} resources  {len(each.text()):>7,} bytes{by_bucket}"
        )
        for name, about in each.asks.items():
            click.echo(f"    give {name}: {about}")
    for loss in plan.losses:
        click.echo(f"loss  {_loss(loss)}")
    for note in found.notes:
        click.echo(f"note  {note}")
    if written:
        click.echo(f"written to {out}: {', '.join(file.name for file in written)}")
    else:
        click.echo("nothing written: --out FOLDER writes the templates, --json prints them")


def _loss(loss: object) -> str:
    from tierline.plan.model import Loss

    assert isinstance(loss, Loss)
    return f"{loss.tier}.{loss.system}: {loss.feature}: {loss.why}"
