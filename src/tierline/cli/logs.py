"""tierline logs: what the processes wrote."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import click

from tierline.errors import RunError, choices, nearest


@click.command()
@click.argument("names", nargs=-1)
@click.option("--stack", type=click.Path(path_type=Path), help="The stack; default: the current folder.")
@click.option("--follow", "-f", is_flag=True, help="Go on as more is written.")
@click.option("--lines", "-n", default=20, show_default=True, help="Lines of each log to begin with.")
def command(names: tuple[str, ...], stack: Path | None, follow: bool, lines: int) -> None:
    """Logs of all processes, or of NAMES. The first may be the stack."""
    from tierline.run.state import State
    from tierline.stack import find

    if names and stack is None and (Path(names[0]) / "stack.py").is_file():
        stack, names = Path(names[0]), names[1:]
    folder = State(find(stack)).root / "logs"
    there = {path.stem: path for path in sorted(folder.glob("*.log"))} if folder.is_dir() else {}
    if not there:
        raise RunError(
            f"this stack has written no logs yet: start it with tierline up {stack or ''}".rstrip()
        )
    names = tuple(log for name in names for log in ([name] if name in there else _of(name, stack) or [name]))
    for name in names:
        if name not in there:
            raise RunError(f"no log of {name!r}{nearest(name, there)} there are: {choices(there)}")
    chosen = {name: path for name, path in there.items() if not names or name in names}
    width = max((len(name) for name in chosen), default=0)
    at: dict[str, int] = {}
    for name, path in chosen.items():
        text = path.read_bytes()
        at[name] = len(text)
        for line in text.decode(errors="replace").splitlines()[-lines:]:
            click.echo(f"{name:<{width}} │ {line}")
    while follow:
        for name, path in chosen.items():
            with path.open("rb") as file:
                if path.stat().st_size < at[name]:  # it was large, and began anew
                    at[name] = 0
                file.seek(at[name])
                more = file.read()
            whole = more.rfind(b"\n") + 1
            at[name] += whole
            for line in more[:whole].decode(errors="replace").splitlines():
                click.echo(f"{name:<{width}} │ {line}")
        time.sleep(0.1)


def _of(name: str, stack: Path | None) -> list[str]:
    """The processes of a line that is up which play a role, service or resource of this name."""
    from tierline.cli.named import status

    with contextlib.suppress(RunError):
        return [
            process["name"]
            for process in status(stack)["processes"]
            if name in {word for role in process["roles"] for word in (role, role.partition(".")[0])}
        ]
    return []
