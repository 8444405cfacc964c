"""Two JSON Schemas of one value compared, field by field, as somebody who reads it or sends it notices.

Answers may only become narrower, inputs only wider; a difference the other way breaks who was built for the old one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from tierline.openapi.schema_kinds import CONDITIONS, EXACT, LIMITS, UPPER, Kinds, Schemas, spoken, word
from tierline.openapi.schema_kinds import said as said_of

Emit = Callable[[bool, str, str, str, str], None]
"""breaking, rule, field, before, after"""
_MOST_STEPS = 20_000


class Comparison:
    """Compares pairs of schemas for one direction and tells each difference to `emit`."""

    def __init__(self, old: Schemas, new: Schemas, *, answer: bool, emit: Emit) -> None:
        self._old, self._new = old, new
        self._answer = answer
        self._emit = emit
        self._open: set[tuple[int, int]] = set()
        self._done: set[tuple[int, int]] = set()
        self._steps = 0
        self._emitted = 0

    def run(self, old: Any, new: Any, field: str = "") -> None:
        pair = (id(old), id(new))
        self._steps += 1
        if pair in self._open or pair in self._done or self._steps > _MOST_STEPS:
            return
        before = self._emitted
        self._open.add(pair)
        self._kinds(self._old.kinds(old), self._new.kinds(new), field)
        self._open.discard(pair)
        if self._emitted == before:
            self._done.add(pair)

    def _tell(self, wider: bool, rules: tuple[str, str], field: str, before: str, after: str) -> None:
        """A difference that makes the value wider or narrower. rules: for an answer, for an input."""
        self._say(wider is self._answer, rules[0 if self._answer else 1], field, before, after)

    def _say(self, breaking: bool, rule: str, field: str, before: str, after: str) -> None:
        self._emitted += 1
        self._emit(breaking, rule, field, before, after)

    def _kinds(self, old: Kinds, new: Kinds, field: str) -> None:
        gone, come = set(old) - set(new), set(new) - set(old)
        before, after = said_of(self._old, old, 0), said_of(self._new, new, 0)
        if "null" in gone | come:
            self._tell("null" in come, ("became-nullable", "null-refused"), field, before, after)
            gone.discard("null")
            come.discard("null")
        wide, narrow = ("type-widened", "type-widened"), ("type-narrowed", "type-narrowed")
        whole = {("integer", "number"): True, ("number", "integer"): False}
        pairs = [(a, b) for a, b in whole if a in gone and b in come]
        for a, b in pairs:
            self._tell(whole[a, b], wide if self._answer else narrow, field, before, after)
            gone.discard(a)
            come.discard(b)
        if "any" in come:
            if gone:
                self._tell(True, wide, field, before, after)
        elif "any" in gone:
            if come:
                self._tell(False, narrow, field, before, after)
        elif gone and come:
            self._say(True, "type-changed", field, before, after)
        elif come:
            self._tell(True, wide, field, before, after)
        elif gone:
            self._tell(False, narrow, field, before, after)
        for kind in [kind for kind in old if kind in new]:
            self._variants(kind, old[kind], new[kind], field)

    def _variants(self, kind: str, old: list[dict[str, Any]], new: list[dict[str, Any]], field: str) -> None:
        left = list(new)
        for one in old:
            other = _counterpart(one, left, alone=len(old) == len(new) == 1)
            if other is None:
                said = word(self._old, kind, one, 0)
                self._tell(False, ("type-narrowed", "type-narrowed"), field, said, "")
                continue
            left.remove(other)
            if kind == "object":
                self._object(one, other, field)
            elif kind == "array":
                self._array(one, other, field)
            else:
                self._enum(one, other, field)
            self._limits(one, other, field)
            self._conditions(one, other, field)
        for other in left:
            self._tell(True, ("type-widened", "type-widened"), field, "", word(self._new, kind, other, 0))

    def _enum(self, old: dict[str, Any], new: dict[str, Any], field: str) -> None:
        before, after = old.get("enum"), new.get("enum")
        rules = ("enum-grew", "enum-shrank")
        said = (word(self._old, old["type"], old, 0), word(self._new, new["type"], new, 0))
        if before is None and after is None:
            return
        if before is None or after is None:
            self._tell(after is None, rules, field, *said)
            return
        if any(value not in before for value in after):
            self._tell(True, rules, field, *said)
        if any(value not in after for value in before):
            self._tell(False, rules, field, *said)

    def _array(self, old: dict[str, Any], new: dict[str, Any], field: str) -> None:
        firsts = (old.get("prefixItems") or [], new.get("prefixItems") or [])
        rest = (old.get("items", True), new.get("items", True))
        for i in range(max(len(firsts[0]), len(firsts[1]))):
            pair = [first[i] if i < len(first) else more for first, more in zip(firsts, rest, strict=True)]
            self.run(pair[0], pair[1], f"{field}[{i}]")
        self.run(rest[0], rest[1], f"{field}[]")

    def _object(self, old: dict[str, Any], new: dict[str, Any], field: str) -> None:
        had, has = old.get("properties") or {}, new.get("properties") or {}
        must_old, must_new = set(old.get("required") or ()), set(new.get("required") or ())
        for name, schema in had.items():
            place = f"{field}.{name}" if field else name
            if name not in has:
                rule = "field-removed" if self._answer else "input-removed"
                self._say(True, rule, place, spoken(self._old, schema), "")
                continue
            self.run(schema, has[name], place)
            if (name in must_old) is not (name in must_new):
                words = ("required", "optional") if name in must_old else ("optional", "required")
                self._tell(name in must_old, ("field-optional", "input-required"), place, *words)
        for name, schema in has.items():
            if name not in had:
                place = f"{field}.{name}" if field else name
                breaking = not self._answer and name in must_new and not _has_default(self._new, schema)
                rule = "input-added" if breaking or not self._answer else "field-added"
                self._say(breaking, rule, place, "", spoken(self._new, schema))
        more_old, more_new = old.get("additionalProperties", True), new.get("additionalProperties", True)
        if isinstance(more_old, dict) and isinstance(more_new, dict):
            self.run(more_old, more_new, f"{field}{{}}")
        elif not self._answer and (more_old is False) is not (more_new is False):
            words = ("ignored", "refused") if more_new is False else ("refused", "ignored")
            self._say(
                more_new is False,
                "fields-refused",
                field,
                f"other fields {words[0]}",
                f"other fields {words[1]}",
            )
        elif isinstance(more_old, dict) is not isinstance(more_new, dict):
            said = [
                f"other fields: {spoken(schemas, more)}"
                if isinstance(more, dict)
                else "other fields: anything"
                for schemas, more in ((self._old, more_old), (self._new, more_new))
            ]
            if not (has and had and self._answer):
                wide = isinstance(more_old, dict)
                rules = ("type-widened", "type-narrowed")
                self._tell(wide, rules, f"{field}{{}}", said[0], said[1])

    def _limits(self, old: dict[str, Any], new: dict[str, Any], field: str) -> None:
        for limit in LIMITS:
            before, after = old.get(limit), new.get(limit)
            if before == after:
                continue
            said = (
                "" if before is None else f"{limit} {before}",
                "" if after is None else f"{limit} {after}",
            )
            rules = ("limit-loosened", "limit-tightened")
            if after is None or before is None:
                if not (after is None and limit in ("format", "pattern") and "enum" in new):
                    self._tell(after is None, rules, field, *said)
            elif limit in EXACT:
                self._say(True, rules[0 if self._answer else 1], field, *said)
            elif _is_number(before) and _is_number(after):
                self._tell((after > before) is (limit in UPPER), rules, field, *said)

    def _conditions(self, old: dict[str, Any], new: dict[str, Any], field: str) -> None:
        had, has = self._old.conditions(old), self._new.conditions(new)
        rules = ("condition-removed", "condition-added")
        for name in CONDITIONS:
            before, after = (f"{name} {_brief(each[name])}" if name in each else "" for each in (had, has))
            if before and after and had[name] != has[name]:
                self._say(True, "condition-changed", field, before, after)
            elif bool(before) is not bool(after):
                self._tell(not after, rules, field, before, after)
        patterns_old, patterns_new = old.get("patternProperties") or {}, new.get("patternProperties") or {}
        for pattern in dict.fromkeys((*patterns_old, *patterns_new)):
            place = f"{field}{{/{pattern}/}}"
            if pattern in patterns_old and pattern in patterns_new:
                self.run(patterns_old[pattern], patterns_new[pattern], place)
            elif pattern in patterns_old:
                self._tell(True, rules, place, spoken(self._old, patterns_old[pattern]), "")
            else:
                self._tell(False, rules, place, "", spoken(self._new, patterns_new[pattern]))


def _brief(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _has_default(schemas: Schemas, schema: Any) -> bool:
    found = schemas.resolve(schema)
    return isinstance(found, dict) and "default" in found


def _counterpart(one: dict[str, Any], others: list[dict[str, Any]], *, alone: bool) -> dict[str, Any] | None:
    """The schema among the others that stands for the same alternative: by tag, else by what they share."""
    if alone or one["type"] not in ("object", "array"):
        return others[0] if others else None
    if one["type"] == "array":
        return next(
            (each for each in others if each.get("items") == one.get("items")), others[0] if others else None
        )
    tags = _tags(one)
    if tags:
        return next((each for each in others if tags & _tags(each)), None)
    names = set(one.get("properties") or ())
    best = max(others, key=lambda each: _shared(names, each.get("properties") or ()), default=None)
    if best is None or (names and not _shared(names, best.get("properties") or ())):
        return None
    return best


def _tags(schema: dict[str, Any]) -> set[tuple[str, str]]:
    """Fields that can have one value only, as the tags of a union have."""
    found = set()
    for name, each in (schema.get("properties") or {}).items():
        if isinstance(each, dict):
            values = [each["const"]] if "const" in each else each.get("enum") or []
            if len(values) == 1:
                found.add((name, json.dumps(values[0])))
    return found


def _shared(names: set[str], others: Iterable[str]) -> int:
    return len(names & set(others))
