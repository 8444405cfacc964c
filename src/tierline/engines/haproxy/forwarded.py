"""Rules that describe the client to the tiers behind (see engines/forwarded.py)."""

from __future__ import annotations

from collections.abc import Sequence

from tierline.engines.context import Context
from tierline.engines.forwarded import FIELDS, HOST, LINE, PLACE, behind_places, first, proof
from tierline.engines.haproxy.callers import refuse
from tierline.engines.unkeyed import UNKEYED
from tierline.plan.model import Role, Upstream
from tierline.plan.paths import PLAIN, guarded, refused


def _alternatives(names: Sequence[str]) -> str:
    """Most begin with x-: most of a request's fields don't, and are done with at once."""
    extended = [name[2:] for name in names if name.startswith("x-")]
    others = [name for name in names if not name.startswith("x-")]
    return f"^(x-({'|'.join(extended)})|{'|'.join(others)})$"


_FORGED = _alternatives(sorted(name.lower() for name in {*FIELDS, *UNKEYED}))


def described(role: Role, context: Context) -> str:
    """For a role that clients or places of the CDN connect to; after its `trace`. A door of its own for clients that
    stands behind other tiers (mTLS) is recognised by its TLS."""
    if first(role, context.plan):
        return requests("") + paths(context) + fields("")
    if behind_places(role, context.plan):
        place = f"req.hdr({PLACE.lower()}) -m str -- {context.secret('cdn.place')}"
        found = f"    http-request set-var(txn.place) bool(true) if {{ {place} }}\n"
        found += f"    http-request del-header {PLACE}\n"
        return found + requests("") + paths(context) + fields("!{ var(txn.place) -m bool }")
    if role.settings.get("mtls"):
        return requests("{ ssl_fc }") + fields("{ ssl_fc }")
    return ""


def proven(targets: Sequence[Upstream], context: Context) -> str:
    """A line of a backend whose servers want to know that a request comes through the line."""
    secret = proof(targets, context)
    return f"    http-request set-header {LINE} {secret}\n" if secret else ""


def paths(context: Context, when: str = "") -> str:
    """Paths that the line refuses (plan/paths.py)."""
    other = f"!{{ path -m reg '^{PLAIN}$' }} {{ path -m reg '{refused(context.plan)}' }}"
    return refuse(400, "path", f"{when} {other}".strip())


def spellings(context: Context) -> str:
    """Other spellings of paths that rules of the CDN judge."""
    return "".join(
        refuse(400, "path", f"!{{ path -m reg '^{plain}$' }} {{ path -m reg '^{every}$' }}")
        for plain, every in guarded(context.plan)
    )


def requests(when: str) -> str:
    """What names no host is refused; an absolute request target becomes a path (its authority is in Host already)."""
    host = f"!{{ req.hdr(host) -m reg -- '^{HOST}$' }}"
    return (
        refuse(400, "malformed", f"{when} {host}".strip())
        + f"    http-request set-uri %[pathq] if {{ url -m beg -i http:// https:// }} !{{ req.ver 2.0 }} {when}".rstrip()
        + "\n"
    )


def fields(when: str) -> str:
    """All fields from what this tier sees, where the condition holds; `when` empty: always."""
    also = f" if {when}" if when else ""
    plain, secure = f"!{{ ssl_fc }} {when}".rstrip(), f"{{ ssl_fc }} {when}".rstrip()
    said = 'host=\\"%[req.hdr(host)]\\";proto=%[req.hdr(x-forwarded-proto)]'
    return f"""\
    # Who asks, and where, is what this tier sees, and not what anybody says (RFC 7239).
    http-request del-header {_FORGED} -m reg{also}
    http-request set-header X-Forwarded-For %[src]{also}
    http-request set-header X-Forwarded-Proto http if {plain}
    http-request set-header X-Forwarded-Proto https if {secure}
    http-request set-header X-Forwarded-Host %[req.hdr(host)]{also}
    http-request set-var(txn.port) req.hdr(host),port_only{also}
    http-request set-var(txn.port) int(80) if {{ var(txn.port) -m int eq 0 }} {plain}
    http-request set-var(txn.port) int(443) if {{ var(txn.port) -m int eq 0 }} {secure}
    http-request set-header X-Forwarded-Port %[var(txn.port)]{also}
    http-request set-header Forwarded "for=%[src];{said}" if !{{ src -m sub : }} {when}
    http-request set-header Forwarded "for=\\"[%[src]]\\";{said}" if {{ src -m sub : }} {when}
"""
