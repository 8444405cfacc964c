"""tierline up: start the whole line."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
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
    "--reload/--no-reload",
    default=None,
    help="Apply what is saved, without dropping a request. On in the foreground, off when detached.",
)
@click.option(
    "--scale/--no-scale",
    default=True,
    help="Follow the load: services and journeys have as many instances as their scale says. Functions sleep anyway.",
)
@click.option(
    "--supervise", type=int, hidden=True, help="Be the supervisor; tell this descriptor when ready."
)
def command(
    stack: Path | None, lineup: str, uses: tuple[str, ...], no_fusion: bool, detach: bool, given: tuple[str, ...],
    reload: bool | None, scale: bool, supervise: int | None,
) -> None:  # fmt: skip
    """Start the line. In the foreground with a live view, or detached."""
    from tierline.run.state import State
    from tierline.stack import find

    State(find(stack)).refuse_second()
    ports = ports_of(given)
    if detach:
        _detach(stack)
        return
    from tierline.cli.view import losses
    from tierline.run.line import Line
    from tierline.run.supervise import supervise as run

    try:
        plan, path = plan_of(stack, lineup, uses, no_fusion)
        state = State(path)
        if supervise is not None:
            started = False

            def ready(line: Line) -> None:
                nonlocal started
                started = True
                os.write(supervise, b"ready\n")
                os.close(supervise)

            os.write(supervise, "".join(f"told {line}\n" for line in losses(plan)).encode())
            run(
                plan, state, ports=ports, ready=ready, log=True, reload=bool(reload), scale=scale, caller=supervise,
            )  # fmt: skip
            if not started:
                raise RunError("the line was stopped before it was ready")
            return
        from tierline.cli.view import View

        view = View()
        for told in losses(plan):
            click.echo(told, err=True)
        run(
            plan,
            state,
            ports=ports,
            ready=view.started,
            view=view.watch,
            reload=reload is not False,
            scale=scale,
        )
        with contextlib.suppress(OSError, ValueError):
            click.echo("stopped; data is kept (tierline down --volumes removes it)")
    except Exception as error:
        if supervise is not None:
            from tierline.errors import TierlineError

            if isinstance(error, TierlineError):
                with contextlib.suppress(OSError):  # who has asked is gone
                    os.write(supervise, f"error\n{error}".encode())
                sys.exit(error.code)
        raise


def _detach(stack: Path | None) -> None:
    """Run this same command as a supervisor in a session of its own, and wait until it is ready."""
    from tierline.run import guardian

    reader, writer = os.pipe()
    arguments = [each for each in sys.argv[1:] if each not in ("--detach", "-d")]
    with tempfile.TemporaryFile() as errors:  # what is said before the supervisor has a log of its own
        process = subprocess.Popen(
            [sys.executable, "-m", "tierline", *arguments, "--supervise", str(writer)], pass_fds=(writer,),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True,
            # Of its own line, also when a service of another one starts it.
            env={name: value for name, value in os.environ.items() if name != guardian.MARK},
        )  # fmt: skip
        os.close(writer)
        try:
            said = _listen(reader)
        except KeyboardInterrupt:
            process.terminate()
            process.wait()
            raise
        if said == "ready":
            from tierline.cli.view import summary
            from tierline.run.state import State
            from tierline.stack import find

            click.echo(summary(State(find(stack)).read() or {}))
            return
        process.wait()
        if said.startswith("error"):
            raise RunError(said.partition("\n")[2])
        errors.seek(0)
        more = errors.read().decode(errors="replace") or "see tierline logs supervisor"
        raise RunError(f"the supervisor ended early\n{more}".rstrip())


def _listen(reader: int) -> str:
    """What the supervisor says in the end; what it tells on the way is printed as it comes."""
    said: list[str] = []
    with os.fdopen(reader) as pipe:
        for line in pipe:
            if not said and line.startswith("told "):
                click.echo(line.removeprefix("told ").rstrip(), err=True)
            else:
                said.append(line)
    return "".join(said).strip()
