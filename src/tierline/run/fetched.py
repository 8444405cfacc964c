"""Documents of others that a line needs (an issuer's keys, an OpenID provider's description): fetched, kept, and
fetched again while the line runs.

The last good copy is kept in the state folder: an issuer that is away for a while takes nobody's access away,
and one that was never reached gives nobody any.
"""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import ssl
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from tierline.errors import EngineError, RunError, TierlineError
from tierline.run.state import write

if TYPE_CHECKING:
    from tierline.run.line import Line

_PATIENCE = 3.0
_WHOLE = 10.0
"""Seconds for a whole document: `_PATIENCE` is for each piece of it."""
_MOST = 1 << 20
_AGAIN = 1.0
"""Seconds until the next try when one has failed."""


def _anything(_: str) -> None:
    pass


class _Asked(msgspec.Struct):
    ca: Path | None
    good: Callable[[str], object]
    every: float
    due: float


class Fetched:
    """The documents that one context's providers have asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._asked: dict[str, _Asked] = {}

    def get(
        self, url: str, ca: Path | None, every: float, good: Callable[[str], object] = _anything
    ) -> str:  # fmt: skip
        """The last good copy, fetched now when there is none that is young enough. Raises RunError when there is
        none at all. good: raises EngineError for a document that must not take the last one's place."""
        path = self._path(url)
        now = time.time()
        age = now - path.stat().st_mtime if path.is_file() else float("inf")
        wait = every - age
        if age >= every:
            try:
                self._fetch(url, ca, good)
                wait = every
            except RunError:
                self._asked[url] = _Asked(ca, good, every, now + _AGAIN)
                if not path.is_file():
                    raise
                return path.read_text()
        self._asked[url] = _Asked(ca, good, every, now + wait)
        return path.read_text()

    def due(self) -> list[str]:
        """Which documents are to be fetched again now."""
        now = time.time()
        return [url for url, asked in self._asked.items() if asked.due <= now]

    def again(self, url: str) -> bool:
        """Fetch one again; whether it differs from before. Raises RunError."""
        asked = self._asked[url]
        path = self._path(url)
        before = path.read_text() if path.is_file() else ""
        asked.due = time.time() + _AGAIN
        self._fetch(url, asked.ca, asked.good)
        asked.due = time.time() + asked.every
        return path.read_text() != before

    def _path(self, url: str) -> Path:
        return self._folder / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}.json"

    def _fetch(self, url: str, ca: Path | None, good: Callable[[str], object]) -> None:
        found = document(url, ca)
        try:
            good(found)
        except EngineError as error:
            raise RunError(f"{url}: {error}") from None
        write(self._path(url), found)


def document(url: str, ca: Path | None = None) -> str:
    """A JSON object from a URL: 3 s of silence, 10 s and 1 MiB at most, no redirect to another scheme. Raises RunError."""
    trust = ssl.create_default_context(cafile=str(ca) if ca else None)
    openers = [urllib.request.HTTPSHandler(context=trust), urllib.request.ProxyHandler(), _Straight()]
    request = urllib.request.Request(url, headers={"accept": "application/json"})  # noqa: S310  http(s): checked by the intent
    try:
        with urllib.request.build_opener(*openers).open(request, timeout=_PATIENCE) as answer:
            body = _read(answer, time.monotonic() + _WHOLE)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise RunError(f"{url} can't be fetched: {getattr(error, 'reason', error)}") from None
    if len(body) > _MOST:
        raise RunError(f"{url} is larger than {_MOST >> 20} MiB")
    try:
        msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise RunError(f"{url} is no JSON object: {error}") from None
    return str(body, "utf-8", "replace")


def _read(answer: http.client.HTTPResponse, until: float) -> bytes:
    body = b""
    while len(body) <= _MOST and (piece := answer.read1(_MOST + 1 - len(body))):
        body += piece
        if time.monotonic() > until:
            raise TimeoutError(f"it took longer than {_WHOLE:g} s")
    if answer.length and len(body) <= _MOST:
        raise http.client.IncompleteRead(body, answer.length)
    return body


class _Straight(urllib.request.HTTPRedirectHandler):
    """Keys come from where the stack says and from nowhere else."""

    def redirect_request(self, *given: Any, **named: Any) -> None:
        return None


async def follow(line: Line) -> None:
    """Fetch what is due again for as long as the line runs; what changed is applied as any change is."""
    from tierline.run.change import change

    told: dict[str, str] = {}
    while True:
        await asyncio.sleep(0.25)
        fetched, changed = line.context.fetched, False
        for url in fetched.due():
            try:
                changed |= await asyncio.to_thread(fetched.again, url)
                told.pop(url, None)
            except RunError as error:
                if told.get(url) != str(error):  # once, not once a second
                    line.events.tell("missed", "gateway", f"{error}; the last good copy is used")
                told[url] = str(error)
            else:
                if changed:
                    line.events.tell("fetched", "gateway", url)
        if changed:
            async with line.changing:
                try:
                    await change(line, line.plan)
                except TierlineError as error:
                    line.events.tell("refused", "gateway", str(error))
