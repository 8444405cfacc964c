"""What is asked: paths with weights, clients and regions."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from tierline.errors import StackError
from tierline.stack import Stack
from tierline.tiers.client.tier import Visit

_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_COMMON = re.compile(r'"(GET|HEAD) (\S+) HTTP/[\d.]+" (\d{3})')
_MOST_ROUTES = 500


class Request(msgspec.Struct, frozen=True):
    path: str
    headers: Mapping[str, str]
    region: str


def of_stack(stack: Stack) -> tuple[Visit, ...]:
    """The stack's own workload; without one, its journeys that need no values, and the page."""
    if stack.workload:
        return stack.workload
    plain = [j.path for j in stack.journeys if "{" not in j.path and "GET" in j.methods]
    paths = plain + [path for service in stack.services for path in service.expose]
    if stack.cdn is not None and stack.cdn.assets:
        paths.append("/")
    if not paths:
        raise StackError(
            f"Stack({stack.name!r}): nothing to ask; give workload=[Visit('/path')] or --workload FILE"
        )
    return tuple(Visit(path) for path in paths)


def of_file(path: Path) -> tuple[Visit, ...]:
    """A JSON list of `{"path", "weight", "client", "region"}`, or an access log in common or combined format."""
    text = path.read_text(errors="replace")
    if text.lstrip().startswith("["):
        rows: list[dict[str, Any]] = msgspec.json.decode(text)
        return tuple(Visit(**row) for row in rows)
    seen = Counter(
        match[2] for line in text.splitlines() if (match := _COMMON.search(line)) and match[3] < "400"
    )
    if not seen:
        raise StackError(f"{path}: neither a JSON list of visits nor an access log with GET requests in it")
    return tuple(Visit(asked, weight=float(count)) for asked, count in seen.most_common(_MOST_ROUTES))


def requests(visits: Iterable[Visit], region: str, seed: int) -> Iterator[Request]:
    """Requests for ever: the same ones for the same seed, so that both lines are asked the same."""
    listed = tuple(visits)
    weights = [visit.weight for visit in listed]
    dice = random.Random(seed)  # noqa: S311  repeatable, not secret
    while True:
        visit = dice.choices(listed, weights)[0]
        path = _RANGE.sub(lambda match: str(dice.randint(int(match[1]), int(match[2]))), visit.path)
        yield Request(path, visit.headers(), visit.region or region)
