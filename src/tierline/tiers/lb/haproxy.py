"""lb.haproxy: TLS termination, HTTP/2, health checks and zone-aware balancing on HAProxy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tierline.engines.context import Context
from tierline.engines.haproxy import budget
from tierline.engines.haproxy.budget import unheld as limits_unheld
from tierline.engines.haproxy.callers import PAGES, errors, refusal, refuse, too_large
from tierline.engines.haproxy.engine import Fragment, trace
from tierline.engines.haproxy.forwarded import described
from tierline.engines.haproxy.parts import bundle, challenge, hosts, mails, servers, strip
from tierline.plan.budgets import held
from tierline.plan.bypass import Rule, rules
from tierline.plan.model import Budget, Role
from tierline.plan.scaling import measuring
from tierline.tiers.base import Protocol, System
from tierline.tiers.lb.tier import FEATURES, MAIL, NO_STARTTLS, health

_BALANCE = {
    "round_robin": "roundrobin",
    "least_request": "leastconn",
    "consistent_hash": "hash path\n    hash-type consistent",
}


class HAProxyLB(System):
    title = "HAProxy"
    engine = "haproxy"
    measures = True
    levels = frozenset({"runs"})
    supports = frozenset(FEATURES) - {"http3", "mail_starttls"}
    lacks = {
        **dict.fromkeys(("refusal-host", "refusal-malformed", "refusal-huge", "refusal-slow"), PAGES),
        "wire-http10-chunks": "HAProxy hands chunks of a service on to a client of HTTP/1.0",
        "http3": "this build of HAProxy has no QUIC; use lb=envoy",
        "mail_starttls": NO_STARTTLS,
        "wire-date-refused": "HAProxy doesn't date its answers to what it can't parse",
        "wire-two-equal-hosts": "HAProxy takes the same Host twice for one",
    }
    endpoints = {"http": "http", "https": "https"}

    def listens(self, settings: Mapping[str, Any]) -> Mapping[str, Protocol]:
        return {**self.endpoints, **MAIL} if settings["mail"] else self.endpoints

    def unheld(self, role: Role, budget: Budget) -> Mapping[str, str]:
        return limits_unheld(budget)

    def contribute(self, role: Role, context: Context) -> Fragment:
        settings, name = role.settings, role.id.replace(".", "-")
        host, port = context.address(role.id, "http")
        _, tls_port = context.address(role.id, "https")
        crt, files, thumbprint = bundle(role, context)
        proxied = " accept-proxy" if settings["proxy_protocol"] else ""
        own = held(context.plan, role)
        frontend = f"""\
frontend {name}
    bind {host}:{port}{proxied}
    bind {host}:{tls_port} ssl crt {crt} alpn h2,http/1.1{proxied}
    maxconn {settings["max_connections"]}
    timeout http-request {int(settings["header_timeout"] * 1000)}ms
{budget.frontend(own)}{errors(budget.told(own))}\
{trace(role, measured=measuring(role, context.plan))}{strip(role, context)}\
{described(role, context)}{challenge(thumbprint)}\
    http-request set-var-fmt(txn.verdict) "tls %[ssl_fc_protocol,regsub(TLSv,,)] %[ssl_fc_alpn]" if {{ ssl_fc }}
{too_large(own) if "body" in own.settings else ""}\
"""
        if "body" in own.settings:
            files = {**files, **refusal(own, context.folder(context.unit_of(role.id)))}
        if settings["hosts"]:
            frontend += f"    acl known {hosts(settings['hosts'])}\n"
            frontend += refuse(421, "unknown host", "!known")
        if settings["redirect_http"]:
            at = "" if tls_port == 443 else f":{tls_port}"
            frontend += (
                f"    http-request redirect code 308 location https://%[req.hdr(host),regsub(:[0-9]+$,)]{at}%[pathq] "
                "unless { ssl_fc }\n"
            )
        if settings["hsts"] is not None:
            age = int(settings["hsts"])
            frontend += f'    http-after-response set-header Strict-Transport-Security "max-age={age}" if {{ ssl_fc }}\n'
        frontend += f"    {settings['raw']}\n" if settings["raw"] else ""
        backend = f"    balance {_BALANCE[settings['balance']]}\n{budget.backend(own)}"
        backend += f"    timeout queue {int(settings['queue'] * 1000)}ms\n"
        if settings["sticky"]:
            backend += f"    cookie {settings['sticky']} insert indirect nocache httponly attr SameSite=Lax\n"
        if path := health(role, context.plan):
            backend += f"    option httpchk GET {path}\n    http-check send hdr Host {context.plan.domain}\n"
        (targets,) = list(role.upstreams.values())[:1]
        onward = f"    default_backend {name}-next\n\nbackend {name}-next\n"
        chosen, backend = backend, backend + servers(targets, context, settings)
        if bypass := rules(role):
            onward = "".join(_way(name, rule) for rule in bypass) + onward
            backend += (
                f"\nbackend {name}-bypass\n{chosen}{servers(role.upstreams['gateway'], context, settings)}"
            )
        mail = mails(role, context, crt) if settings["mail"] else ""
        return Fragment(
            sections=f"{frontend}{onward}{backend}\n{mail}",
            budget=own,
            files=files,
            certificates=tuple(path for path in files if not path.endswith(".lua")),
        )


def _way(name: str, rule: Rule) -> str:
    """The first rule that fits chooses the backend (plan/bypass.py)."""
    to = "bypass" if rule.to == "gateway" else "next"
    return f"    use_backend {name}-{to} if {{ path -m reg '^{rule.pattern}$' }}\n"
