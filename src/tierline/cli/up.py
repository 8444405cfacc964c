"""tierline up: start the whole line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click

from tierline.cli.shared import lineup_options, plan_of, ports_of, stack_argument
from tierline.errors import RunError


@click.command()
@stack_argument
@lineup_options
@click.option("--detach", "-d", is_flag=True, help="Return when the line is ready.")
@click.option(
    "--port", "given", multiple=True, metavar="NAME=PORT", help="A public port: https, http or dns."
)
@click.option(
    "--supervise", type=int, hidden=True, help="Be the supervisor; tell this descriptor when ready."
)
def command(
    stack: Path | None, lineup: str, uses: tuple[str, ...], no_fusion: bool, detach: bool, given: tuple[str, ...],
    supervise: int | None,
) -> None:  # fmt: skip
    """Start the line: in the foreground with a live view, or detached."""
    ports = ports_of(given)
    if detach:
        _detach(stack)
        return
    from tierline.run.line import Line
    from tierline.run.state import State
    from tierline.run.supervise import supervise as run

    try:
        plan, path = plan_of(stack, lineup, uses, no_fusion)
        state = State(path)
        if supervise is not None:

            def ready(line: Line) -> None:
                os.write(supervise, b"ready\n")
                os.close(supervise)

            run(plan, state, ports=ports, ready=ready)
            return
        from tierline.cli.view import losses, started, watch

        losses(plan)
        run(plan, state, ports=ports, ready=started, view=watch)
        click.echo("stopped; data is kept (tierline down --volumes removes it)")
    except Exception as error:
        if supervise is not None:
            from tierline.errors import TierlineError

            if isinstance(error, TierlineError):
                os.write(supervise, f"error\n{error}".encode())
                sys.exit(error.code)
        raise


def _detach(stack: Path | None) -> None:
    """Run this same command as a supervisor in a session of its own, and wait until it is ready."""
    reader, writer = os.pipe()
    arguments = [each for each in sys.argv[1:] if each not in ("--detach", "-d")]
    process = subprocess.Popen(
        [sys.executable, "-m", "tierline", *arguments, "--supervise", str(writer)], pass_fds=(writer,),
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    os.close(writer)
    with os.fdopen(reader) as pipe:
        said = pipe.read()
    if said.startswith("ready"):
        from tierline.cli.view import summary
        from tierline.run.state import State
        from tierline.stack import find

        click.echo(summary(State(find(stack)).read() or {}))
        return
    if said.startswith("error"):
        process.wait()
        raise RunError(said.partition("\n")[2])
    assert process.stderr is not None
    raise RunError(f"the supervisor ended early\n{process.stderr.read().decode()}".rstrip())
