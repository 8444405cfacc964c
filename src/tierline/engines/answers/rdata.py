"""Record data from presentation form to wire form, by type.

The data of a record is `(prefix, names, suffix)`: the names in the middle may be compressed (only in the
types of RFC 1035; RFC 3597, section 4), the rest is sent as it is.
"""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Callable

from tierline.engines.answers.names import NameError_, to_wire

A, NS, CNAME, SOA, HINFO, MX, TXT, AAAA, SRV, OPT, HTTPS, IXFR, AXFR, ANY, CAA = (
    *(1, 2, 5, 6, 13, 15, 16, 28, 33, 41, 65, 251, 252, 255, 257),
)
ALIAS = 65401
"""Private use (RFC 6895, section 3.1): in the data only, never on the wire."""

TYPES = {
    "A": A,
    "AAAA": AAAA,
    "ALIAS": ALIAS,
    "CAA": CAA,
    "CNAME": CNAME,
    "HTTPS": HTTPS,
    "MX": MX,
    "NS": NS,
    "SRV": SRV,
    "TXT": TXT,
}
"""What a record may be. SOA is a field of the zone."""

NAMES = {number: name for name, number in TYPES.items()} | {
    SOA: "SOA",
    HINFO: "HINFO",
    IXFR: "IXFR",
    AXFR: "AXFR",
    ANY: "ANY",
}

Rdata = tuple[bytes, tuple[bytes, ...], bytes]

_token = re.compile(r'((?:[^\s"]|\\.)*)"((?:[^"\\]|\\.)*)"|(\S+)', re.DOTALL)
_escape = re.compile(r"\\(\d{3}|.)", re.DOTALL)
_SVC = {"mandatory": 0, "alpn": 1, "no-default-alpn": 2, "port": 3, "ipv4hint": 4, "ipv6hint": 6}
_TXT = 255


class RdataError(ValueError):
    """A value that is not of its type's form."""


def _unescape(text: str) -> bytes:
    def one(found: re.Match[str]) -> str:
        return chr(int(found[1])) if found[1].isdigit() else found[1]

    plain = _escape.sub(one, text)
    try:
        return plain.encode("latin-1") if "\\" in text else plain.encode()
    except UnicodeEncodeError:
        return plain.encode()


def tokens(text: str) -> list[str]:
    """Words of a presentation form; double quotes keep spaces and are removed (RFC 1035, section 5.1)."""
    return [m[3] if m[3] is not None else m[1] + m[2] for m in _token.finditer(text)]


def _number(text: str, bits: int) -> int:
    if not text.isdigit() or int(text) >= 1 << bits:
        raise RdataError(f"{text!r} is not a number below {1 << bits}")
    return int(text)


def _address(family: int, text: str) -> bytes:
    try:
        return socket.inet_pton(family, text)
    except OSError:
        raise RdataError(
            f"{text!r} is not an {'IPv4' if family == socket.AF_INET else 'IPv6'} address"
        ) from None


def _words(text: str, form: str) -> list[str]:
    words = tokens(text)
    if len(words) != len(form.split()):
        raise RdataError(f"{text!r} should be {form!r}")
    return words


def _a(text: str, _origin: bytes) -> Rdata:
    return _address(socket.AF_INET, text), (), b""


def _aaaa(text: str, _origin: bytes) -> Rdata:
    return _address(socket.AF_INET6, text), (), b""


def _name(text: str, origin: bytes) -> Rdata:
    return b"", (to_wire(_words(text, "name")[0], origin),), b""


def _mx(text: str, origin: bytes) -> Rdata:
    preference, name = _words(text, "preference name")
    return struct.pack("!H", _number(preference, 16)), (to_wire(name, origin),), b""


def _srv(text: str, origin: bytes) -> Rdata:
    *numbers, name = _words(text, "priority weight port name")
    return struct.pack("!3H", *(_number(n, 16) for n in numbers)) + to_wire(name, origin), (), b""


def _strings(data: bytes) -> bytes:
    pieces = [data[at : at + _TXT] for at in range(0, len(data), _TXT)] or [b""]
    return b"".join(bytes((len(piece),)) + piece for piece in pieces)


def _txt(text: str, _origin: bytes) -> Rdata:
    """Quoted: as in a zone file, one string per quoted word. Unquoted: the whole value is one text."""
    words = tokens(text) if text.startswith('"') else [text]
    return b"".join(_strings(_unescape(word)) for word in words), (), b""


def _caa(text: str, _origin: bytes) -> Rdata:
    """RFC 8659, section 4.1."""
    flags, tag, value = _words(text, "flags tag value")
    if not tag.isalnum():
        raise RdataError(f"{tag!r} is not a CAA tag")
    return bytes((_number(flags, 8), len(tag))) + tag.lower().encode() + _unescape(value), (), b""


def _svc_value(key: int, value: str) -> bytes:
    """RFC 9460, section 7."""
    if key == 0:
        return b"".join(struct.pack("!H", number) for number in sorted(_svc_key(v) for v in value.split(",")))
    if key == 1:
        return b"".join(bytes((len(alpn),)) + alpn.encode() for alpn in value.split(","))
    if key == 2:
        if value:
            raise RdataError("no-default-alpn takes no value")
        return b""
    if key == 3:
        return struct.pack("!H", _number(value, 16))
    if key in (4, 6):
        family = socket.AF_INET if key == 4 else socket.AF_INET6
        return b"".join(_address(family, address) for address in value.split(","))
    return _unescape(value)


def _svc_key(name: str) -> int:
    if name in _SVC:
        return _SVC[name]
    if name.startswith("key"):
        return _number(name[3:], 16)
    raise RdataError(
        f"{name!r} is not a parameter of HTTPS; there are {', '.join(sorted(_SVC))} and keyNNNNN"
    )


def _https(text: str, origin: bytes) -> Rdata:
    """RFC 9460, section 2: `priority target key=value …`; keys in ascending order on the wire."""
    words = tokens(text)
    if len(words) < 2:
        raise RdataError(f"{text!r} should be 'priority target key=value …'")
    priority = _number(words[0], 16)
    params: dict[int, bytes] = {}
    for word in words[2:]:
        name, _, value = word.partition("=")
        key = _svc_key(name)
        if key in params:
            raise RdataError(f"{name!r} is given twice")
        params[key] = _svc_value(key, value)
    if not priority and params:
        raise RdataError("priority 0 is an alias and takes no parameters")
    if 2 in params and 1 not in params:
        raise RdataError("no-default-alpn needs alpn")
    wire = struct.pack("!H", priority) + to_wire(words[1], origin)
    return wire + b"".join(struct.pack("!2H", k, len(v)) + v for k, v in sorted(params.items())), (), b""


_FORMS: dict[int, Callable[[str, bytes], Rdata]] = {
    A: _a,
    AAAA: _aaaa,
    ALIAS: _name,
    CAA: _caa,
    CNAME: _name,
    HTTPS: _https,
    MX: _mx,
    NS: _name,
    SRV: _srv,
    TXT: _txt,
}


def encode(kind: int, text: str, origin: bytes) -> Rdata:
    """One value of type `kind`, names relative to `origin` (wire form). Raises RdataError."""
    try:
        data = _FORMS[kind](text, origin)
    except NameError_ as error:
        raise RdataError(str(error)) from None
    if sum(map(len, (data[0], *data[1], data[2]))) > 65_000:
        raise RdataError("longer than a DNS message can carry")
    return data


def soa(primary: bytes, contact: bytes, numbers: tuple[int, int, int, int, int]) -> Rdata:
    """RFC 1035, section 3.3.13: serial, refresh, retry, expire, minimum."""
    return b"", (primary, contact), struct.pack("!5I", *numbers)
