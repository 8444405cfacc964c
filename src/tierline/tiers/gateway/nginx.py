"""gateway.nginx: routes, tokens, keys, limits and access on nginx, decided in gateway.js."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from tierline.engines.context import Context
from tierline.engines.counter.engine import CREDENTIAL, ROLE
from tierline.engines.forwarded import proof
from tierline.engines.keysets import usable
from tierline.engines.nginx import asking, bodies, limits, logins, policies
from tierline.engines.nginx.config import ANSWERED, TLS, Fragment, hop_format, hop_log, ident, upstream
from tierline.engines.nginx.forwarded import said
from tierline.plan.budgets import held, shown
from tierline.plan.model import Budget, Role
from tierline.plan.scaling import measuring
from tierline.tiers.base import System
from tierline.tiers.gateway.common import nginx_login
from tierline.tiers.gateway.common.nginx_policies import told
from tierline.tiers.gateway.common.nginx_routes import AGAIN, Passing, elsewhere, up
from tierline.tiers.gateway.common.routes import routes
from tierline.tiers.gateway.tier import FEATURES

_LACKS = {
    "paths_as_sent": "nginx matches decoded paths, so it can't tell what a service would read; they are refused",
    "uploads": "bodies are read to their end first; use gateway=envoy or gateway=haproxy",
    "trailers": "not set up; use gateway=envoy or gateway=haproxy",
    "unsized-uploads": "bodies are read to their end first",
    "leaves-upload": "bodies are read to their end first",
    "mtls_san": "nginx tells a certificate's subject only, not its alternative names; use gateway=envoy",
    "live_upstreams": "only by a reload, which closes idle connections: names looked up again follow a second late, and "
    "addresses chosen by njs have no keep-alive; use gateway=haproxy or gateway=envoy",
    "wire-max-forwards": "nginx passes Max-Forwards on as it came",
    "wire-request-named": "nginx can't take out of a request the fields that its Connection names; use gateway=haproxy",
    "wire-answer-named": "nginx can't take out of an answer the fields that its Connection names; use gateway=haproxy",
}
_MORE = ',"r":"$gw_route","o":"$gw_policy"'
_DOCUMENT, _KEYS = "openapi.json", "jwks.json"


class NginxGateway(System):
    title = "nginx"
    engine = "nginx"
    measures = True
    levels = frozenset({"runs"})
    supports = frozenset(FEATURES) - frozenset(_LACKS)
    lacks = _LACKS
    endpoints = {"http": "http", "mtls": "https"}
    counter = "feature.limits"

    def unheld(self, role: Role, budget: Budget) -> Mapping[str, str]:
        found = limits.unheld(budget)
        if budget.settings.get("body", "").startswith(("Route", "Service")):
            found["max_body"] = "nginx has one largest body for all routes of a gateway: the widest counts"
        shapes = any(route["request_body"] is not None for route in role.settings["routes"])
        if shapes and "body" in budget.settings and (budget.body or 0) > bodies.LARGEST:
            found.setdefault(
                "max_body",
                f"nginx shapes bodies of {shown('body', bodies.LARGEST)} at most: a larger one gets 413 there",
            )
        return found

    def contribute(self, role: Role, context: Context) -> Fragment:
        settings, auth = role.settings, role.settings["auth"]
        host, port = context.address(role.id, "http")
        folder = str(context.folder(context.unit_of(role.id)))
        maps, fields = said(role, context, "gw")
        table = routes(role, context.plan)
        keys: list[dict[str, Any]] = []
        secrets, login = nginx_login.given(role, context)
        shapes = any(not (each.request_body is None and each.response_body is None) for each in table)
        counters = [each for each in role.needs if each == ROLE and each in context.plan.roles]
        programs = ("login", "sessions", "tokens") * bool(login) + ("bodies", "json") * shapes
        programs += ("asks",) * bool(counters)
        files = policies.scripts(*programs)
        if auth:
            keys = usable(context.attribute_of(role.name, "jwks"), auth["algorithms"])
            files[_KEYS] = json.dumps({"keys": keys})
        if settings.get("document"):
            files[_DOCUMENT] = settings["document"]
        files["policies.json"] = json.dumps(told(role, context, keys, table, bool(counters)), indent=1)
        if login:
            files[logins.SECRETS] = secrets
        if counters:
            address = context.address(counters[0], "http")
            files[asking.SECRETS] = asking.secrets(address, context.secret(CREDENTIAL))
        passing = Passing(role, fields)
        skew = math.ceil(auth["clock_skew"]) if auth else 0
        servers = f"""\
    server {{
        listen {host}:{port};
{_door(role, context)}\
{hop_log(role, context, "$gw_final")}\
{_REFUSED}\
        access_log /dev/null tl_{ident(role)}_count if=$gw_tell;
{policies.own(held(context.plan, role), _KEYS if keys else "", skew)}\
{policies.PREFLIGHT if settings["cors"] else ""}\
{logins.LOCATIONS if login else ""}\
{asking.LOCATIONS if counters else ""}\
{policies.document(folder, _DOCUMENT) if settings.get("document") else ""}\
{passing.common()}\
{"".join(passing.route(number, each) for number, each in enumerate(table))}\
{settings["raw"] or ""}
    }}
"""
        answered = ANSWERED.replace("$upstream_addr", "$gw_server").replace(
            "$upstream_response_time", "$gw_time"
        )
        more = _MORE + answered * measuring(role, context.plan)
        words = limits.texts(held(context.plan, role), ((each.name, each.budget) for each in table))
        http = hop_format(role, "$gw_final", "gateway", more, "$gw_consumer", "$gw_server")
        http += (
            policies.http(shapes)
            + words
            + login
            + (asking.HTTP if counters else "")
            + maps
            + _client(role, fields)
        )
        blocks = {up(role, name): targets for name, targets in role.upstreams.items()}
        blocks |= {up(role, name) + AGAIN: targets for name, targets in elsewhere(role).items()}
        for name, targets in blocks.items():
            http += upstream(name, targets, context)
        if settings["concurrency"]:
            http += "    limit_conn_zone $gw_up zone=gateway_concurrency:1m;\n    limit_conn_status 503;\n"
        proofs = {name: proof(targets, context) for name, targets in blocks.items()}
        sockets = (policies.METRICS_SOCKET, *((logins.SOCKET,) if login else ()))
        return Fragment(http=http, servers=servers, beside=files, sockets=sockets, proofs=proofs)


# The answer's own location comes through here, too.
_REFUSED = """\
        set $gw_odd "$tl_no_path$tl_no_host$uri";
        if ($gw_odd ~ "^1+/(?!-/malformed$)") { return 400; }
"""


def _door(role: Role, context: Context) -> str:
    """The listener for those who come with a certificate. nginx answers who has none or a bad one with 400 after the
    handshake; here it says nothing and hangs up."""
    if not role.settings["mtls"]:
        return ""
    host, port = context.address(role.id, "mtls")
    given = role.settings["mtls"]["ca"]
    ca = (context.project / given).resolve() if given else context.authority
    domain = context.plan.domain
    chain, key = context.certificate(domain, f"*.{domain}", "localhost", host)
    return f"""\
        listen {host}:{port} ssl;
        http2 on;
{TLS}\
        ssl_certificate {chain};
        ssl_certificate_key {key};
        ssl_client_certificate {ca};
        ssl_verify_client on;
        ssl_verify_depth 3;
        error_page 495 496 = @gw_stranger;
        location @gw_stranger {{
            return 444;
        }}
"""


def _client(role: Role, fields: dict[str, str]) -> str:
    """Who asks."""
    forwarded = fields.get("X-Forwarded-For", "$http_x_forwarded_for")
    found = (
        f"    map {forwarded} $gw_client {{\n"
        '        "~(?<gw_last>[^,\\s]+)\\s*$" $gw_last; default $remote_addr;\n    }\n'
    )
    for number, rule in enumerate(role.settings["access"]):
        if rule["addresses"]:
            networks = " ".join(f"{network} 1;" for network in rule["addresses"])
            found += f"    geo $gw_client $gw_network_{number} {{ default 0; {networks} }}\n"
    return found
