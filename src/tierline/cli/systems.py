"""tierline systems: the table of systems, with the facts."""

from __future__ import annotations

import json

import click


@click.command()
@click.argument("tier", required=False)
@click.option("--json", "as_json", is_flag=True, help="As data.")
def command(tier: str | None, as_json: bool) -> None:
    """Every system of every tier, or of TIER. Its levels, what it supports, and the binary that would run."""
    from tierline.engines import binaries
    from tierline.errors import EngineError, PlanError, choices, nearest
    from tierline.run.line import engine
    from tierline.tiers.base import every

    rows = []
    for slot, name, system in every():
        if tier is not None and tier not in (slot, f"{slot}.{name}"):
            continue
        path = version = digest = ""
        if system is not None and system.engine:
            try:
                program = engine(system.engine)
                path = program.binary().path
                version = program.version()
                digest = binaries.sha256(path)
            except EngineError as error:
                path = str(error)
        rows.append(
            {
                "system": f"{slot}.{name}",
                "levels": sorted(system.levels) if system else [],
                "supports": sorted(system.supports) if system else [],
                "stand_in": system.stand_in if system else "",
                "binary": path,
                "version": version,
                "sha256": digest,
            }
        )
    if not rows and tier is not None:
        tiers = {slot for slot, _, _ in every()}
        raise PlanError(f"no tier {tier!r}{nearest(tier, tiers)} there are: {choices(tiers)}")
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    for row in rows:
        levels = ", ".join(row["levels"]) or "planned"
        stand_in = f"stand-in: {row['stand_in']}" if row["stand_in"] else ""
        sha = f"sha256 {row['sha256'][:12]}" if row["sha256"] else ""
        where = "  ".join(word for word in (str(row["binary"]), stand_in) if word)
        click.echo(f"{row['system']:<30}{levels:<18}{row['version']:<10}{sha:<20}{where}")
