"""Whose line it is that an engine's own checker refuses: the stack's raw lines are told by where the stack has them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tierline.engines.base import Process

_NUMBER = re.compile(r"(?:[:\[ ]|[Ll]ine )(\d+)\b")
"""`nginx.conf:165`, `haproxy.cfg:75`, `Line 20 Pos 5`, `squid.conf line 30`."""


def blamed(said: str, process: Process) -> str:
    """Lines to add to what the checker said; empty when nothing of the stack's own is in the configuration.

    Where the checker names a line of a file, or a word, that is in the raw lines, their line is told; else only
    where they are.
    """
    found = "".join(_told(said, at, raw, process) for at, raw in process.raw.items())
    if found or not process.raw:
        return found
    return f"\n  lines of the stack's own are in it: {', '.join(process.raw)}"


def _told(said: str, at: str, raw: str, process: Process) -> str:
    lines = raw.splitlines()
    wrong = next((each for each in _numbered(said, raw, process) if 0 <= each < len(lines)), None)
    if wrong is None:
        wrong = next((number for number, line in enumerate(lines) if _named(line, said)), None)
    return "" if wrong is None else f"\n  line {wrong + 1} of {at}: {lines[wrong].strip()}"


def _numbered(said: str, raw: str, process: Process) -> Iterator[int]:
    """The numbers of lines that the checker named, counted from the first of the raw lines."""
    for path, text in process.files.items():
        if path in said and raw in text:
            before = text[: text.index(raw)].count("\n") + 1
            for number in _NUMBER.findall(said):
                yield int(number) - before


def _named(line: str, said: str) -> bool:
    """Whether the checker quotes the first word of the line."""
    word = re.match(r"[\w.-]{3,}", line.strip())
    return (
        word is not None
        and re.search(rf"[\'\"`]{re.escape(word[0])}[\'\"`]|\b{re.escape(word[0])}\b", said) is not None
    )
