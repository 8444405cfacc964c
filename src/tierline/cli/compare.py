"""tierline compare: two lineups of the same stack, measured side by side."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import click

from tierline.errors import PlanError, choices


@click.command()
@click.argument("lineups", nargs=-1, metavar="LINEUP LINEUP …")
@click.option("--stack", type=click.Path(path_type=Path), help="The stack; default: the current folder.")
@click.option(
    "--use", "uses", multiple=True, metavar="SLOT=SYSTEM", help="For the last lineup: another system."
)
@click.option(
    "--workload", "file", type=click.Path(path_type=Path, exists=True), help="Visits (JSON) or an access log."
)
@click.option("--rounds", default=5, show_default=True)
@click.option("--seconds", default=4.0, show_default=True, help="Of each load, in each round.")
@click.option("--rate", default=100.0, show_default=True, help="Requests per second of the open loop.")
@click.option("--clients", default=16, show_default=True, help="Clients at once of the closed loop.")
@click.option("--html", type=click.Path(path_type=Path), help="Write one self-contained page.")
@click.option("--json", "as_json", is_flag=True, help="The data.")
def command(
    lineups: tuple[str, ...], stack: Path | None, uses: tuple[str, ...], file: Path | None, rounds: int,
    seconds: float, rate: float, clients: int, html: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Measure lineups beside each other. They get the same workload in turns.

    One lineup with --use is compared with itself without: tierline compare embedded --use lb=envoy.
    """
    from tierline.compare import report, workload
    from tierline.compare.rounds import Beside, compare
    from tierline.lineups import LINEUPS, choose
    from tierline.stack import load

    if not lineups or (len(lineups) == 1 and not uses):
        raise PlanError(
            f"name two lineups, or one and --use SLOT=SYSTEM for the other; there are: {choices(LINEUPS)}"
        )
    loaded, path = load(stack)
    visits = workload.of_file(file) if file else workload.of_stack(loaded)
    wanted: list[tuple[str, tuple[str, ...]]] = [(name, ("--lineup", name)) for name in lineups]
    if uses:
        last = lineups[-1]
        choose(last, uses)
        words = tuple(word for use in uses for word in ("--use", use))
        changed = (f"{last} {' '.join(uses)}", ("--lineup", last, *words))
        wanted = [*wanted[:-1], changed] if len(wanted) > 1 else [*wanted, changed]
    for _, words in wanted:
        choose(words[1])
    with contextlib.ExitStack() as up:
        lines = []
        for name, words in wanted:
            click.echo(f"starting {name}", err=True)
            lines.append(up.enter_context(Beside(path, name, words)))
        measured = compare(
            lines, visits, rounds=rounds, seconds=seconds, rate=rate, clients=clients,
            say=lambda line: click.echo(line, err=True),
        )  # fmt: skip
    if html is not None:
        from tierline.compare.html import page

        html.write_text(page(measured, f"{loaded.name}: {' and '.join(name for name, _ in wanted)}"))
        click.echo(f"written to {html}", err=True)
    click.echo(json.dumps(report.data(measured), indent=1) if as_json else report.text(measured))
