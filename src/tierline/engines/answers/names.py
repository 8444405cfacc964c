"""Domain names between text and wire form (RFC 1035, sections 3.1 and 5.1)."""

from __future__ import annotations

_LABEL = 63
_NAME = 255


class NameError_(ValueError):
    """A text that is no domain name."""


def _labels(text: str) -> list[bytes]:
    """The labels of a name without its trailing dot; `\\.` and `\\DDD` escapes are resolved."""
    if text.isascii() and "\\" not in text:
        return [label.encode() for label in text.split(".")]
    labels: list[bytes] = []
    label = bytearray()
    unicode = ""
    at = 0
    while at <= len(text):
        char = text[at] if at < len(text) else "."
        if char == "." or at == len(text):
            labels.append(unicode.encode("idna") if not unicode.isascii() else bytes(label))
            label, unicode = bytearray(), ""
        else:
            if char == "\\":
                digits = text[at + 1 : at + 4]
                if len(digits) == 3 and digits.isdigit() and int(digits) < 256:
                    char, at = chr(int(digits)), at + 3
                elif at + 1 < len(text):
                    char, at = text[at + 1], at + 1
                label += char.encode("latin-1")
            else:
                unicode += char
                label += char.encode()
        at += 1
    return labels


def to_wire(text: str, origin: bytes = b"\x00") -> bytes:
    """A name in wire form, lower case, complete with the root label.

    As in a zone file: a trailing dot makes it absolute, `@` is the origin, anything else is relative to the
    origin; but a name that already ends with the origin is taken as it stands. Labels outside ASCII become
    IDNA. Raises NameError_ for an empty or too long label or name.
    """
    if text == "@":
        return origin
    if text in (".", ""):
        return b"\x00"
    absolute = text.endswith(".") and not text.endswith("\\.")
    wire = bytearray()
    for label in _labels(text[:-1] if absolute else text):
        if not label:
            raise NameError_(f"{text!r} has an empty label")
        if len(label) > _LABEL:
            raise NameError_(f"{text!r} has a label of {len(label)} bytes; at most {_LABEL}")
        wire.append(len(label))
        wire += label.lower()
    whole = bytes(wire) + b"\x00"
    if not absolute and not ends_with(whole, origin):
        whole = bytes(wire) + origin
    if len(whole) > _NAME:
        raise NameError_(f"{text!r} is {len(whole)} bytes long; at most {_NAME}")
    return whole


def to_text(wire: bytes) -> str:
    """A wire-form name as text with the trailing dot; odd bytes as `\\DDD`."""
    text = ""
    at = 0
    while wire[at]:
        for byte in wire[at + 1 : at + 1 + wire[at]]:
            char = chr(byte)
            text += "\\" + char if char in '.\\"' else char if 32 < byte < 127 else f"\\{byte:03d}"
        text += "."
        at += 1 + wire[at]
    return text or "."


def parent(wire: bytes) -> bytes:
    """The name without its first label. The root has no parent: do not ask."""
    return wire[1 + wire[0] :]


def suffixes(wire: bytes) -> list[bytes]:
    """The name and all its parents down to the root, longest first."""
    found = [wire]
    while wire[0]:
        wire = wire[1 + wire[0] :]
        found.append(wire)
    return found


def ends_with(wire: bytes, origin: bytes) -> bool:
    """Whether the name is the origin or below it, on label boundaries."""
    return wire.endswith(origin) and origin in suffixes(wire)
