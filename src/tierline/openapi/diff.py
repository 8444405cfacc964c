"""Two OpenAPI documents compared: what would break an app that was built for the older one.

What breaks follows oasdiff's rules where it has one, with two exceptions: any field of an answer that is gone breaks, also
one that is not always there, and so does an input that is not read any more, since what apps send in it is lost silently.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from tierline.errors import RunError
from tierline.openapi.change import Change
from tierline.openapi.operations import (
    NONE,
    View,
    default_of,
    media_type,
    number,
    pairs,
    parameters,
    paths,
    said,
    schema_of,
    views,
    ways,
    within,
)
from tierline.openapi.schema_diff import Comparison
from tierline.openapi.schema_kinds import Schemas, Unreadable, spoken
from tierline.openapi.well_formed import check

_CLIENT = "x-client"


def read(file: Path, made_by: str) -> dict[str, Any]:
    """A saved document. Raises RunError for a file that is none; made_by: the command that saves one."""
    again = f"save one with: {made_by} > {file.name}"
    try:
        found = msgspec.json.decode(file.read_bytes())
    except OSError as error:
        raise RunError(f"--diff {file}: {error.strerror or error}; {again}") from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise RunError(f"--diff {file} is not JSON: {error}; {again}") from None
    version = found.get("openapi") if isinstance(found, dict) else None
    if not isinstance(version, str) or not version.startswith("3."):
        raise RunError(f"--diff {file} is no OpenAPI 3 document (`openapi` is {version!r}); {again}")
    return dict(found)


def changes(old: dict[str, Any], new: dict[str, Any], name: str = "the old document") -> list[Change]:
    """Every difference, in the order of the paths. Raises RunError where a document can't be understood."""
    try:
        check(old, name)
        check(new, "the document of now")
        return _Documents(old, new, name).changes()
    except (Unreadable, RecursionError) as error:
        raise RunError(f"can't be compared: {error}") from None


class _Documents:
    def __init__(self, old: dict[str, Any], new: dict[str, Any], name: str) -> None:
        self._old, self._new = Schemas(old, name), Schemas(new, "the document of now")
        self._paths = paths(old, self._old), paths(new, self._new)
        self._general = old.get("security"), new.get("security")
        self._found: list[Change] = []

    def changes(self) -> list[Change]:
        before, after = self._paths
        for key, (path, item) in before.items():
            if key not in after:
                self._add(True, "path-removed", path, before=", ".join(m.upper() for m in item))
                continue
            _, now = after[key]
            for method, operation in item.items():
                if method in now:
                    _Operation(self, path, method.upper(), operation, now[method]).compare()
                else:
                    self._add(True, "method-removed", path, method.upper())
            for method in [each for each in now if each not in item]:
                self._add(False, "method-added", path, method.upper())
        for key, (path, item) in after.items():
            if key not in before:
                self._add(False, "path-added", path, after=", ".join(m.upper() for m in item))
        return self._merged()

    def _add(self, breaking: bool, rule: str, path: str, method: str = "", **words: Any) -> None:
        self._found.append(Change(breaking, rule, path, method, **words))

    def _merged(self) -> list[Change]:
        """One change of what several kinds of clients get is one change."""
        kinds: dict[Change, dict[str, None]] = {}
        for each in self._found:
            plain = dataclasses.replace(each, clients=())
            kinds.setdefault(plain, {}).update(dict.fromkeys(each.clients))
        return [dataclasses.replace(each, clients=tuple(who)) for each, who in kinds.items()]


class _Operation:
    """One path and method, before and after."""

    def __init__(
        self, documents: _Documents, path: str, method: str, old: dict[str, Any], new: dict[str, Any]
    ) -> None:
        self._documents = documents
        self._path, self._method = path, method
        self._before, self._after = old, new
        self._old, self._new = documents._old, documents._new

    def compare(self) -> None:
        self._parameters()
        self._body()
        self._answers()
        self._security()
        self._steps()

    def _add(self, breaking: bool, rule: str, where: str = "", **words: Any) -> None:
        self._documents._add(breaking, rule, self._path, self._method, where=where, **words)

    def _schemas(self, old: Any, new: Any, where: str, *, answer: bool, **words: Any) -> None:
        def emit(breaking: bool, rule: str, field: str, before: str, after: str) -> None:
            self._add(breaking, rule, where, field=field, before=before, after=after, **words)

        Comparison(self._old, self._new, answer=answer, emit=emit).run(old, new)

    def _parameters(self) -> None:
        before = parameters(self._before, self._path, self._old)
        after = parameters(self._after, self._path, self._new)
        for key, one in before.items():
            where = f"{one.get('in')} {one.get('name')}"
            other = after.get(key)
            if other is None:
                self._add(True, "input-removed", where, before=spoken(self._old, schema_of(one)))
                continue
            if key == ("header", _CLIENT):
                self._clients(schema_of(one), schema_of(other))
                continue
            if bool(other.get("required")) is not bool(one.get("required")):
                words = ("optional", "required") if other.get("required") else ("required", "optional")
                self._add(
                    bool(other.get("required")), "input-required", where, before=words[0], after=words[1]
                )
            defaults = [default_of(s, schema_of(p)) for s, p in ((self._old, one), (self._new, other))]
            if defaults[0] != defaults[1]:
                texts = ["" if d is NONE else msgspec.json.encode(d).decode() for d in defaults]
                self._add(False, "default-changed", where, before=texts[0], after=texts[1])
            self._schemas(schema_of(one), schema_of(other), where, answer=False)
        for key, other in after.items():
            if key not in before:
                where = f"{other.get('in')} {other.get('name')}"
                kind = spoken(self._new, schema_of(other))
                self._add(bool(other.get("required")), "input-added", where, after=kind)

    def _clients(self, old: Any, new: Any) -> None:
        """Kinds of clients, which are an input of every journey."""
        before, after = (s.get("enum") or [] if isinstance(s, dict) else [] for s in (old, new))
        for kind in before:
            if kind not in after:
                self._add(
                    True, "client-removed", "client", before=str(kind), after=", ".join(map(str, after))
                )
        for kind in after:
            if kind not in before:
                self._add(False, "client-added", "client", after=str(kind))

    def _body(self) -> None:
        old = self._old.resolve(self._before.get("requestBody"))
        new = self._new.resolve(self._after.get("requestBody"))
        if not isinstance(old, dict) or not isinstance(new, dict):
            if isinstance(old, dict):
                self._add(True, "body-removed", "body")
            elif isinstance(new, dict):
                must = bool(new.get("required"))
                self._add(must, "body-required" if must else "body-added", "body")
            return
        if bool(new.get("required")) is not bool(old.get("required")):
            must = bool(new.get("required"))
            words = ("optional", "required") if must else ("required", "optional")
            self._add(must, "body-required", "body", before=words[0], after=words[1])
        for _, one, other in self._media(old, new, "body"):
            self._schemas(one, other, "body", answer=False)

    def _media(self, old: Any, new: Any, where: str) -> Iterator[tuple[str, Any, Any]]:
        """The schemas of each media type that both have."""
        before, after = (
            {media_type(m): c for m, c in (each.get("content") or {}).items()} for each in (old, new)
        )
        for media, content in before.items():
            if media in after:
                yield media, schema_of(content), schema_of(after[media])
            else:
                self._add(True, "media-removed", where, before=media, after=", ".join(after))
        for media in [each for each in after if each not in before]:
            self._add(False, "media-added", where, after=media)

    def _answers(self) -> None:
        before, after = self._before.get("responses") or {}, self._after.get("responses") or {}
        for status, old in before.items():
            if status not in after:
                # A refusal that is not described any more is covered by `default`, or isn't met any more.
                refusal = str(status)[:1] in "45d"
                if not refusal or not ("default" in after or str(status)[:1] in "45"):
                    self._add(True, "status-removed", "status", before=str(status), after=", ".join(after))
                continue
            old, new = self._old.resolve(old), self._new.resolve(after[status])
            if not isinstance(old, dict) or not isinstance(new, dict):
                continue
            where = "answer" if str(status).startswith("2") else f"answer {status}"
            self._headers(old.get("headers") or {}, new.get("headers") or {}, where)
            seen = views(self._before), views(self._after)
            split = str(status) == "200" and all(seen)
            for media, one, other in self._media(old, new, where):
                if not (split and media == "application/json"):
                    self._schemas(one, other, where, answer=True)
            if split:
                self._views(*seen)
        for status in after:
            if status not in before:
                self._add(False, "status-added", "status", after=str(status))

    def _headers(self, old: dict[str, Any], new: dict[str, Any], where: str) -> None:
        names = {name.lower(): header for name, header in new.items()}
        for name, header in old.items():
            if name.lower() not in names:
                self._add(True, "header-removed", f"{where} header {name.lower()}")
            else:
                pair = self._old.resolve(header), self._new.resolve(names[name.lower()])
                self._schemas(
                    schema_of(pair[0]), schema_of(pair[1]), f"{where} header {name.lower()}", answer=True
                )
        for name in [each for each in names if each not in {name.lower() for name in old}]:
            self._add(False, "header-added", f"{where} header {name}")

    def _views(self, old: dict[View, Any], new: dict[View, Any]) -> None:
        """What each kind of client gets, by app version. A view that is new is understood by whom its `since` names."""
        kinds = {kind for kind, _, _ in new}
        for (kind, since, media), schema in old.items():
            if kind not in kinds:
                continue  # said already, of the header x-client
            named = f"{kind} since {since}" if since else kind
            if (kind, since, media) in new:
                other = new[kind, since, media]
            else:
                self._add(True, "view-removed", "view", clients=(named,), before=media)
                offered = [(number(s), s) for k, s, m in new if (k, m) == (kind, media)]
                serving = [pair for pair in offered if pair[0] <= number(since)]
                if not serving:
                    continue
                other = new[kind, max(serving)[1], media]
            if media == "application/json":
                self._schemas(schema, other, "answer", answer=True, clients=(named,))
        for kind, since, media in [each for each in new if each not in old]:
            if any(kind == each for each, _, _ in old):
                self._add(
                    False,
                    "view-added",
                    "view",
                    clients=(f"{kind} since {since}" if since else kind,),
                    after=media,
                )

    def _security(self) -> None:
        old, new = (
            ways(operation.get("security", general))
            for operation, general in zip((self._before, self._after), self._documents._general, strict=True)
        )
        for way in old:
            if not any(within(other, way) for other in new):
                anonymous = not way
                rule = (
                    "security-added"
                    if anonymous or any(other.keys() >= way.keys() for other in new)
                    else "security-removed"
                )
                self._add(True, rule, "security", before=said(old), after=said(new))
                return
        if old != new:
            self._add(False, "security-relaxed", "security", before=said(old), after=said(new))

    def _steps(self) -> None:
        claims = [each.get("x-tierline-claims") or {} for each in (self._before, self._after)]
        if any(claims[0].get(name) != value for name, value in claims[1].items()):
            self._add(True, "security-added", "claims", before=pairs(claims[0]), after=pairs(claims[1]))
        steps = [each.get("x-tierline-after") or [] for each in (self._before, self._after)]
        for step in steps[1]:
            if step not in steps[0]:
                self._add(True, "step-required", "step", before=", ".join(steps[0]), after=str(step))
