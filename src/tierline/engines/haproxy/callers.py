"""Who calls, what they may and how often, as rules of an HAProxy frontend.

The order of a gateway's rules, and why:

    1. paths          what could walk around a rule by its spelling is gone before any rule looks
    2. preflight      a browser's question carries no token
    3. addresses      who may come at all costs nothing to know
    4. limits         before signatures are checked, so that a flood of bad tokens costs little
    5. size           too large is refused before it is read
    6. who it is      certificates and keys; then logins, which ask a provider only when they must; then tokens
    7. access         what they may
    8. quotas         what they may still do today
    9. routes         where it goes
   10. detours        copies and bodies to shape: nothing of a body is read for who is refused
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tierline.engines.keysets import number, usable
from tierline.engines.lua import library
from tierline.engines.lua.templates import text
from tierline.plan.budgets import beyond
from tierline.plan.model import Budget

_AUDIENCE = Path(__file__).with_name("audience.lua")
_CERTIFICATE = Path(__file__).with_name("certificate.lua")

TITLES = {
    400: "Bad request", 401: "Valid credentials are needed", 403: "Forbidden", 404: "No such route",
    405: "Method not allowed", 408: "Request timeout", 411: "A length is needed", 413: "The request is too large",
    414: "The address is too long",
    421: "Misdirected", 429: "Too many requests", 431: "The headers are too large", 500: "Internal error",
    501: "Not implemented", 502: "The service broke off",
    503: "Nobody behind answers", 504: "The service took too long",
}  # fmt: skip


PAGES = "HAProxy answers what it can't parse, what fits no buffer and what comes too slowly with a page of its own (HTML)"


def problem(status: int, detail: str = "") -> str:
    """A problem document (RFC 9457) as a log-format string, in quotes."""
    told = f',"detail":"{detail}"' if detail else ""
    body = f'"type":"about:blank","status":{status},"title":"{TITLES[status]}"{told},"trace_id":"%[var(txn.trace)]"'
    return f"'{{{body}}}'"


def errors(told: Mapping[int, str] = {}) -> str:
    """HAProxy's own refusals as problem documents. told: more about some, by status."""
    return "".join(
        "    http-error status "
        f"{status} content-type application/problem+json lf-string {problem(status, told.get(status, ''))}\n"
        for status in (400, 408, 500, 501, 502, 503, 504)
    )


def refuse(
    status: int, why: str, condition: str, headers: str = "", policy: str = "", detail: str = ""
) -> str:
    """Answer with a problem document when the condition holds, and say so, and which policy it was, in the hop.

    detail: what the client is told; default: why.
    """
    policy = policy or why.replace(" ", "-")
    refused = f"{{ var(txn.policy) -m str {policy} }}"  # the condition may cost much: it is asked for once
    return (
        f"    http-request set-var(txn.policy) str({policy}) if {condition}\n"
        f'    http-request set-var(txn.verdict) str("refused: {why}") if {refused}\n'
        f"    http-request return status {status} content-type application/problem+json "
        f"lf-string {problem(status, detail or why)}{headers} if {refused}\n"
    )


def too_large(budget: Budget, condition: str = "") -> str:
    """Refuse a body whose length is beyond the budget; see `refusal`."""
    if budget.body is None:
        return ""
    larger = f"{{ req.hdr_val(content-length) gt {budget.body} }} {condition}".rstrip()
    return (
        f"    http-request set-var(txn.policy) str(max_body) if {larger}\n"
        f'    http-request set-var(txn.verdict) str("refused: too large") if {larger}\n'
        f"    http-request set-var-fmt(txn.problem) {problem(413, beyond(budget, 'body'))} if {larger}\n"
        f"    http-request use-service lua.too_large if {larger}\n"
    )


def refusal(budget: Budget, folder: Path) -> dict[str, str]:
    """The program that refuses what is too large, as a file. budget: the widest of the role."""
    if budget.body is None:
        return {}
    # What the tiers in front let through at most; at the entry, what is sent before a client looks.
    limit = budget.body + (8 << 20)
    text = f"local LIMIT = {limit}\n" + Path(__file__).with_name("too_large.lua").read_text()
    return {str(folder / "too_large.lua"): text}


def unbounded(condition: str = "") -> str:
    """Refuse a body that doesn't say how long it is: HAProxy passes on what it reads, and counts nothing."""
    asked = f"{{ req.hdr(transfer-encoding) -m found }} {condition}".rstrip()
    return refuse(411, "no length", asked, detail="a body must say its length here (Content-Length)")


def too_many(budget: Budget) -> str:
    """Refuse fields that are larger or more than the budget says: HAProxy's buffers hold a little more than that."""
    detail = f"{beyond(budget, 'request_fields')}, or more than {budget.field_count}"
    more = f"{{ req.hdrs -m len gt {budget.request_fields} }} || {{ req.fhdr_cnt gt {budget.field_count} }}"
    return refuse(431, "fields too large", more, policy="max_headers", detail=detail)


def cors(origins: list[str]) -> str:
    """Preflights answered, origins checked."""
    allowed = " ".join(origins)
    known = "{ var(txn.origin) -m found }"
    said = (
        'hdr access-control-allow-methods "GET, HEAD, POST, PUT, PATCH, DELETE" hdr access-control-allow-headers '
        '"authorization, content-type, x-client, x-app-version, idempotency-key, api-version" '
        "hdr access-control-max-age 600"
    )
    return f"""\
    http-request set-var(txn.origin) req.hdr(origin) if {{ req.hdr(origin) -m str {allowed} }}
    http-request set-var(txn.verdict) str(preflight) if METH_OPTIONS {known} {{ req.hdr(access-control-request-method) -m found }}
    http-request return status 204 {said} if METH_OPTIONS {known} {{ req.hdr(access-control-request-method) -m found }}
    http-after-response set-header access-control-allow-origin %[var(txn.origin)] if {known}
    # Whoever asks: a cache in front mustn't give one origin the answer of another, or of none.
    http-after-response add-header vary origin
"""


def signatures(
    keys: Sequence[tuple[str, str, str]], folder: Path, name: str, token: str, condition: str
) -> tuple[str, dict[str, str]]:
    """Rules that set `<name>_signed` to 1 when the token in the variable is signed with one of the keys, each for its
    own algorithm; and files of keys (key id, algorithm, PEM)."""
    lines = f"""\
    http-request set-var(txn.{name}_alg) var(txn.{token}),jwt_header_query('$.alg') if {condition}
    http-request set-var(txn.{name}_kid) var(txn.{token}),jwt_header_query('$.kid') if {condition}
"""
    files = {}
    for index, (kid, algorithm, pem) in enumerate(keys):
        path = folder / f"{name}-key-{index}.pem"
        files[str(path)] = pem
        named = f" {{ var(txn.{name}_kid) -m str '{kid}' }}" if kid else ""
        lines += (
            f'    http-request set-var(txn.{name}_signed) var(txn.{token}),jwt_verify("{algorithm}","{path}") '
            f"if {condition} !{{ var(txn.{name}_signed) -m int eq 1 }} "
            f"{{ var(txn.{name}_alg) -m str {algorithm} }}{named}\n"
        )
    return lines, files


def tokens(
    auth: dict[str, Any], jwks: str, match: str, folder: Path, login: bool = False
) -> tuple[str, dict[str, str]]:
    """Rules that check tokens (needed where `match` is the path, elsewhere optional), and the files of keys. login:
    whether there are paths where a login will do as well."""
    skew = int(auth["clock_skew"])
    lines = """\
    acl has_token req.hdr(authorization) -m beg -i "bearer "
    http-request set-var(txn.bearer) http_auth_bearer if has_token
"""
    checked, files = signatures(key_files(jwks, auth["algorithms"]), folder, "token", "bearer", "has_token")
    lines += checked
    files[str(folder / "audience.lua")] = library("json") + "\n" + _AUDIENCE.read_text()
    payload = "var(txn.bearer),jwt_payload_query"
    lines += f"""\
    http-request set-var(txn.now) date()
    http-request set-var(txn.exp) {payload}('$.exp','int') if has_token
    http-request set-var(txn.nbf) {payload}('$.nbf','int') if has_token
    acl signed var(txn.token_signed) -m int eq 1
    acl issued {payload}('$.iss') -m str '{auth["issuer"]}'
    acl for_us {payload}('$.aud') -m str '{auth["audience"]}'
    # A list of audiences: the query knows single values only. Asked when the line before doesn't hold.
    acl for_us "var(txn.bearer),word(2,.),ub64dec,lua.audience('{auth["audience"]}')" -m bool
    acl expires var(txn.exp) -m found
    acl expired var(txn.exp),add({skew}),sub(txn.now) -m int lt 0
    acl early var(txn.nbf) -m found
    acl early_now var(txn.nbf),sub(txn.now) -m int gt {skew}
    acl needs_token path -m reg '^{match}$'
    http-request set-var(txn.good) bool(true) if signed issued for_us expires !expired !early
    http-request set-var(txn.good) bool(true) if signed issued for_us expires !expired early !early_now
    acl good var(txn.good) -m bool
    http-request set-var(txn.private) bool(true) if needs_token
"""
    lines += refuse(401, "token", "has_token !good", ' hdr www-authenticate "Bearer error=invalid_token"')
    lines += refuse(
        401,
        "no token",
        f"needs_token !has_token{' !needs_login' if login else ''}",
        " hdr www-authenticate Bearer",
    )
    lines += f"""\
    http-request set-header x-tierline-claims %[var(txn.bearer),word(2,.)] if good
    # Nothing that would end a header or a line of a log.
    http-request set-var(txn.subject) {payload}('$.sub'),regsub('[^ -~]','?',g) if good
    http-request set-header x-tierline-subject %[var(txn.subject)] if good {{ var(txn.subject) -m found }}
"""
    return lines, files


def key_files(jwks: str, algorithms: Sequence[str]) -> list[tuple[str, str, str]]:
    """Key id, algorithm and PEM of each usable key of a set."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    curves: dict[str, ec.EllipticCurve] = {
        "P-256": ec.SECP256R1(),
        "P-384": ec.SECP384R1(),
        "P-521": ec.SECP521R1(),
    }
    found = []
    for key in usable(jwks, algorithms):
        public: Any
        if key["kty"] == "EC":
            curve = curves[key["crv"]]
            public = ec.EllipticCurvePublicNumbers(number(key["x"]), number(key["y"]), curve).public_key()
        else:
            public = rsa.RSAPublicNumbers(number(key["e"]), number(key["n"])).public_key()
        pem = public.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ).decode()
        found.append((str(key.get("kid", "")), str(key["alg"]), pem))
    return found


def keys(header: str, keys: dict[str, str], match: str, folder: Path) -> tuple[str, dict[str, str]]:
    """Rules that know consumers by their key where `match` is the path, and the file of keys."""
    path = folder / "keys.map"
    text = "".join(f"{key} {consumer}\n" for consumer, key in keys.items())
    lines = f"""\
    acl needs_key path -m reg '^{match}$'
    http-request set-var(txn.keyed) req.hdr({header}),map_str({path}) if needs_key
"""
    lines += refuse(401, "key", "needs_key !{ var(txn.keyed) -m found }")
    lines += f"""\
    http-request set-var(txn.private) bool(true) if needs_key
    http-request del-header {header} if needs_key
    http-request set-var(txn.consumer) var(txn.keyed) if needs_key
    http-request set-header x-tierline-consumer %[var(txn.consumer)] if needs_key
"""
    return lines, {str(path): text}


def certificates(consumers: dict[str, str], match: str, folder: Path) -> tuple[str, dict[str, str]]:
    """Rules that know consumers by a name in their certificate, which the connection has been checked for, where `match`
    is the path: the common name, else a URI, else a DNS name. And the files of names and of the program."""
    path, program = folder / "certificates.map", folder / "certificate.lua"
    names = "".join(f"{name} {consumer}\n" for name, consumer in consumers.items())
    table = ", ".join(f"[{text(name)}] = {text(consumer)}" for name, consumer in consumers.items())
    shown = "{ ssl_c_used } { ssl_c_verify 0 }"
    lines = f"""\
    acl needs_certificate path -m reg '^{match}$'
    http-request set-var(txn.consumer) ssl_c_s_dn(cn),map_str({path}) if {shown}
    http-request set-var(txn.alternative) ssl_c_der,hex,lua.certificate_consumer if {shown} !{{ var(txn.consumer) -m found }}
    http-request set-var(txn.consumer) var(txn.alternative) if {{ var(txn.alternative) -m len gt 0 }}
"""
    lines += refuse(401, "no certificate", "needs_certificate !{ ssl_c_used }")
    lines += refuse(403, "certificate", "needs_certificate !{ var(txn.consumer) -m found }")
    lines += """\
    http-request set-header x-tierline-consumer %[var(txn.consumer)] if { ssl_c_used } { var(txn.consumer) -m found }
"""
    code = f"local consumers = {{ {table} }}\n\n{_CERTIFICATE.read_text()}"
    return lines, {str(path): names, str(program): code}


def named(kind: str, number: int, paths: Sequence[str]) -> str:
    """A policy's name in hops: what it is and the first of its paths."""
    return re.sub(r"[^A-Za-z0-9/:._-]", "-", f"{kind}-{number}:{paths[0] if paths else '/'}")


def access(rule: dict[str, Any], number: int) -> str:
    """Rules of `{match, methods, claims, scopes, addresses}`: 403 for who fails one of the conditions."""
    lines = f"    acl access{number} path -m reg '^{rule['match']}$'\n"
    asked, policy = f"access{number}", named("access", number, rule["paths"])
    if rule["methods"]:
        asked += f" {{ method {' '.join(rule['methods'])} }}"
    # A cache in front would give it to those who may not have it.
    lines += f"    http-request set-var(txn.private) bool(true) if {asked}\n"
    payload = "var(txn.bearer),jwt_payload_query"
    for claim, value in rule["claims"].items():
        lines += refuse(
            403, "access", f"{asked} !{{ {payload}('$.{claim}') -m str '{value}' }}", policy=policy
        )
    for scope in rule["scopes"]:
        quoted = scope.replace(".", "\\.")
        lines += refuse(
            403, "access", f"{asked} !{{ {payload}('$.scope') -m reg '(^| ){quoted}( |$)' }}", policy=policy
        )
    if rule["addresses"]:
        lines += refuse(
            403,
            "access",
            f"{asked} !{{ var(txn.client) -m ip {' '.join(rule['addresses'])} }}",
            policy=policy,
        )
    return lines


PRIVATE = """\
    http-after-response set-header cache-control "private, no-store" if { var(txn.private) -m bool }
"""
"""A cache in front sees neither key nor session, and asks nobody about a token: it would give the answer to the next."""
