"""`tierline`: one file per command, imported when the command is used."""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys

import click

from tierline.errors import TierlineError

_ORDER = (
    "up", "down", "status", "logs", "restart", "reload", "scale", "season",
    "trip", "metrics", "funnel",
    "kill", "hang", "delay", "heal", "compare",
    "plan", "systems",
    "journeys", "journey", "client", "openapi",
    "token", "certificate", "sign", "purge",
    "synth", "domain", "demo",
)  # fmt: skip


HELPERS = {"difference", "main", "named", "part", "service", "shared", "view"}
"""Files that are no commands."""


class Commands(click.Group):
    """Finds `cli/<name>.py` for a command; help lists them without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        import tierline.cli

        names = {module.name for module in pkgutil.iter_modules(tierline.cli.__path__)} - HELPERS
        return sorted(names, key=lambda name: (_ORDER.index(name) if name in _ORDER else len(_ORDER), name))

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in self.list_commands(ctx):
            return None
        module = importlib.import_module(f"tierline.cli.{name}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        from tierline.errors import choices, nearest

        name = args[0]
        if self.get_command(ctx, name) is None:
            names = self.list_commands(ctx)
            raise click.UsageError(f"no command {name!r}{nearest(name, names)} there are: {choices(names)}")
        return super().resolve_command(ctx, args)


_COLOUR = False if os.environ.get("NO_COLOR") else None
"""no-color.org; None: where the output is a terminal."""


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "color": _COLOUR})
@click.version_option(package_name="tierline")
def tierline() -> None:
    """The whole line of tiers of a web product, from one Python file.

    STACK is a stack file, or the folder of a stack.py; default: the current folder.
    """


def main() -> None:
    """Entry point. A TierlineError, or what click can't understand, is one message on standard error and exit code 2."""
    try:
        tierline.main(prog_name="tierline", standalone_mode=False)
    except TierlineError as error:
        _tell(str(error))
        sys.exit(error.code)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        sys.exit(2)
    except click.UsageError as error:
        _tell(error.format_message())
        if error.ctx is not None:
            click.echo(f"{error.ctx.get_usage()}\nhelp   {error.ctx.command_path} --help", err=True)
        sys.exit(2)
    except click.ClickException as error:
        _tell(error.format_message())
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(0)
    finally:
        _flush()


def _flush() -> None:
    """A reader that has gone away (`| head -1`) is no error, neither now nor when Python flushes for the last time."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _tell(message: str) -> None:
    click.echo(f"{click.style('error', fg='red', bold=True)}: {message}", err=True, color=_COLOUR)
