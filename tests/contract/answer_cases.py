# ruff: noqa: E501  a table reads best with a line for each
"""Answers of services that are unusual or forbidden, byte by byte. Each names the RFC and the sentence in short."""

from __future__ import annotations

from typing import NamedTuple


class Told(NamedTuple):
    """What a service says, and what its client has to get."""

    section: str
    says: str
    sent: bytes
    status: int = 0
    """What the client gets; 0: an error of 500 or more, or an answer that isn't whole."""
    body: bytes | None = None
    """What the client gets with `status`; None: whatever it is."""
    refused: bool = False
    """Whether an error of 500 or more will do as well: it is malformed, or nobody asked for it."""
    method: str = "GET"
    close: bool = False
    """Whether the service closes the connection after it."""
    header: tuple[str, str | None] | None = None
    """A field, and the value that the client gets; None: it is absent."""


_OK = b"HTTP/1.1 200 OK\r\n"
_END = b"\r\n\r\n"
_EVIL = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
_CHUNKED = _OK + b"Transfer-Encoding: chunked" + _END

TOLD: dict[str, Told] = {
    # Framing (RFC 9112, 6.3)
    "204-body": Told("9112 6.3", "a 204 ends with its fields, whatever follows", b"HTTP/1.1 204 No Content\r\n\r\nevil", 204, b"", True),
    "204-length": Told("9110 8.6", "no Content-Length with 204", b"HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\nevil", 204, b"", True, header=("content-length", None)),
    "204-zero": Told("9110 8.6", "no Content-Length with 204", b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", 204, b"", header=("content-length", None)),
    "204-chunked": Told("9112 6.1", "no Transfer-Encoding with 204", b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n", 204, b"", True, header=("transfer-encoding", None)),
    "205-length": Told("9110 15.3.6", "a 205 without a body", b"HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n", 205, b""),
    "304-body": Told("9112 6.3", "a 304 ends with its fields, whatever follows", b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\n\r\nevil', 304, b"", True),
    "304-length": Told("9110 8.6", "a length with 304 is the 200's", b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\nContent-Length: 4\r\n\r\n', 304, b"", True),
    "304-chunked": Told("9112 6.1", "Transfer-Encoding with 304 has no chunks", b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\nTransfer-Encoding: chunked\r\n\r\n', 304, b"", True),
    "head-body": Told("9112 6.3", "an answer to HEAD ends with its fields, whatever follows", _OK + b"Content-Length: 4" + _END + b"evil", 200, b"", True, method="HEAD"),
    "head-length": Told("9110 8.6", "the length that GET's answer would have", _OK + b"Content-Length: 4711" + _END, 200, b"", method="HEAD", header=("content-length", "4711")),
    "head-chunked": Told("9112 6.1", "Transfer-Encoding to HEAD has no chunks", _OK + b"Transfer-Encoding: chunked" + _END, 200, b"", method="HEAD"),
    "length-and-chunked": Told("9112 6.3", "chunks count, not the length", _OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked" + _END + b"4\r\ngood\r\n0\r\n\r\n", 200, b"good", True),
    "lengths-differ": Told("9112 6.3", "two lengths that differ: 502", _OK + b"Content-Length: 2\r\nContent-Length: 6" + _END + b"abcdef"),
    "lengths-list": Told("9112 6.3", "a list of lengths that differ: 502", _OK + b"Content-Length: 2, 6" + _END + b"abcdef"),
    "lengths-equal": Told("9110 8.6", "two equal lengths are one", _OK + b"Content-Length: 4\r\nContent-Length: 4" + _END + b"good", 200, b"good", True, header=("content-length", "4")),
    "length-words": Told("9112 6.3", "a length that is no number: 502", _OK + b"Content-Length: 4x" + _END + b"good"),
    "length-sign": Told("9112 6.3", "a length with a sign: 502", _OK + b"Content-Length: +4" + _END + b"good"),
    "length-huge": Told("9112 6.3", "a length that overflows: 502", _OK + b"Content-Length: 18446744073709551620" + _END + b"good", close=True),
    "cut-length": Told("9112 8", "less than the length isn't whole", _OK + b"Content-Length: 10" + _END + b"good", close=True),
    "cut-chunk": Told("9112 8", "chunks without their end aren't whole", _CHUNKED + b"4\r\ngood\r\n", close=True),
    "cut-in-chunk": Told("9112 8", "a chunk that breaks off isn't whole", _CHUNKED + b"9\r\ngood", close=True),
    "chunk-words": Told("9112 7.1", "a chunk size that is no number", _CHUNKED + b"xyz\r\ngood\r\n0\r\n\r\n", close=True),
    "chunk-0x": Told("9112 7.1", "a chunk size with 0x", _CHUNKED + b"0x4\r\ngood\r\n0\r\n\r\n", close=True),
    "chunk-sign": Told("9112 7.1", "a chunk size with a sign", _CHUNKED + b"-4\r\ngood\r\n0\r\n\r\n", close=True),
    "chunk-huge": Told("9112 7.1", "a chunk size that overflows", _CHUNKED + b"10000000000000004\r\ngood\r\n0\r\n\r\n", close=True),
    "chunk-longer": Told("9112 7.1", "a chunk longer than its size", _CHUNKED + b"2\r\ngood\r\n0\r\n\r\n", close=True),
    "chunk-extension": Told("9112 7.1.1", "unknown chunk extensions are ignored", _CHUNKED + b'4;a="b;c"\r\ngood\r\n0;x\r\n\r\n', 200, b"good", True),
    "coding-unknown": Told("9112 6.1", "a coding that nobody asked for", _OK + b"Transfer-Encoding: cow" + _END + b"good", close=True),
    "coding-after": Told("9112 6.3", "chunked isn't the last coding: nothing says where it ends", _OK + b"Transfer-Encoding: chunked, identity" + _END + b"4\r\ngood\r\n0\r\n\r\n", close=True),
    "http10": Told("9112 6.3", "HTTP/1.0 without a length ends with the connection", b"HTTP/1.0 200 OK\r\n\r\ngood", 200, b"good", close=True),
    "http10-chunked": Told("9112 6.1", "chunked in HTTP/1.0 is faulty: until the connection ends, or refused", b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ngood\r\n0\r\n\r\n" + _EVIL, 200, None, True, close=True),
    "until-close": Told("9112 6.3", "without a length it ends with the connection", _OK + b"\r\ngood", 200, b"good", close=True),
    "empty": Told("9112 6.3", "nothing at all", _OK + b"Content-Length: 0" + _END, 200, b""),
    "more": Told("9112 9.2", "what follows an answer is nobody's", _OK + b"Content-Length: 4" + _END + b"good" + _EVIL, 200, b"good", True),
    "more-chunked": Told("9112 9.2", "what follows the last chunk is nobody's", _CHUNKED + b"4\r\ngood\r\n0\r\n\r\n" + _EVIL, 200, b"good", True),
    # Interim answers (RFC 9110, 15.2)
    "continue-unasked": Told("9110 15.2", "100 comes before the answer, which alone counts", b"HTTP/1.1 100 Continue\r\n\r\n" + _OK + b"Content-Length: 4" + _END + b"good", 200, b"good"),
    "interim-unknown": Told("9110 15.2", "an unknown interim answer is parsed and passed on or dropped", b"HTTP/1.1 199 Odd\r\nX-A: b\r\n\r\n" + _OK + b"Content-Length: 4" + _END + b"good", 200, b"good"),
    "interim-many": Told("9110 15.2", "several interim answers", b"HTTP/1.1 102 Processing\r\n\r\n" * 3 + _OK + b"Content-Length: 4" + _END + b"good", 200, b"good"),
    "interim-length": Told("9112 6.3", "an interim answer has no body, whatever it says", b"HTTP/1.1 103 Early Hints\r\nContent-Length: 0\r\n\r\n" + _OK + b"Content-Length: 4" + _END + b"good", 200, b"good", True),
    "switch-unasked": Told("9110 7.8", "101 to who asked for no other protocol", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: evil\r\nConnection: upgrade\r\n\r\nevil"),
    # The status line (RFC 9112, 4)
    "status-unknown": Told("9110 15", "an unknown status is passed on", b"HTTP/1.1 299 Odd\r\nContent-Length: 4\r\n\r\ngood", 299, b"good"),
    "status-unknown-4": Told("9110 15", "an unknown status is passed on", b"HTTP/1.1 460 Odd\r\nContent-Length: 4\r\n\r\ngood", 460, b"good"),
    "status-unknown-5": Told("9110 15", "an unknown status is passed on", b"HTTP/1.1 599 Odd\r\nContent-Length: 4\r\n\r\ngood", 599, b"good"),
    "status-418": Told("9110 15.5.19", "418 is passed on", b"HTTP/1.1 418 \r\nContent-Length: 4\r\n\r\ngood", 418, b"good"),
    "status-no-reason": Told("9112 4", "no reason phrase", b"HTTP/1.1 200 \r\nContent-Length: 4\r\n\r\ngood", 200, b"good"),
    "status-no-space": Told("9112 4", "no space after the status", b"HTTP/1.1 200\r\nContent-Length: 4\r\n\r\ngood", 200, b"good", True),
    "status-words": Told("9112 4", "a status that is no number", b"HTTP/1.1 abc OK\r\nContent-Length: 4\r\n\r\ngood", close=True),
    "status-short": Told("9112 4", "a status of two digits", b"HTTP/1.1 20 OK\r\nContent-Length: 4\r\n\r\ngood", close=True),
    "status-long": Told("9112 4", "a status of four digits", b"HTTP/1.1 2000 OK\r\nContent-Length: 4\r\n\r\ngood", close=True),
    "not-http": Told("9112 4", "another protocol", b"SSH-2.0-OpenSSH_9.6\r\n", close=True),
    "nothing": Told("9110 15.6.3", "closed without an answer", b"", close=True),
    "fields-cut": Told("9112 8", "fields that break off", b"HTTP/1.1 200 OK\r\nContent-Le", close=True),
    # Fields (RFC 9112, 5)
    "space-before-colon": Told("9112 5.1", "a space before the colon is taken out", _OK + b"X-A : b\r\nContent-Length: 4" + _END + b"good", 200, b"good", True),
    "fold": Told("9112 5.2", "a folded field is refused or made one line", _OK + b"X-A: b\r\n c\r\nContent-Length: 4" + _END + b"good", 200, b"good", True, header=("x-a", "b c")),
    "cr-in-value": Told("9110 5.5", "CR in a value is refused or replaced", _OK + b"X-A: b\rX-Evil: 1\r\nContent-Length: 4" + _END + b"good", 200, b"good", True, header=("x-evil", None)),
    "nul-in-value": Told("9110 5.5", "NUL in a value is refused or replaced", _OK + b"X-A: b\0c\r\nContent-Length: 4" + _END + b"good", 200, b"good", True),
    "lf-only": Told("9112 2.2", "line feeds alone end lines, or it is refused", b"HTTP/1.1 200 OK\nContent-Length: 4\n\ngood", 200, b"good", True),
    "no-colon": Told("9112 5", "a line without a colon", _OK + b"nonsense\r\nContent-Length: 4" + _END + b"good", 200, b"good", True),
    "empty-name": Told("9112 5", "a field without a name", _OK + b": b\r\nContent-Length: 4" + _END + b"good", 200, b"good", True),
    "utf-8": Told("9110 5.5", "bytes above 127 are passed on", _OK + b"X-A: f\xc3\xbcr\r\nContent-Length: 4" + _END + b"good", 200, b"good", header=("x-a", "f\xc3\xbcr")),
    "empty-value": Told("9110 5.5", "an empty value is passed on", _OK + b"X-A:\r\nContent-Length: 4" + _END + b"good", 200, b"good", header=("x-a", "")),
    "cookies": Told("9110 5.3", "Set-Cookie stays on lines of its own", _OK + b"Set-Cookie: a=1; Expires=Wed, 09 Jun 2100 10:18:14 GMT\r\nSet-Cookie: b=2\r\nCache-Control: no-store\r\nContent-Length: 4" + _END + b"good", 200, b"good", header=("set-cookie", "a=1; Expires=Wed, 09 Jun 2100 10:18:14 GMT, b=2")),
    # What only ends meet (RFC 9110, 10, 11 and 15)
    "allow": Told("9110 15.5.6", "405 says with Allow what is allowed", b"HTTP/1.1 405 Not Allowed\r\nAllow: GET, HEAD, QUERY\r\nContent-Length: 4\r\n\r\ngood", 405, b"good", header=("allow", "GET, HEAD, QUERY")),
    "retry-after": Told("9110 10.2.3", "503 says with Retry-After when", b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\ngood", 503, b"good", header=("retry-after", "7")),
    "retry-after-date": Told("9110 10.2.3", "Retry-After may be a date", b"HTTP/1.1 429 Busy\r\nRetry-After: Fri, 31 Dec 2100 23:59:59 GMT\r\nContent-Length: 4\r\n\r\ngood", 429, b"good", header=("retry-after", "Fri, 31 Dec 2100 23:59:59 GMT")),
    "www-authenticate": Told("9110 11.6.1", "401 carries its challenges as they are", b'HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm="a, b", Digest nonce="x"\r\nContent-Length: 4\r\n\r\ngood', 401, b"good", header=("www-authenticate", 'Basic realm="a, b", Digest nonce="x"')),
    "upgrade-required": Told("9110 15.5.22", "426 names a protocol", b"HTTP/1.1 426 Upgrade\r\nUpgrade: foo/2\r\nConnection: upgrade\r\nContent-Length: 4\r\n\r\ngood", 426, b"good"),
    "partial": Told("9110 15.3.7", "a 206 that nobody here cut is passed on", b"HTTP/1.1 206 Part\r\nContent-Range: bytes 0-3/10\r\nContent-Length: 4\r\n\r\ngood", 206, b"good", True, header=("content-range", "bytes 0-3/10")),
    "unsatisfiable": Told("9110 15.5.17", "a 416 says how long the whole is, once", b"HTTP/1.1 416 Range\r\nContent-Range: bytes */10\r\nContent-Length: 4\r\n\r\ngood", 416, b"good", True, header=("content-range", "bytes */10")),
    "multiple-choices": Told("9110 15.4.1", "300 isn't followed by anybody here", b"HTTP/1.1 300 Many\r\nLocation: /other\r\nContent-Length: 4\r\n\r\ngood", 300, b"good"),
    "server": Told("9110 10.2.4", "Server is said once", _OK + b"Server: own/1\r\nContent-Length: 4" + _END + b"good", 200, b"good"),
    "date": Told("9110 6.6.1", "a Date is passed on as it is", _OK + b"Date: Tue, 15 Nov 1994 08:12:31 GMT\r\nCache-Control: no-store\r\nContent-Length: 4" + _END + b"good", 200, b"good", header=("date", "Tue, 15 Nov 1994 08:12:31 GMT")),
}  # fmt: skip
