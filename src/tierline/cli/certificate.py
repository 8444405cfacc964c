"""tierline certificate: a client certificate of the line's own authority."""

from __future__ import annotations

import re
from pathlib import Path

import click


@click.command()
@click.argument("name")
@click.argument("stack", required=False, type=click.Path(path_type=Path))
@click.option(
    "--output", type=click.Path(path_type=Path, file_okay=False), help="The folder; default: the current one."
)
def command(name: str, stack: Path | None, output: Path | None) -> None:
    """A client certificate for NAME that the gateway accepts. Good for 90 days, for `Gateway(mtls=MTLS(…))`.

    Writes NAME.pem and NAME.key, which nobody else may read.
    """
    from tierline.errors import RunError
    from tierline.run.authority import Authority
    from tierline.run.state import State
    from tierline.stack import find

    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,62}", name):
        raise RunError(f"{name!r} is no name for a certificate: letters, digits and . _ @ -, at most 63")
    state = State(find(stack))
    state.check()
    authority = Authority(state.folder("authority"))
    folder = (output or Path.cwd()).resolve()
    if not folder.is_dir():
        raise RunError(f"{folder} is no folder: make it first, or give another with --output")
    chain, key = authority.client(name, folder)
    click.echo(f"{chain}\n{key}")
    told = state.read()
    url = next(
        (url for label, url in (told or {"urls": {}})["urls"].items() if label.startswith("mtls")), None
    )
    if url is not None:
        click.echo(f"try  curl --cacert {authority.certificate} --cert {chain} --key {key} {url}")
