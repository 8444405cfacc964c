"""From records to the bytes of a message (RFC 1035, section 4.1; RFC 6891 for EDNS)."""

from __future__ import annotations

from struct import pack

from tierline.engines.answers.query import RCODES, Query
from tierline.engines.answers.rdata import OPT
from tierline.engines.answers.resolve import Outcome, Record

_QR_AA = 0x84
_QR = 0x80
_TC = 0x02
_KEPT = 0x79
"""Opcode and RD are copied from the query."""
_CD = 0x10
_BADVERS = 16


class Tally:
    """What one kind of answer counts as."""

    __slots__ = ("count", "places", "rcode")

    def __init__(self, rcode: str, places: tuple[str, ...]) -> None:
        self.rcode = rcode
        self.places = places
        self.count = 0


class Writer:
    """Records after a question, with names compressed against all that came before."""

    def __init__(self, question: bytes) -> None:
        self.body = bytearray()
        self._base = 12 + len(question)
        self._at: dict[bytes, int] = {}
        self._mark(question[:-4], 12)

    def _mark(self, name: bytes, at: int) -> None:
        """Remembers where a name and its parents stand; `name` is in lower case."""
        while name[0] and at < 0x4000:
            if name in self._at:
                return
            self._at[name] = at
            at += 1 + name[0]
            name = name[1 + name[0] :]

    def _name(self, name: bytes) -> None:
        start = self._base + len(self.body)
        rest = name
        while rest[0]:
            at = self._at.get(rest)
            if at is not None:
                self.body += pack("!H", 0xC000 | at)
                break
            self.body += rest[: 1 + rest[0]]
            rest = rest[1 + rest[0] :]
        else:
            self.body.append(0)
        self._mark(name, start)

    def add(self, records: list[Record]) -> None:
        body = self.body
        for owner, kind, ttl, (prefix, names, suffix) in records:
            self._name(owner)
            body += pack("!HHIH", kind, 1, ttl, 0)
            start = len(body)
            body += prefix
            for name in names:
                self._name(name)
            body += suffix
            body[start - 2 : start] = pack("!H", len(body) - start)


class Template:
    """A whole answer without what differs from query to query: id, flags, case of the question, OPT."""

    __slots__ = ("_core", "_counts", "_flags", "_full", "_rcode", "choice", "random", "tailored", "tally")

    def __init__(self, question: bytes, outcome: Outcome) -> None:
        writer = Writer(question.lower())
        writer.add(outcome.answer)
        writer.add(outcome.authority)
        self._core = bytes(writer.body)
        writer.add(outcome.additional)
        self._full = bytes(writer.body)
        self._counts = len(outcome.answer), len(outcome.authority), len(outcome.additional)
        self._flags = _QR_AA if outcome.authoritative else _QR
        self._rcode = outcome.rcode
        self.choice = outcome.choice
        self.tailored = outcome.tailored
        self.random = outcome.choice is not None and outcome.choice.random
        places = tuple(outcome.choice.places) if outcome.choice is not None else ()
        self.tally = Tally(RCODES[outcome.rcode], places)

    def fill(self, query: Query, limit: int, opt: bytes) -> bytes:
        """The message for one query, in at most `limit` bytes; the additional section goes first."""
        room = limit - 12 - len(query.question) - len(opt)
        answers, authorities, additionals = self._counts
        body, flags = self._full, self._flags
        if len(body) > room:
            body, additionals = self._core, 0
            if len(body) > room:
                body, flags = b"", flags | _TC
                answers = authorities = 0
        two, three = query.data[2], query.data[3]
        return b"%b%c%c%b%b%b%b" % (
            query.data[:2],
            flags | two & _KEPT,
            three & _CD | self._rcode,
            pack("!4H", 1, answers, authorities, additionals + bool(opt)),
            query.question,
            body,
            opt,
        )


def opt(query: Query, size: int, scope: int, extended: int = 0) -> bytes:
    """The OPT record for a query with EDNS, its client subnet echoed with our scope; else nothing."""
    if not query.edns:
        return b""
    subnet = query.subnet
    options = b""
    if subnet is not None:
        raw = subnet.raw
        options = pack("!HH", 8, len(raw)) + raw[:3] + bytes((scope,)) + raw[4:]
    return pack("!BHHBBHH", 0, OPT, size, extended, 0, 0x8000 if query.do else 0, len(options)) + options


def error(query: Query, rcode: int, size: int) -> bytes:
    """A message that says only what is wrong; the question is echoed as far as it could be read."""
    tail = opt(query, size, 0, rcode >> 4)
    return b"%b%c%c%b%b%b" % (
        query.data[:2],
        _QR | query.data[2] & _KEPT,
        query.data[3] & _CD | rcode & 15,
        pack("!4H", bool(query.question), 0, 0, bool(tail)),
        query.question,
        tail,
    )


def refused_by_rate(data: bytes) -> bytes:
    """An empty truncated answer of the query's own size at most: come back over TCP."""
    at = 12
    while at < len(data) and data[at]:
        at += 1 + data[at]
    end = at + 5 if at + 5 <= len(data) else 12
    counts = pack("!4H", end > 12, 0, 0, 0)
    return b"%b%c%c%b%b" % (data[:2], _QR | _TC | data[2] & _KEPT, data[3] & _CD, counts, data[12:end])
