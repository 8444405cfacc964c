"""What the client can read: RFC 9110's Accept and Accept-Language, an app's version, fields of the answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any


@lru_cache(maxsize=512)
def weighed(header: str) -> tuple[tuple[str, float], ...]:
    """A list header with quality values, the most wanted first. Malformed entries are left out."""
    found = []
    for entry in header[:2048].split(","):
        name, *rest = (piece.strip() for piece in entry.split(";"))
        weight = 1.0
        for parameter in rest:
            key, _, value = parameter.partition("=")
            if key.strip().lower() == "q":
                try:
                    weight = min(1.0, max(0.0, float(value)))
                except ValueError:
                    weight = 0.0
        if name:
            found.append((name.lower(), weight))
    return tuple(sorted(found, key=lambda pair: -pair[1]))


def _fits(pattern: str, media: str) -> int:
    """How closely a media range names a media type; 0 when it does not."""
    if pattern == media:
        return 3
    kind, _, sub = pattern.partition("/")
    if sub == "*" and media.startswith(kind + "/"):
        return 2
    return 1 if pattern == "*/*" else 0


@lru_cache(maxsize=1024)
def best_media(accept: str, offered: tuple[str, ...]) -> str | None:
    """Which of the offered media types the client wants most; the first when it doesn't mind."""
    if not accept.strip():
        return offered[0]
    ranges = weighed(accept)
    best, best_weight = None, 0.0
    for media in offered:
        fits = [(_fits(pattern, media), weight) for pattern, weight in ranges]
        closest, weight = max(fits, key=lambda pair: pair[0], default=(0, 0.0))
        if closest and weight > best_weight:
            best, best_weight = media, weight
    return best


@lru_cache(maxsize=1024)
def best_language(accept: str, offered: tuple[str, ...]) -> str:
    """Which of the offered languages fits best (RFC 4647 look-up); the first when none does.

    Without offers: the client's first wish, or "en".
    """
    wishes = [tag for tag, weight in weighed(accept) if weight > 0 and tag.replace("-", "").isalnum()]
    if not offered:
        return wishes[0] if wishes else "en"
    known = {tag.lower(): tag for tag in offered}
    for wish in wishes:
        while wish:
            if wish in known:
                return known[wish]
            wish = wish.rpartition("-")[0]
    return offered[0]


def version_of(text: str) -> tuple[int, ...]:
    """`3.2.1` as numbers; () for anything else."""
    try:
        return tuple(int(piece) for piece in text.strip().split(".", 4)[:4])
    except ValueError:
        return ()


Tree = dict[str, Any]
"""Wanted fields, each with those inside it; None stands for all."""


def wanted_of(fields: str) -> list[str]:
    """The paths that `?fields=` asks for."""
    return [name for piece in fields[:4096].split(",") if (name := piece.strip())]


def tree_of(wanted: Iterable[str]) -> Tree:
    """`a,b.c` as `{"a": None, "b": {"c": None}}`."""
    tree: Tree = {}
    for path in wanted:
        here = tree
        pieces = path.split(".")
        for index, piece in enumerate(pieces):
            inner = here.setdefault(piece, {} if index < len(pieces) - 1 else None)
            if inner is None:
                break
            here = inner
    return tree


def unknown_field(name: str, known: Iterable[str]) -> dict[str, Any]:
    """What is said of a path of `?fields=` that leads to nothing. known: the names that there are in its place."""
    above, _, last = name.rpartition(".")
    where = f" of {above[:100]!r}" if above else ""
    why = f"{last[:100]!r} is no field{where}; available: {', '.join(sorted(known)) or 'none'}"
    return {"in": "query", "field": "fields", "given": name[:200], "why": why}


def among(body: Any, path: str) -> Iterable[str]:
    """The names that there are where the last of a path's is looked for."""
    for piece in path.split(".")[:-1]:
        while isinstance(body, Sequence) and not isinstance(body, str):
            body = body[0] if body else None
        body = body.get(piece) if isinstance(body, dict) else None
    while isinstance(body, Sequence) and not isinstance(body, str):
        body = body[0] if body else None
    return [str(name) for name in body] if isinstance(body, dict) else []


def pick(body: Any, wanted: Iterable[str]) -> tuple[Any, list[str]]:
    """The body with only these fields (`a`, `b.c`; through lists too), and those that do not exist."""
    tree = tree_of(wanted)
    missing: list[str] = []
    return _pick(body, tree, "", missing), missing


def _pick(body: Any, tree: dict[str, Any] | None, path: str, missing: list[str]) -> Any:
    if tree is None or body is None:
        return body
    if isinstance(body, dict):
        found = {}
        for name, inner in tree.items():
            if name in body:
                found[name] = _pick(body[name], inner, f"{path}{name}.", missing)
            else:
                missing.append(f"{path}{name}")
        return found
    if isinstance(body, Sequence) and not isinstance(body, str):
        lost: list[str] = []
        picked = [_pick(item, tree, path, lost) for item in body]
        if body and len(lost) >= len(body):
            missing.extend(dict.fromkeys(lost))
        return picked
    missing.extend(f"{path}{name}" for name in tree)
    return body
