"""One difference between two contracts, and whether apps that were built for the older one notice it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass

RULES = {
    "path-removed": ("apps that ask for it get 404", "keep the path until no app version in use asks for it"),
    "method-removed": ("apps that send it get 405", "keep the method until no app version in use sends it"),
    "client-removed": ("apps of this kind get 406", "keep the kind of client in Stack(clients=…)"),
    "view-removed": (
        "apps of these versions get the view before it, or the parts themselves",
        "keep the view until no app version in use reads it",
    ),
    "view-added": ("apps of these versions understand it, as its since= says", ""),
    "status-removed": ("apps that wait for this status never see it", "go on answering with it"),
    "status-added": ("apps meet another status beside the one that they know", ""),
    "media-removed": (
        "apps that accept or send only this media type are refused (406, 415)",
        "go on with it, and add the other beside it",
    ),
    "header-removed": ("apps that read this field don't find it", "go on sending it"),
    "body-removed": ("what apps send is ignored", "go on reading the body"),
    "body-required": ("apps that send no body are refused", "give the body's type a default: `body: Order | None`"),
    "input-added": ("apps that don't send it are refused (422)", "give it a default"),
    "input-removed": ("what apps send in it is ignored", "go on reading it, or let apps update first"),
    "input-required": ("apps that leave it out are refused (422)", "give it a default"),
    "default-changed": ("apps that leave it out get the new default", ""),
    "field-removed": (
        "apps that show this field don't find it",
        "go on answering it, or leave it out only in a view with since=",
    ),
    "field-optional": (
        "apps that rely on this field don't always find it",
        "always answer it, or leave it out only in a view with since=",
    ),
    "field-added": ("apps ignore fields that they don't know", ""),
    "type-changed": (
        "apps of this version read or send another type",
        "keep this field's type and add another field beside it",
    ),
    "type-widened": (
        "apps meet values that they don't expect here",
        "keep the type, or answer the new one only in a view with since=",
    ),
    "type-narrowed": ("apps that send the other type are refused (422)", "go on taking both"),
    "became-nullable": (
        "apps that read it without looking meet null",
        "answer a value, or null only in a view with since=",
    ),
    "null-refused": ("apps that send null are refused (422)", "go on taking null"),
    "enum-grew": (
        "apps meet a value that they don't know",
        "answer the new value only in a view with since=, or in another field",
    ),
    "enum-shrank": ("apps that send the value are refused (422)", "go on taking it"),
    "limit-loosened": (
        "apps meet values outside the limits that they were promised",
        "keep the limit for answers, or change it only in a view with since=",
    ),
    "limit-tightened": ("apps that send such a value are refused (422)", "go on taking it"),
    "fields-refused": ("apps that send other fields are refused (422)", "go on ignoring them"),
    "security-added": (
        "apps that send no such token are refused (401, 403)",
        "let apps update first, or require it on a new path",
    ),
    "security-removed": ("apps that rely on this way to sign in are refused (401)", "keep it beside the others"),
    "step-required": (
        "apps that come here first are refused (409)",
        "let apps update first: Journey.step(…) without required=",
    ),
}  # fmt: skip
"""By rule: why an app version in use breaks, and what to do instead."""


@dataclass(frozen=True, slots=True)
class Change:
    """One difference. `where` is an input or the answer, `field` the place in it: `details.genres[]`."""

    breaking: bool
    rule: str
    path: str
    method: str = ""
    where: str = ""
    field: str = ""
    clients: tuple[str, ...] = ()
    before: str = ""
    after: str = ""

    @property
    def why(self) -> str:
        return RULES[self.rule][0] if self.breaking or self.rule in _SAID else ""

    @property
    def next(self) -> str:
        return RULES[self.rule][1] if self.breaking else ""

    def data(self) -> dict[str, object]:
        """The change as JSON."""
        return {
            "breaking": self.breaking,
            "rule": self.rule,
            "path": self.path,
            "method": self.method,
            "where": self.where,
            "field": self.field,
            "clients": list(self.clients),
            "before": self.before,
            "after": self.after,
            "why": self.why,
            "next": self.next,
        }


_SAID = frozenset({"view-added", "status-added", "field-added", "default-changed"})
"""Rules whose reason is worth saying for a compatible change too."""


def shown(changes: Iterable[Change]) -> str:
    """The changes for a reader: what breaks first, each with why and what next; then what is compatible."""
    listed = sorted(changes, key=lambda each: (not each.breaking, each.path, each.method))
    out = []
    for each in listed:
        said = "breaks    " if each.breaking else "compatible"
        named = f"{each.method} {each.path}".strip()
        place = " ".join(filter(None, (each.where, each.field)))
        clients = f" ({', '.join(each.clients)})" if each.clients else ""
        out.append(f"{said}  {named}{': ' if place else ''}{place}{clients}  {each.rule}")
        if each.before or each.after:
            out.append(f"              before: {_short(each.before)}   now: {_short(each.after)}")
        if each.why:
            out.append(f"              {each.why}{f'; {each.next}' if each.next else ''}")
    broken = sum(each.breaking for each in listed)
    out.append(f"{broken} breaking, {len(listed) - broken} compatible")
    return "\n".join(out)


def _short(text: str) -> str:
    return textwrap.shorten(text, 160, placeholder=" …") if text else "nothing"
