"""The typed client of a service, from the document that is named or that the service's app gives."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any

import click

from tierline.errors import RunError, StackError, choices, nearest

_MOST = 16 << 20
_PATIENCE = 10.0


def command_for(service: str, stack: Path | None, document: str | None, output: Path | None) -> str:
    """The command that makes the same client again."""
    words = ["tierline", "client", "python", *([str(stack)] if stack else []), "--of", service]
    words += ["--document", document] if document else []
    words += ["--output", str(output)] if output else []
    return shlex.join(words)


def text_of(service: str, stack: Path | None, document: str | None, output: Path | None) -> str:
    """The module's text; what types can't say is told on standard error."""
    from tierline.journeys.service_client import service_client

    source = ""
    if document is None:
        said = _asked(service, stack)
    elif document.startswith(("http://", "https://")):
        said = _fetched(document)
    else:
        said = _read(Path(document))
        source = os.path.relpath(document, output.parent if output else ".")
    made_by = command_for(service, stack, document, output)
    text, notes = service_client(said, service, made_by=made_by, source=source)
    for note in notes:
        click.echo(note, err=True)
    return text


def _asked(service: str, stack: Path | None) -> Any:
    from tierline.openapi.asked import documents
    from tierline.stack import load

    loaded, path = load(stack)
    known = {each.name: each for each in loaded.services}
    if service not in known:
        raise StackError(
            f"--of {service!r}: no such service{nearest(service, known)} available: {choices(known)}; for a service outside "
            "give its document: --document openapi.json"
        )
    found, notes = documents([known[service]], path.parent)
    if service not in found:
        why = notes[0] if notes else f"{service} gives none"
        raise RunError(
            f"--of {service}: {why}; give its OpenAPI document: --document openapi.json, or its URL"
        )
    return found[service]


def _read(file: Path) -> Any:
    import msgspec

    try:
        return _object(msgspec.json.decode(file.read_bytes()), str(file))
    except OSError as error:
        raise RunError(f"--document {file}: {error.strerror or error}") from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise RunError(f"--document {file} is not JSON: {error}") from None


def _fetched(url: str) -> Any:
    import httpx
    import msgspec

    try:
        with httpx.Client(timeout=_PATIENCE) as client, client.stream("GET", url) as reply:
            reply.raise_for_status()
            data = b""
            for piece in reply.iter_bytes():
                data += piece
                if len(data) > _MOST:
                    raise RunError(f"--document {url}: it is larger than {_MOST >> 20} MiB")
        return _object(msgspec.json.decode(data), url)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise RunError(f"--document {url}: {error}; is the service up?") from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise RunError(f"--document {url} is not JSON: {error}") from None


def _object(found: Any, where: str) -> Any:
    if not isinstance(found, dict):
        raise RunError(f"--document {where} is no OpenAPI document: it holds no object")
    return found
