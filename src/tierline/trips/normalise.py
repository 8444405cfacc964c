"""From what an engine wrote to a Hop: each engine's cheapest log line, made equal."""

from __future__ import annotations

import datetime
import re
from typing import Any

import msgspec

from tierline.trips.hop import Hop

_decode = msgspec.json.Decoder().decode

_DETAILS = (
    ("via_upstream", "allowed"),
    ("jwt_authn", "refused: token"),
    ("rbac_access_denied_matched_policy[token-algorithm]", "refused: token"),
    ("missing_api_key", "refused: key"),
    ("unknown_api_key", "refused: key"),
    ("client_not_allowed", "refused: key"),
    ("request_rate_limited", "refused: rate limit"),
    ("local_rate_limited", "refused: rate limit"),
    ("rbac_access_denied_matched_policy[timeout]", "upstream too slow"),
    ("rbac_access_denied", "refused: access"),
    ("route_not_found", "no route"),
    ("request_payload_too_large", "refused: too large"),
    ("no_healthy_upstream", "nobody behind"),
    ("upstream_reset", "upstream failed"),
    ("response_timeout", "upstream too slow"),
    ("upstream_per_try_timeout", "upstream too slow"),
    ("upstream_response_timeout", "upstream too slow"),
    ("stream_idle_timeout", "silent too long"),
    ("request_headers_too_large", "refused: too large"),
    ("http1.codec_error", "refused: malformed"),
    ("http2.", "refused: malformed"),
    ("low_version", "refused: malformed"),
    ("missing_host_header", "refused: malformed"),
    ("request_headers_failed_strict_check", "refused: malformed"),
    ("request_overall_timeout", "refused: too slow"),
    ("request_header_timeout", "refused: too slow"),
    ("cors", "preflight"),
    ("oauth.missing_credentials", "sent to log in"),
)
"""Envoy's response code details, by their beginning, in the words of a trip."""

_LIMITS = (
    ("direct_response", "max_body"),
    ("request_payload_too_large", "max_body"),
    ("request_headers_too_large", "max_headers"),
    ("upstream_per_try_timeout", "timeout"),
    ("rbac_access_denied_matched_policy[timeout]", "timeout"),
    ("upstream_response_timeout", "max_duration"),
    ("response_timeout", "max_duration"),
    ("stream_idle_timeout", "idle_timeout"),
)
"""The setting of the budget (plan/budgets.py) that stopped a request, by the same details."""

_SCRIPTS = {401: "refused: certificate", 403: "refused: certificate", 429: "refused: rate limit"}
"""What a script of Envoy's has refused, by the status."""

_CACHE = {
    "MISS": "miss", "HIT": "hit", "EXPIRED": "expired", "STALE": "stale", "UPDATING": "stale", "BYPASS": "bypass",
    "REVALIDATED": "revalidated", "pass": "pass",
}  # fmt: skip
_LONGEST = 80
_BRACKETS = re.compile(r"[\[{](.*)[\]}]")
_SPACES = re.compile(r"\s+")


def hop(line: bytes) -> Hop | None:
    """The hop of one line; None for one that can't be read (a torn line, a stranger's)."""
    try:
        # A name that a token gives may hold whatever its issuer likes: it is cut off before anything is parsed.
        head, there, rest = line.partition(b',"u":"')
        raw: dict[str, Any] = _decode(head + b"}" if there else line)
        if there:
            raw["u"] = rest.rstrip()[:-2].decode(errors="replace")[:_LONGEST]
        return _hop(raw)
    except (msgspec.DecodeError, ValueError, TypeError, KeyError, IndexError, AttributeError):
        return None


def _traefik(raw: dict[str, Any]) -> dict[str, Any]:
    """Traefik's access log has names of its own; the router's is the role's."""
    _, trace, parent, flags = str(raw["request_Traceparent"]).split("-")
    tier, _, place = str(raw["RouterName"]).partition("@")[0].partition(".")
    began = datetime.datetime.fromisoformat(str(raw["StartUTC"])[:26].rstrip("Z") + "+00:00")
    span = int(parent, 16) ^ int.from_bytes(tier.encode()[:8].ljust(8, b"\0"), "big")
    secure = f"tls {raw['TLSVersion']} " if raw.get("TLSVersion") else ""
    return {
        "f": flags, "s": raw["DownstreamStatus"], "t": trace, "i": f"{span:016x}", "p": parent, "T": tier,
        "y": "traefik", "z": place.partition(".")[0], "b": round(began.timestamp() * 1e6),
        "d": int(raw["Duration"]) // 1000, "v": f"{secure}{raw['RequestProtocol']}",
        "n": f"{raw['RequestMethod']} {str(raw['RequestPath']).partition('?')[0]}",
        "a": {
            "server.address": str(raw.get("ServiceAddr", "")), "network.protocol.version": raw["RequestProtocol"],
            "http.response.body.size": raw.get("DownstreamContentSize", 0),
        },
    }  # fmt: skip


def _hop(raw: dict[str, Any]) -> Hop:
    if "RouterName" in raw:
        raw = _traefik(raw)
    if "E" in raw:  # nginx: the end and the duration, in seconds
        raw["d"] = round(float(raw["D"]) * 1e6)
        raw["b"] = round(float(raw["E"]) * 1e6) - raw["d"]
    elif "e" in raw:  # HAProxy: the beginning and the end, in microseconds
        if raw["b"] == "-":  # it was no request
            raw |= {"f": "00", "t": "", "i": "", "p": "", "b": raw["e"], "v": "refused: malformed"}
        raw["b"] = int(raw["b"] or raw["e"])
        raw["d"] = int(raw["e"]) - raw["b"]
    if "tp" in raw:  # Envoy and Squid pass the trace context through: their span is told apart by its parent
        _, raw["t"], raw["p"], flags = str(raw["tp"]).split("-")
        raw.setdefault("f", flags)
        # Envoy may play two tiers of one request: each has a span of its own.
        tier = int.from_bytes(str(raw["T"]).encode()[:8].ljust(8, b"\0"), "big")
        raw["i"] = f"{int(raw['p'], 16) ^ tier:016x}"
        raw["d"] = int(raw["d"]) if str(raw["d"]).isdigit() else 0
    details = verdict = str(raw.get("v", ""))
    raw["details"] = details
    if raw.get("y") == "envoy":
        verdict = next((word for begin, word in _DETAILS if verdict.startswith(begin)), verdict)
        if details == "direct_response" and raw["s"] == 413:
            verdict = "refused: too large"
        if verdict == "lua_response":
            # A balancer's only script looks at what is no request (engines/envoy/connection.py).
            malformed = raw["s"] == 400 and raw.get("T") != "gateway"
            verdict = "refused: malformed" if malformed else _SCRIPTS.get(raw["s"], "refused: body")
    elif raw.get("y") == "nginx":
        verdict = _CACHE.get(verdict, verdict)
    elif raw.get("y") == "haproxy":
        verdict = _SPACES.sub(" ", verdict).strip() or "http"
        if str((raw.get("a") or {}).get("haproxy.termination_state", "")).startswith("sH"):
            verdict = "upstream too slow"
    raw["v"] = verdict
    attributes = dict(raw.get("a") or {})
    attributes["http.route"] = attributes.get("http.route") or raw.get("r")
    attributes["enduser.id"] = attributes.get("enduser.id") or raw.get("u")
    attributes["tierline.policy"] = str(raw.get("o") or "").strip("-") or _policy(raw)
    raw["a"] = {key: value for key, value in attributes.items() if value not in ("", "-", None)}
    return msgspec.convert(raw, Hop, strict=False)


def _policy(raw: dict[str, Any]) -> str:
    """Envoy's details of a refusal name the policy that spoke, or say what was wrong."""
    details = str(raw["details"])
    if raw.get("y") == "haproxy" and raw["v"] == "upstream too slow":
        return "timeout"
    if raw.get("y") != "envoy":
        return ""
    if raw["v"] == "refused: too large" or raw["v"] in ("upstream too slow", "silent too long"):
        return next((setting for begin, setting in _LIMITS if details.startswith(begin)), details)
    if not str(raw["v"]).startswith("refused"):
        return ""
    named = _BRACKETS.search(details)
    return named[1] if named else details
