"""Rules of every frontend for what HTTP asks of each hop (RFC 9110, 9112, 9113), and HAProxy leaves to its user."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from tierline.engines.hopbyhop import ALLOWED, KEPT

_NAMES = r"""-m reg -i '(^|,)[ \t]*(?!(close|keep-alive|upgrade|te)[ \t]*(,|$))[^, \t]'"""
"""A Connection that names more than HAProxy knows itself: rare, so that its script hardly ever runs."""

RULES = rf"""    http-request set-var(txn.verdict) str("refused: method") if {{ method CONNECT TRACE }}
    http-request deny deny_status 501 if {{ method CONNECT TRACE }}
    http-request set-var(txn.verdict) str("refused: version") unless {{ req.ver 1.0 1.1 2.0 }}
    http-request deny deny_status 400 unless {{ req.ver 1.0 1.1 2.0 }}
    # What is of one connection goes no further (RFC 9110, 7.6.1).
    http-request lua.unname_request if {{ req.hdr(connection) -m found }} {{ req.fhdr(connection) {_NAMES} }}
    acl websocket req.fhdr(upgrade) -m str -i websocket
    http-request del-header connection unless websocket
    http-request set-header Connection upgrade if websocket
    # What a request came through (RFC 9110, 7.6.3), and how far OPTIONS may go on (7.6.2).
    http-request add-header Via "%[req.ver] tierline"
    http-request return status 204 if METH_OPTIONS {{ req.fhdr(max-forwards) -m str 0 }}
    acl forwards req.fhdr(max-forwards) -m reg ^[0-9]{{1,9}}$
    http-request set-header Max-Forwards %[req.fhdr(max-forwards),sub(1)] if METH_OPTIONS forwards
    # Who speaks HTTP/1.0 waits for no 100 (RFC 9110, 10.1.1).
    http-request del-header expect if HTTP_1.0
    http-request del-header keep-alive
    http-request del-header proxy-connection
    http-request del-header te unless {{ req.fhdr(te) -m str -i trailers }}
    http-request del-header upgrade unless websocket
    http-response lua.unname_answer if {{ res.hdr(connection) -m found }} {{ res.fhdr(connection) {_NAMES} }}
    # RFC 9110, 6.6.1: an answer that doesn't say when it was made is dated by who receives it.
    http-after-response set-header date %[date,http_date] unless {{ res.fhdr(date) -m found }}
    http-after-response set-header allow "{ALLOWED}" if {{ status 405 }} {{ var(txn.verdict) -m str "refused: method" }}
    http-response del-header keep-alive
    http-response del-header proxy-connection
    http-response del-header upgrade unless {{ status 101 426 }}
    # An extended CONNECT that succeeds is a tunnel (RFC 8441, 5); a plain service has made none.
    http-request set-var(txn.tunnel) bool(true) if {{ req.ver 2.0 }} {{ req.hdr(upgrade) -m found }}
    http-response deny deny_status 502 if {{ var(txn.tunnel) -m bool }} {{ status 200:299 }}
"""


def program(folder: Path) -> dict[str, str]:
    """The script that the rules call, beside haproxy.cfg: path → text."""
    kept = "{" + ", ".join(f"['{name}'] = true" for name in sorted(KEPT)) + "}"
    text = (resources.files(__package__) / "connection.lua").read_text()
    return {str(folder / "connection.lua"): text.replace("{KEPT}", kept)}
