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
    from tierline.errors import RunError, choices, nearest
    from tierline.run.authority import Authority
    from tierline.run.state import State
    from tierline.stack import load

    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,62}", name):
        raise RunError(f"{name!r} is no name for a certificate: letters, digits and . _ @ -, at most 63")
    loaded, path = load(stack)
    if loaded.gateway is None or loaded.gateway.mtls is None:
        raise RunError(
            f"Stack({loaded.name!r}): its gateway takes no client certificates; Gateway(mtls=MTLS(…)) makes it ask for them"
        )
    mtls = loaded.gateway.mtls
    if mtls.ca is not None:
        raise RunError(
            f"MTLS(ca={mtls.ca!r}): the gateway takes certificates of that authority only, which isn't the line's"
        )
    if name not in mtls.consumers:  # to see it refused may be what is wanted
        known = f"{nearest(name, mtls.consumers)} there are: {choices(mtls.consumers)}"
        click.echo(f"note: MTLS(consumers=…) lists nobody called {name!r}, who is refused{known}", err=True)
    state = State(path)
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
