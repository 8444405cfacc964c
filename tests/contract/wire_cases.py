# ruff: noqa: E501  a table reads best with a line for each
"""Requests that HTTP forbids, as a client writes them. Each names the RFC, the sentence in short, and the bytes."""

from __future__ import annotations

from typing import NamedTuple


class Refused(NamedTuple):
    """A malformed HTTP/1.1 request: an error or a closed connection, and the service never sees it."""

    section: str
    says: str
    sent: bytes
    """`{p}` is replaced by the case's own path."""
    clean: bool = False
    """Whether the RFC lets it through once what is malformed is taken out or replaced by a space."""


_H = b"Host: localhost\r\n"
_GET = b"GET {p} HTTP/1.1\r\n" + _H
_POST = b"POST {p} HTTP/1.1\r\n" + _H
_END = b"\r\n\r\n"
_NEXT = b"GET {p}/smuggled HTTP/1.1\r\n" + _H + b"\r\n"

REFUSED: dict[str, Refused] = {
    "cr-in-value": Refused("9110 5.5", "CR in a field value", _GET + b"X-A: b\rX-Tierline-Claims: {}" + _END, True),
    "cr-end-of-value": Refused("9110 5.5", "CR before the line's end", _GET + b"X-A: b\r" + _END, True),
    "cr-in-name": Refused("9112 5", "CR in a field name", _GET + b"X\rA: b" + _END),
    "cr-before-name": Refused("9112 2.2", "CR before a field name", _GET + b"\rX-A: b" + _END, True),
    "nul-in-value": Refused("9110 5.5", "NUL in a field value", _GET + b"X-A: b\0c" + _END, True),
    "nul-in-name": Refused("9112 5", "NUL in a field name", _GET + b"X\0A: b" + _END),
    "control-in-name": Refused("9110 5.1", "a control character in a name", _GET + b"X\x01A: b" + _END),
    "space-in-name": Refused("9112 5.1", "a space in a name", _GET + b"X A: b" + _END),
    "space-before-colon": Refused("9112 5.1", "a space before the colon", _GET + b"X-A : b" + _END),
    "empty-name": Refused("9112 5", "a field without a name", _GET + b": b" + _END, True),
    "no-colon": Refused("9112 5", "a line without a colon", _GET + b"nonsense" + _END, True),
    "first-line-folded": Refused("9112 2.2", "a fold after the request line", _GET.replace(_H, b" X: y\r\n" + _H) + b"\r\n", True),
    "cr-in-target": Refused("9112 3.2", "CR in the target", b"GET {p}\rx HTTP/1.1\r\n" + _H + b"\r\n"),
    "nul-in-target": Refused("9112 3.2", "NUL in the target", b"GET {p}\0 HTTP/1.1\r\n" + _H + b"\r\n"),
    "control-in-target": Refused("9112 3.2", "a control character in the target", b"GET {p}\x01 HTTP/1.1\r\n" + _H + b"\r\n"),
    "space-in-target": Refused("9112 3.2", "a space in the target", b"GET {p} x HTTP/1.1\r\n" + _H + b"\r\n"),
    "cr-in-host": Refused("9110 7.2", "CR in Host", b"GET {p} HTTP/1.1\r\nHost: a\rb" + _END, True),
    "nul-in-host": Refused("9110 7.2", "NUL in Host", b"GET {p} HTTP/1.1\r\nHost: a\0b" + _END),
    "space-in-host": Refused("9110 7.2", "a space in Host", b"GET {p} HTTP/1.1\r\nHost: a b" + _END),
    "no-host": Refused("9112 3.2", "no Host", b"GET {p} HTTP/1.1\r\n\r\n"),
    "two-hosts": Refused("9112 3.2", "two Hosts", _GET + b"Host: other" + _END),
    "two-equal-hosts": Refused("9112 3.2", "Host twice", _GET + _H + b"\r\n"),
    "version": Refused("9110 2.5", "another major version", _GET.replace(b"/1.1", b"/3.1") + b"\r\n"),
    "version-words": Refused("9112 2.3", "a version that is none", _GET.replace(b"/1.1", b"/1.x") + b"\r\n"),
    "method-bad": Refused("9112 3.1", "a method that is no token", _GET.replace(b"GET", b"G@T") + b"\r\n"),
    "length-sign": Refused("9112 6.3", "a length with a sign", _POST + b"Content-Length: +3" + _END + b"abc"),
    "length-negative": Refused("9112 6.3", "a negative length", _POST + b"Content-Length: -3" + _END + b"abc"),
    "length-hex": Refused("9112 6.3", "a length in hexadecimal", _POST + b"Content-Length: 0x3" + _END + b"abc"),
    "length-empty": Refused("9112 6.3", "an empty length", _POST + b"Content-Length: " + _END + _NEXT),
    "length-space": Refused("9112 6.3", "a length of two words", _POST + b"Content-Length: 3 3" + _END + b"abc"),
    "length-huge": Refused("9112 6.3", "a length that overflows", _POST + b"Content-Length: 18446744073709551619" + _END + b"abc"),
    "lengths-differ": Refused("9112 6.3", "two lengths that differ", _POST + b"Content-Length: 0\r\nContent-Length: 3" + _END + b"abc"),
    "lengths-list-differ": Refused("9112 6.3", "a list of lengths that differ", _POST + b"Content-Length: 0, 3" + _END + b"abc"),
    "te-unknown": Refused("9112 6.1", "an unknown transfer coding", _POST + b"Transfer-Encoding: cow" + _END + b"0\r\n\r\n"),
    "te-not-last": Refused("9112 6.3", "chunked isn't the last coding", _POST + b"Transfer-Encoding: chunked, identity" + _END + b"0\r\n\r\n"),
    "te-twice": Refused("9112 7.1", "chunked twice", _POST + b"Transfer-Encoding: chunked, chunked" + _END + b"0\r\n\r\n"),
    "te-two-lines": Refused("9112 6.3", "chunked in the first of two lines", _POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: cow" + _END + b"0\r\n\r\n"),
    "te-vertical-tab": Refused("9112 6.1", "a vertical tab before chunked", _POST + b"Transfer-Encoding: \x0bchunked" + _END + b"0\r\n\r\n"),
    "te-quoted": Refused("9112 6.1", "chunked in quotes", _POST + b'Transfer-Encoding: "chunked"' + _END + b"0\r\n\r\n"),
    "chunk-size-words": Refused("9112 7.1", "a chunk size that is no number", _POST + b"Transfer-Encoding: chunked" + _END + b"xyz\r\n\r\n"),
    "chunk-size-0x": Refused("9112 7.1", "a chunk size with 0x", _POST + b"Transfer-Encoding: chunked" + _END + b"0x3\r\nabc\r\n0\r\n\r\n"),
    "chunk-size-sign": Refused("9112 7.1", "a chunk size with a sign", _POST + b"Transfer-Encoding: chunked" + _END + b"+3\r\nabc\r\n0\r\n\r\n"),
    "chunk-size-huge": Refused("9112 7.1", "a chunk size that overflows", _POST + b"Transfer-Encoding: chunked" + _END + b"10000000000000003\r\nabc\r\n0\r\n\r\n"),
    "chunk-no-crlf": Refused("9112 7.1", "a chunk longer than its size", _POST + b"Transfer-Encoding: chunked" + _END + b"3\r\nabcdef\r\n0\r\n\r\n"),
    "connect": Refused("9110 9.3.6", "CONNECT to who is no tunnel", b"CONNECT localhost:443 HTTP/1.1\r\nHost: localhost:443\r\nX-Case: {p}" + _END),
    "trace": Refused("9110 9.3.8", "TRACE, which would show what the line adds", _GET.replace(b"GET", b"TRACE") + b"\r\n"),
}  # fmt: skip

FRAMED: dict[str, Refused] = {
    "te-http10": Refused("9112 6.1", "chunked in HTTP/1.0", _POST.replace(b"/1.1", b"/1.0") + b"Connection: keep-alive\r\nTransfer-Encoding: chunked" + _END + b"0\r\n\r\n" + _NEXT),
    "cl-te": Refused("9112 6.1", "Content-Length before chunked", _POST + b"Content-Length: %d\r\nTransfer-Encoding: chunked" % (len(_NEXT) + 5) + _END + b"0\r\n\r\n" + _NEXT),
    "te-cl": Refused("9112 6.1", "chunked before Content-Length", _POST + b"Transfer-Encoding: chunked\r\nContent-Length: 3" + _END + b"0\r\n\r\n" + _NEXT),
    "te-case-cl": Refused("9112 6.1", "Chunked in capitals beside a length", _POST + b"Content-Length: 5\r\ntRANSFER-eNCODING: CHUNKED" + _END + b"0\r\n\r\n" + _NEXT),
    "te-fold-cl": Refused("9112 5.2", "a folded coding beside a length", _POST + b"Content-Length: 5\r\nTransfer-Encoding:\r\n chunked" + _END + b"0\r\n\r\n" + _NEXT),
}  # fmt: skip
"""Refused, or answered and then closed: nothing that follows on the connection is taken for a request."""


Fields = list[tuple[str, str]]


class Malformed(NamedTuple):
    """A malformed HTTP/2 request: a stream or connection error or a 4xx, and the service never sees it."""

    section: str
    says: str
    fields: Fields
    """After the pseudo-fields, unless it begins with one."""
    data: bytes | None = None
    trailers: Fields | None = None
    clean: bool = False
    """Whether it may go on with what is malformed taken out."""


PSEUDO: Fields = [(":method", "GET"), (":scheme", "https"), (":path", "{p}"), (":authority", "localhost")]


def _but(**changed: str | None) -> Fields:
    """The pseudo-fields, some of them others or absent."""
    made = [(name, changed.get(name[1:], value)) for name, value in PSEUDO]
    return [(name, value) for name, value in made if value is not None]


_SENDS = _but(method="POST")

MALFORMED: dict[str, Malformed] = {
    "h2-length-long": Malformed("9113 8.1.1", "less data than content-length", [*_SENDS, ("content-length", "10")], b"abc"),
    "h2-length-short": Malformed("9113 8.1.1", "more data than content-length", [*_SENDS, ("content-length", "2")], b"abc"),
    "h2-length-no-data": Malformed("9113 8.1.1", "content-length and no data", [*_SENDS, ("content-length", "5")]),
    "h2-lengths-differ": Malformed("9110 8.6", "two lengths that differ", [*_SENDS, ("content-length", "3"), ("content-length", "4")], b"abc"),
    "h2-length-words": Malformed("9110 8.6", "a length that is no number", [*_SENDS, ("content-length", "x")], b"abc"),
    "h2-upper-case": Malformed("9113 8.2.1", "capitals in a name", [("X-Upper", "1")]),
    "h2-name-space": Malformed("9113 8.2.1", "a space in a name", [("x a", "1")]),
    "h2-name-control": Malformed("9113 8.2.1", "a control character in a name", [("x\x01a", "1")]),
    "h2-name-colon": Malformed("9113 8.2.1", "a colon in a name", [("x:a", "1")]),
    "h2-name-cr": Malformed("9113 8.2.1", "CR and LF in a name", [("x-a: 1\r\nx-b", "1")]),
    "h2-name-empty": Malformed("9110 5.1", "an empty name", [("", "1")]),
    "h2-value-cr": Malformed("9113 8.2.1", "CR in a value", [("x-a", "b\rx-tierline-claims: {}")]),
    "h2-value-lf": Malformed("9113 8.2.1", "LF in a value", [("x-a", "b\nx-tierline-claims: {}")]),
    "h2-value-nul": Malformed("9113 8.2.1", "NUL in a value", [("x-a", "b\0c")]),
    "h2-connection": Malformed("9113 8.2.2", "Connection", [("connection", "close")]),
    "h2-keep-alive": Malformed("9113 8.2.2", "Keep-Alive", [("keep-alive", "timeout=5")]),
    "h2-proxy-connection": Malformed("9113 8.2.2", "Proxy-Connection", [("proxy-connection", "close")]),
    "h2-upgrade": Malformed("9113 8.2.2", "Upgrade", [("upgrade", "websocket")]),
    "h2-transfer-encoding": Malformed("9113 8.2.2", "Transfer-Encoding", [*_SENDS, ("transfer-encoding", "chunked")], b"0\r\n\r\n"),
    "h2-te": Malformed("9113 8.2.2", "TE that isn't trailers", [("te", "gzip")]),
    "h2-no-method": Malformed("9113 8.3.1", "no :method", _but(method=None)),
    "h2-no-scheme": Malformed("9113 8.3.1", "no :scheme", _but(scheme=None)),
    "h2-no-path": Malformed("9113 8.3.1", "no :path", [*_but(path=None), ("x-case", "{p}")]),
    "h2-empty-path": Malformed("9113 8.3.1", "an empty :path", [*_but(path=""), ("x-case", "{p}")]),
    "h2-relative-path": Malformed("9113 8.3.1", "a :path that begins with no slash", [*_but(path="x"), ("x-case", "{p}")]),
    "h2-path-space": Malformed("9110 4.2", "a space in :path", _but(path="{p} HTTP/1.1"), clean=True),
    "h2-path-control": Malformed("9110 4.2", "CR and LF in :path", _but(path="{p}\r\nx-b: 1")),
    "h2-method-space": Malformed("9110 9.1", "spaces in :method", _but(method="GET / HTTP/1.1")),
    "h2-method-crlf": Malformed("9110 9.1", "CR and LF in :method", _but(method="GET\r\nX-B: 1")),
    "h2-authority-space": Malformed("9110 7.2", "a space in :authority", _but(authority="local host")),
    "h2-authority-user": Malformed("9113 8.3.1", "a user in :authority", _but(authority="user@localhost")),
    "h2-method-twice": Malformed("9113 8.3", ":method twice", [(":method", "POST"), *PSEUDO]),
    "h2-path-twice": Malformed("9113 8.3", ":path twice", [*PSEUDO, (":path", "{p}/2")]),
    "h2-authority-twice": Malformed("9113 8.3", ":authority twice", [*PSEUDO, (":authority", "other")]),
    "h2-pseudo-late": Malformed("9113 8.3", "a pseudo-field after a field", [*_but(path=None), ("x-a", "1"), (":path", "{p}")]),
    "h2-pseudo-unknown": Malformed("9113 8.3", "an unknown pseudo-field", [*PSEUDO, (":foo", "1")]),
    "h2-pseudo-response": Malformed("9113 8.3", ":status in a request", [*PSEUDO, (":status", "200")]),
    "h2-host-differs": Malformed("9113 8.3.1", "a Host that differs", [("host", "other")], clean=True),
    "h2-trailer-pseudo": Malformed("9113 8.1", "a pseudo-field in trailers", _SENDS, b"abc", [(":path", "/other")]),
    "h2-connect": Malformed("9110 9.3.6", "CONNECT to who is no tunnel", [(":method", "CONNECT"), (":authority", "localhost:443"), ("x-case", "{p}")]),
}  # fmt: skip
