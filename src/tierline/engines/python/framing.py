"""How long an answer says that it is, is how long it is.

Granian writes the Content-Length that an application gives beside a body in one piece, whatever that has. What is over
or missing would be a part of somebody else's answer on the same connection (RFC 9112, 6.3); of a stream it is cut.
"""

from __future__ import annotations

from typing import Any

_LENGTH, _CODING = b"content-length", b"transfer-encoding"
UNKNOWN = -1


def declared(message: Any, method: str) -> int:
    """The bytes of body that the start of an answer announces; UNKNOWN when that means nothing here. How a message is
    framed is the server's: Transfer-Encoding is taken out, and so is the length of a 204 (RFC 9110, 8.6).

    Raises:
        RuntimeError: The length is no number, or there are two that differ.
    """
    headers = message.get("headers") or ()
    if not isinstance(headers, (list, tuple)):
        headers = message["headers"] = list(headers)
    found, out = UNKNOWN, False
    for name, value in headers:
        size = len(name)
        if size == 14 and name.lower() == _LENGTH:
            if not value.isdigit() or found not in (UNKNOWN, int(value)):
                raise RuntimeError(f"Content-Length is {value.decode('latin-1')!r}, not one number")
            found = int(value)
        elif size == 17 and name.lower() == _CODING:
            out = True
    bodiless = message["status"] == 204
    if out or (bodiless and found != UNKNOWN):
        gone = (_LENGTH, _CODING) if bodiless else (_CODING,)
        message["headers"] = [pair for pair in headers if pair[0].lower() not in gone]
    return UNKNOWN if bodiless or method == "HEAD" or message["status"] == 304 else found


def held(message: Any, length: int) -> None:
    """Hold the first piece of a body against the length that was announced.

    Raises:
        RuntimeError: It is all of the body, and has another length.
    """
    if message["type"] == "http.response.body" and not message.get("more_body"):
        size = len(message.get("body", b""))
        if size != length:
            raise RuntimeError(f"Content-Length says {length} bytes, and the body has {size}")
