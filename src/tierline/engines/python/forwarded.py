"""An application's scope describes the client's connection, and not that of the tier in front (engines/forwarded.py).

Only a request that shows the line's secret is described by its fields. Any other came to this port directly: it is
described by its own connection, and what it says of another one is taken out.
"""

from __future__ import annotations

import hmac
from typing import Any

from tierline.engines.forwarded import FIELDS, LINE

_LINE = LINE.lower().encode()
_FOR, _PROTO, _HOST, _PORT, _ = FIELDS_ = tuple(name.lower().encode() for name in FIELDS)
_KNOWN = frozenset((_LINE, *FIELDS_))
_OURS = b"x-tierline-"
_SECURE = {"http": "https", "ws": "wss"}


def identified(scope: Any, proof: bytes) -> None:
    """Take out who the caller is said to be (`x-tierline-claims` and others), unless the line says it. Before `described`."""
    shown = next((value for name, value in scope["headers"] if name == _LINE), b"")
    if not hmac.compare_digest(shown, proof):
        scope["headers"] = [pair for pair in scope["headers"] if not pair[0].startswith(_OURS)]


def described(scope: Any, proof: bytes) -> bool:
    """Set `scheme`, `server` and `client` of an HTTP or WebSocket scope. proof: the line's secret. False for what came
    here past the line and doesn't name one Host (RFC 9112, 3.2)."""
    found = {name: value for name, value in scope["headers"] if name in _KNOWN}
    if not found:
        return _named(scope)
    shown = found.get(_LINE)
    if shown is None or not proof or not hmac.compare_digest(shown, proof):
        scope["headers"] = [pair for pair in scope["headers"] if pair[0] not in _KNOWN]
        return _named(scope)
    scope["headers"] = [pair for pair in scope["headers"] if pair[0] != _LINE]
    if found.get(_PROTO) == b"https":
        scope["scheme"] = _SECURE.get(scope["scheme"], scope["scheme"])
    if _HOST in found:
        name, at, port = found[_HOST].decode("latin-1").rpartition(":")
        name = name if at and port.isdigit() else found[_HOST].decode("latin-1")
        number = found.get(_PORT, b"")
        scope["server"] = (name.strip("[]"), int(number) if number.isdigit() else 0)
    if _FOR in found:
        # Its port is nobody's business here; 0 as in other servers that know proxies.
        scope["client"] = (found[_FOR].decode("latin-1").rpartition(",")[2].strip(), 0)
    return True


def _named(scope: Any) -> bool:
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    # Granian makes one, an empty one, for a request that has none.
    return len(hosts) <= 1 and (hosts not in ([], [b""]) or scope.get("http_version") != "1.1")
