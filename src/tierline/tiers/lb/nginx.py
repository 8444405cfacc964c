"""lb.nginx: TLS termination, HTTP/2 and balancing on nginx."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from tierline.engines.certificates import CHALLENGE, shown
from tierline.engines.context import Context
from tierline.engines.forwarded import LINE, proof
from tierline.engines.nginx import limits
from tierline.engines.nginx.config import ANSWERED, DATED, TLS, Fragment, hop_format, hop_log, ident, left_out
from tierline.engines.nginx.forwarded import REFUSED, said, setting
from tierline.plan.budgets import held
from tierline.plan.bypass import rules
from tierline.plan.model import Budget, Role, Upstream
from tierline.plan.scaling import measuring
from tierline.tiers.base import Protocol, System
from tierline.tiers.lb.tier import FEATURES, MAIL, STARTTLS

_OLD = "nginx takes an answer that isn't HTTP for HTTP/0.9, and passes it on; use lb=haproxy or lb=envoy"
_LACKS = {
    "http3": "this build of nginx has no QUIC; use lb=envoy",
    "active_health": "nginx without its commercial part leaves out who failed a request, it doesn't ask",
    "slow_start": "only nginx's commercial part has it; use lb=haproxy or lb=envoy",
    "draining": "only by a reload, which closes idle connections; use lb=haproxy or lb=envoy",
    "live_upstreams": "only by a reload, which closes idle connections; use lb=haproxy or lb=envoy",
    "connection_limit": "nginx counts requests per key, and connections only for the whole process",
    "queueing": "nginx without its commercial part refuses, it doesn't queue; use lb=haproxy or lb=envoy",
    "queue_timeout": "nginx without its commercial part doesn't queue; use lb=haproxy",
    "metrics": "this build of nginx has no status module; its hops are counted by telemetry",
    "request_trailers": "nginx ends an HTTP/2 connection on which a request has trailers; use lb=haproxy",
    "mail_health": "nginx without its commercial part doesn't ask; a mail program is told when the inbox is down",
    "wire-max-forwards": "nginx passes Max-Forwards on as it came",
    **{
        f"wire-h2-answer-{name}": _OLD for name in ("not-http", "status-words", "status-short", "status-long")
    },
    "wire-request-named": "nginx can't take out of a request the fields that its Connection names; use lb=haproxy or lb=envoy",
    "wire-answer-named": "nginx can't take out of an answer the fields that its Connection names; use lb=haproxy or lb=envoy",
}


class NginxLB(System):
    title = "nginx"
    engine = "nginx"
    measures = True
    counts_bodies = True
    levels = frozenset({"runs"})
    supports = frozenset(FEATURES) - frozenset(_LACKS)
    lacks = _LACKS
    endpoints = {"http": "http", "https": "https"}

    def listens(self, settings: Mapping[str, Any]) -> Mapping[str, Protocol]:
        return {**self.endpoints, **MAIL, **STARTTLS} if settings["mail"] else self.endpoints

    def unheld(self, role: Role, budget: Budget) -> Mapping[str, str]:
        return limits.unheld(budget)

    def contribute(self, role: Role, context: Context) -> Fragment:
        settings, name = role.settings, ident(role)
        host, port = context.address(role.id, "http")
        _, tls_port = context.address(role.id, "https")
        cert = shown(role, context)
        chain, key, files = cert.chain, cert.key, {}
        pem = f"{context.folder(context.unit_of(role.id))}/{role.id}.pem"
        if cert.thumbprint:  # by a variable, so that it is read again once it is renewed
            files = {pem: cert.pem}
        at = (f"${name}_pem", f"${name}_pem") if cert.thumbprint else (chain, key)
        proxied = " proxy_protocol" if settings["proxy_protocol"] else ""
        strangers = bool(settings["hosts"])
        default = "" if strangers else " default_server"
        names = " ".join(settings["hosts"]) if strangers else "_"
        listening = f"""\
        listen {host}:{port}{default}{proxied};
        listen {host}:{tls_port} ssl{default}{proxied};
        http2 on;
        ssl_certificate {at[0]};
        ssl_certificate_key {at[1]};
        client_header_timeout {max(1, math.ceil(settings["header_timeout"]))}s;
{hop_log(role, context, f"${name}_verdict")}"""
        redirect = ""
        if settings["redirect_http"]:
            plain = f"${name}_plain" if cert.thumbprint else "$scheme = http"
            there = "$tl_name" if tls_port == 443 else f"$tl_name:{tls_port}"
            redirect = f"        if ({plain}) {{ return 308 https://{there}$request_uri; }}\n"
        hsts = (
            f"            add_header Strict-Transport-Security ${name}_hsts always;\n"
            if settings["hsts"] is not None
            else ""
        )
        servers = f"""\
    server {{
{listening}\
        server_name {names};
{limits.server(held(context.plan, role))}{limits.problems(context.plan, held(context.plan, role))}\
{REFUSED}\
{redirect}{_challenge(cert.thumbprint, name)}\
        location / {{
{hsts}\
{_pass_on(role, context, name)}\
            {"grpc_pass grpc" if settings["h2c"] else "proxy_pass http"}://{_next(role, name)};
        }}
{settings["raw"] or ""}
    }}
"""
        if strangers:
            servers += f"""\
    server {{
{listening.replace(f":{port}", f":{port} default_server").replace(" ssl", " ssl default_server", 1)}\
{limits.server(held(context.plan, role))}{limits.problems(context.plan, held(context.plan, role))}\
        location / {{ return 421; }}
    }}
"""
        mail = (role, cert) if settings["mail"] else None
        return Fragment(
            http=_http(role, context, name) + (_renewed(name, pem) if files else ""),
            servers=servers,
            mail=mail,
            files=files,
            proofs={f"{name}_next": proof(next(iter(role.upstreams.values())), context)},
        )


def _renewed(name: str, pem: str) -> str:
    return f"""\
    map $ssl_server_name ${name}_pem {{ default {pem}; }}
    # All that comes plainly, but what an ACME authority asks.
    map $scheme$uri ${name}_plain {{
        "~^http{CHALLENGE}[A-Za-z0-9_-]+$" "";
        "~^http/" 1;
        default "";
    }}
    ssl_certificate_cache max=16 valid=1s;
"""


def _challenge(thumbprint: str, name: str) -> str:
    """What an ACME authority asks is answered whatever else the balancer does (RFC 8555, 8.3)."""
    if not thumbprint:
        return ""
    return f"""\
        location ~ ^{CHALLENGE}(?<{name}_token>[A-Za-z0-9_-]+)$ {{
            default_type text/plain;
            return 200 ${name}_token.{thumbprint};
        }}
"""


def _http(role: Role, context: Context, name: str) -> str:
    settings = role.settings
    hsts = ""
    if settings["hsts"] is not None:
        hsts = f'    map $https ${name}_hsts {{ on "max-age={int(settings["hsts"])}"; default ""; }}\n'
    return (
        hop_format(role, f"${name}_verdict", "lb", ANSWERED * measuring(role, context.plan))
        + TLS
        + f"""\
    map $status:$ssl_protocol:$upstream_addr ${name}_verdict {{
        ~^421 "refused: unknown host";
        # What is no request asked nobody.
        "~^40[08]:[^:]*:$" "refused: malformed";
        "~^(413|414|431):[^:]*:$" "refused: too large";
        "~^[^:]+:TLSv(?<{name}_tls>[^:]+):" "tls ${name}_tls $server_protocol";
        default http;
    }}
{hsts}\
{said(role, context, name)[0]}\
    # An upgrade to WebSocket goes on as one; else trailers are asked for, which gRPC's status comes in.
    map $http_upgrade ${name}_connection {{ default te; "~*^websocket$" upgrade; }}
    map $http_upgrade ${name}_upgrade {{ default ""; "~*^websocket$" websocket; }}
    map $http_upgrade ${name}_te {{ default trailers; "~*^websocket$" ""; }}
"""
        + _upstream(role, context, f"{name}_next", next(iter(role.upstreams.values())))
        + _bypass(role, context, name)
    )


def _next(role: Role, name: str) -> str:
    return f"${name}_way" if rules(role) else f"{name}_next"


def _bypass(role: Role, context: Context, name: str) -> str:
    """Which upstream a path goes to: the first rule that fits decides (plan/bypass.py)."""
    found = rules(role)
    if not found:
        return ""
    ways = "".join(
        f'        "~^{rule.pattern}$" {name}_{"bypass" if rule.to == "gateway" else "next"};\n'
        for rule in found
    )
    return f"    map $uri ${name}_way {{\n{ways}        default {name}_next;\n    }}\n" + _upstream(
        role, context, f"{name}_bypass", role.upstreams["gateway"]
    )


def _upstream(role: Role, context: Context, name: str, targets: Sequence[Upstream]) -> str:
    settings = role.settings
    how = {
        "round_robin": "",
        "least_request": "        least_conn;\n",
        "consistent_hash": "        hash $uri consistent;\n",
    }
    nearest = min(target.distance for target in targets)
    lines = how[settings["balance"]]
    for target in targets:
        host, port = context.address(target.role, target.endpoint)
        weight = settings["weights"].get(context.plan.roles[target.role].zone, 100)
        far = settings["zone_aware"] and target.distance > nearest
        # Balancing by hash knows no backups: the others share the ring.
        backup = " backup" if far and settings["balance"] != "consistent_hash" else ""
        most = f" max_conns={settings['per_instance']}" if settings["per_instance"] else ""
        share = " down" if weight == 0 else f" weight={weight}"
        lines += f"        server {host}:{port}{share}{left_out(target, targets)}{most}{backup};\n"
    if settings["sticky"]:
        lines += f"        sticky cookie {settings['sticky']} path=/ httponly samesite=lax;\n"
    return f"    upstream {name} {{\n        zone {name} 128k;\n{lines}        keepalive 64;\n    }}\n"


def _pass_on(role: Role, context: Context, name: str) -> str:
    _, fields = said(role, context, name)
    upgrades = f"""\
            proxy_set_header Connection ${name}_connection;
            proxy_set_header Upgrade ${name}_upgrade;
            proxy_pass_trailers on;
            # Bodies go on as they come, both ways: an upload isn't kept here, and no event of a stream waits.
            proxy_request_buffering off;
            proxy_buffering off;
"""
    # What would end at the cache ends here, whichever way a request goes.
    ending = ""
    if rules(role) and not any(other.tier == "cdn" for other in context.plan.roles.values()):
        ending += "            proxy_hide_header Surrogate-Key;\n"
    told = f"""\
{ending}\
            {DATED}
            proxy_set_header TE ${name}_te;
            proxy_set_header Keep-Alive "";
            proxy_set_header Proxy-Connection "";
            proxy_set_header Host $tl_authority;
            proxy_set_header {LINE} $tl_line;
            proxy_set_header Via $tl_via;
{setting(fields)}\
            proxy_set_header traceparent 00-$tl_trace-$tl_span-$tl_flags;
            proxy_set_header x-tierline-claims "";
            proxy_set_header x-tierline-subject "";
            proxy_set_header x-tierline-consumer "";
            # Only what the next tier never saw, or a safe method that it didn't answer, is tried again.
            proxy_next_upstream error timeout;
            proxy_next_upstream_tries 4;
            proxy_next_upstream_timeout 5s;
"""
    # The module that speaks HTTP/2 has the same directives by another name, and buffers no stream.
    if role.settings["h2c"]:
        times = (each for each in limits.server(held(context.plan, role)).splitlines(keepends=True))
        waits = "".join(f"    {each}" for each in times if "_timeout" in each and "proxy_" in each)
        return (told + waits).replace(" proxy_", " grpc_")
    return upgrades + told
