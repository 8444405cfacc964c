"""lb.haproxy: TLS termination, HTTP/2, health checks and zone-aware balancing on HAProxy."""

from __future__ import annotations

from tierline.engines.context import Context
from tierline.engines.haproxy.engine import Fragment, trace
from tierline.plan.model import Role
from tierline.tiers.base import System

_BALANCE = {
    "round_robin": "roundrobin",
    "least_request": "leastconn",
    "consistent_hash": "hash path\n    hash-type consistent",
}


class HAProxyLB(System):
    title = "HAProxy"
    engine = "haproxy"
    levels = frozenset({"runs"})
    supports = frozenset(
        {
            "tls", "http2", "round_robin", "least_request", "consistent_hash", "active_health", "passive_health",
            "zone_aware", "hsts", "redirect_http",
        }
    )  # fmt: skip
    endpoints = {"http": "http", "https": "https"}

    def contribute(self, role: Role, context: Context) -> Fragment:
        settings, plan = role.settings, context.plan
        host, port = context.address(role.id, "http")
        _, tls_port = context.address(role.id, "https")
        chain, key = context.certificate(plan.domain, f"*.{plan.domain}", "localhost", host)
        bundle = context.folder(role.id) / "tls.pem"
        bundle.write_text(chain.read_text() + key.read_text())
        bundle.chmod(0o600)
        entry = role.id in plan.entry
        # Behind a CDN the client's address is what the CDN says; at the entry, what the socket says.
        forwarded = "http-request set-header X-Forwarded-For %[src]" if entry else "option forwardfor if-none"
        (targets,) = list(role.upstreams.values())[:1]
        name = role.id.replace(".", "-")
        frontend = f"""\
frontend {name}
    bind {host}:{port}
    bind {host}:{tls_port} ssl crt {bundle} alpn h2,http/1.1
    maxconn {settings["max_connections"]}
    {forwarded}
    http-request set-header X-Forwarded-Proto https if {{ ssl_fc }}
    http-request set-header X-Forwarded-Proto http unless {{ ssl_fc }} or {{ req.hdr(X-Forwarded-Proto) -m found }}
{trace(role)}\
    http-request set-var-fmt(txn.verdict) "tls %[ssl_fc_protocol,regsub(TLSv,,)] %[ssl_fc_alpn]" if {{ ssl_fc }}
"""
        if settings["redirect_http"]:
            frontend += "    http-request redirect scheme https code 308 unless { ssl_fc }\n"
        if settings["hsts"] is not None:
            age = int(settings["hsts"])
            frontend += f'    http-after-response set-header Strict-Transport-Security "max-age={age}" if {{ ssl_fc }}\n'
        frontend += f"    {settings['raw']}\n" if settings["raw"] else ""
        backend = f"backend {name}-next\n    balance {_BALANCE[settings['balance']]}\n"
        if settings["health"]:
            backend += (
                f"    option httpchk GET {settings['health']}\n    http-check send hdr Host {plan.domain}\n"
            )
        interval = int(settings["health_interval"] * 1000)
        nearest = min(target.distance for target in targets)
        for target in targets:
            address, at = context.address(target.role, target.endpoint)
            backup = " backup" if settings["zone_aware"] and target.distance > nearest else ""
            backend += (
                f"    server {target.role} {address}:{at} weight 100 check inter {interval}ms fall 2 rise 1 "
                f"observe layer4 error-limit 1 on-error mark-down{backup}\n"
            )
        return Fragment(sections=f"{frontend}    default_backend {name}-next\n\n{backend}\n")
