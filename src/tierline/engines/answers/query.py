"""A query, taken apart by hand: this runs for every datagram that the caches do not know."""

from __future__ import annotations

from struct import unpack_from

from tierline.engines.answers.rdata import OPT

NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED, BADVERS = 0, 1, 2, 3, 4, 5, 16

RCODES = {
    NOERROR: "NOERROR",
    FORMERR: "FORMERR",
    SERVFAIL: "SERVFAIL",
    NXDOMAIN: "NXDOMAIN",
    NOTIMP: "NOTIMP",
    REFUSED: "REFUSED",
    BADVERS: "BADVERS",
}

ECS = 8
"""EDNS Client Subnet (RFC 7871, section 6)."""
TRACE = 65001
"""Local use (RFC 6891, section 9): a W3C traceparent of 55 bytes, sent by `tierline trip`."""


class Subnet:
    """The client subnet of a query: what is echoed, and where it is."""

    __slots__ = ("family", "number", "raw", "source")

    def __init__(self, family: int, source: int, number: int, raw: bytes) -> None:
        self.family = family
        """4 or 6; 0 when the client asked for no tailoring."""
        self.source = source
        self.number = number
        self.raw = raw
        """Family, source and scope prefix length and address as they came."""


class Query:
    __slots__ = (
        "data",
        "do",
        "edns",
        "error",
        "kind",
        "klass",
        "name",
        "opcode",
        "question",
        "size",
        "subnet",
        "trace",
    )

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.opcode = data[2] >> 3 & 15
        self.error = NOERROR
        """The rcode that the form of the query alone deserves."""
        self.question = b""
        """As it came, so that the answer keeps its case (draft-vixie-dnsext-dns0x20)."""
        self.name = b"\x00"
        self.kind = 0
        self.klass = 0
        self.edns = False
        self.size = 512
        self.do = False
        self.subnet: Subnet | None = None
        self.trace = ""


def parse(data: bytes) -> Query | None:
    """The query in a message; None for what must never be answered: a response, or less than a header."""
    if len(data) < 12 or data[2] & 0x80:
        return None
    query = Query(data)
    if query.opcode:
        query.error = NOTIMP
        return query
    try:
        _sections(query)
    except (IndexError, ValueError):
        query.error = query.error or FORMERR
    return query


def _sections(query: Query) -> None:
    """Fills in the question and the OPT record. Raises IndexError or ValueError when the form is wrong."""
    data = query.data
    questions, answers, authorities, additionals = unpack_from("!4H", data, 4)
    if questions != 1:
        raise ValueError
    at = 12
    while length := data[at]:
        if length > 63:
            raise ValueError
        at += 1 + length
    at += 5
    if at > len(data) or at - 16 > 255:
        raise ValueError
    query.question = data[12:at]
    query.name = data[12 : at - 4].lower()
    query.kind, query.klass = unpack_from("!2H", data, at - 4)
    for index in range(answers + authorities + additionals):
        start = at
        at = _skip_name(data, at)
        kind, klass, ttl, length = _fixed(data, at)
        at += 10 + length
        if at > len(data):
            raise ValueError
        if kind == OPT and index >= answers + authorities:
            if query.edns or data[start]:
                raise ValueError
            query.edns = True
            query.size = klass
            query.do = bool(ttl & 0x8000)
            if ttl >> 16 & 255:
                query.error = BADVERS
                return
            _options(query, data[at - length : at])
    if at != len(data):
        raise ValueError


def _skip_name(data: bytes, at: int) -> int:
    while length := data[at]:
        if length >= 192:
            return at + 2
        if length > 63:
            raise ValueError
        at += 1 + length
    return at + 1


def _fixed(data: bytes, at: int) -> tuple[int, int, int, int]:
    if at + 10 > len(data):
        raise ValueError
    kind, klass, ttl, length = unpack_from("!HHIH", data, at)
    return kind, klass, ttl, length


def _options(query: Query, data: bytes) -> None:
    at = 0
    while at < len(data):
        if at + 4 > len(data):
            raise ValueError
        code, length = unpack_from("!2H", data, at)
        value = data[at + 4 : at + 4 + length]
        if len(value) != length:
            raise ValueError
        if code == ECS:
            query.subnet = _subnet(value)
        elif code == TRACE and length == 55:
            query.trace = value.decode("ascii", "replace")
        at += 4 + length


def _subnet(value: bytes) -> Subnet:
    """RFC 7871, section 6: exactly the address bytes that the prefix needs, and no bit beyond it."""
    if len(value) < 4:
        raise ValueError
    family, source, scope = unpack_from("!HBB", value, 0)
    bits = {0: 0, 1: 32, 2: 128}.get(family)
    size = len(value) - 4
    if bits is None or source > bits or scope or size != (source + 7) // 8:
        raise ValueError
    number = int.from_bytes(value[4:], "big")
    if number & ((1 << (8 * size - source)) - 1):
        raise ValueError
    number <<= bits - 8 * size
    if family == 2 and source >= 96 and number >> 32 == 0xFFFF:
        return Subnet(4, source - 96, number & 0xFFFFFFFF, value)
    return Subnet({0: 0, 1: 4, 2: 6}[family], source, number, value)
