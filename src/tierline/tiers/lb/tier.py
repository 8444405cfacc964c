"""Load balancer: terminates TLS and spreads requests over the zones."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

from tierline.intent import Duration, Intent, Size, setting
from tierline.plan.model import Plan, Role
from tierline.tiers.base import Protocol
from tierline.tiers.streaming import STREAMING, passing

FEATURES: Mapping[str, str] = {
    "tls": "TLS 1.2 and 1.3 end here, with the local authority's certificate or your own",
    "acme": "the certificate is asked for and renewed by ACME, and shown without a failed request",
    "tls_profile": "only what Mozilla's intermediate profile allows",
    "http2": "HTTP/2 by ALPN",
    "http3": "HTTP/3 on the same port over UDP, told by Alt-Svc",
    "redirect_http": "plain HTTP is sent to HTTPS",
    "hsts": "Strict-Transport-Security",
    "round_robin": "one after the other",
    "least_request": "who has the fewest requests under way",
    "consistent_hash": "by the path, moving few paths when an instance comes or goes",
    "weights": "shares by zone",
    "sticky": "a client stays with its instance, by a cookie",
    "active_health": "instances asked in intervals",
    "passive_health": "an instance that takes no connection is left out; what it answers never counts",
    "zone_aware": "the own zone first, the others when it is down",
    "bypass": "what no copy can answer goes straight to the gateway, past the HTTP cache",
    "seamless": "no safe request fails when an instance or a zone dies",
    "slow_start": "an instance that comes back gets its share little by little",
    "draining": "an instance is left without a failed request",
    "live_upstreams": "instances come and go without a failed request",
    "connection_limit": "a bound on connections",
    "queueing": "requests wait when every instance is at its limit",
    "queue_timeout": "a request that waited too long is refused with 503",
    "proxy_protocol": "the client's address from a PROXY header",
    "websocket": "upgraded connections",
    "grpc": "gRPC calls and streams: HTTP/2 to what stands behind, too",
    "known_hosts": "requests for strangers' hosts are refused (421, or 404)",
    "strict_parsing": "ambiguous requests are refused or made plain, never passed on as they are",
    "strict_hosts": "what is no host in Host is refused (400)",
    "forwarded": "Forwarded (RFC 7239) says who asks, and where, as the X-Forwarded fields do",
    "slow_clients": "headers that trickle in are given up",
    "refusals_counted": "what is no request at all is counted, too",
    "trace_context": "a trace goes on, one hop per request",
    "trace_begin": "a request that comes without a trace begins one",
    "metrics": "counts per instance in Prometheus format, where only this user reaches them",
    "raw": "configuration of the engine's own, checked by it",
    "mail": "mail programs send over TLS that ends here, to the stack's mail resource",
    "mail_pop3": "mail programs read over TLS that ends here (POP3)",
    "mail_imap": "the same over IMAP",
    "mail_starttls": "SMTP, IMAP and POP3 that begin plainly and change to TLS (STARTTLS, STLS)",
    "mail_health": "an inbox that doesn't greet is known to be down before a mail program comes",
    **STREAMING,
}
"""Every feature of a load balancer, by name: what `supports`, `lacks` and the contract suite speak of."""

MAIL: Mapping[str, Protocol] = {"smtps": "smtp", "imaps": "tcp", "pop3s": "tcp"}
"""What a balancer listens on besides when it has mail=: TLS from the first byte (RFC 8314)."""
STARTTLS: Mapping[str, Protocol] = {"smtp": "smtp", "imap": "tcp", "pop3": "tcp"}
"""And where TLS comes later."""
NO_STARTTLS = "it passes mail on without speaking it, and so can't change to TLS midway; use smtps, imaps and pop3s, or lb=nginx"

_HOST = re.compile(r"(\*\.)?[a-z0-9-]+(\.[a-z0-9-]+)*")


def _host(value: str) -> str | None:
    return None if _HOST.fullmatch(value) else 'host names in lower case, "*." before one for all below it'


def _name(value: str) -> str | None:
    return None if _HOST.fullmatch(value) and "*" not in value else "host names in lower case, without *"


def _path(value: str) -> str | None:
    return None if re.fullmatch(r"/[A-Za-z0-9._~/-]*", value) else "a plain path that begins with /"


def _cookie(value: str) -> str | None:
    return None if re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", value) else "letters, digits, '-' and '_'"


class ACME(Intent):
    """A certificate from an authority that speaks ACME (RFC 8555), proven over plain HTTP (http-01) through the line:
    the authority must reach port 80 of the names here. Using it means agreeing to the authority's terms."""

    directory: str = setting(
        "The authority's directory.",
        default="https://acme-v02.api.letsencrypt.org/directory",
        allowed=lambda value: None if value.startswith("https://") else "an https:// URL",
    )
    email: str | None = setting("Where the authority may write to.", default=None)
    names: tuple[str, ...] = setting(
        "Host names of the certificate; default: the stack's domain.", default=(), allowed=_name
    )
    authority: str | None = setting(
        "PEM file of who issued the directory's own certificate; default: who everybody trusts.", default=None
    )
    renew_before: Duration | None = setting(
        "How long before its end a certificate is renewed; default: a third of its life.", default=None
    )


def health(role: Role, plan: Plan) -> str | None:
    """The path of the active health check; None: connect only. Through a cache or a gateway it would be one service's
    answer that takes all others away."""
    first = next(iter(role.upstreams.values()), ())
    proxies = any(plan.roles[each.role].tier in ("lb", "cache", "gateway") for each in first)
    path: str | None = role.settings["health"]
    return None if proxies else path


class LoadBalancer(Intent):
    """Terminates TLS with HTTP/2, checks what stands behind it, and balances over it."""

    balance: Literal["round_robin", "least_request", "consistent_hash"] = setting(
        "How an instance is chosen when several are near.", default="round_robin"
    )
    weights: dict[str, int] = setting("Zone → its share of 100, where zones are equal.", factory=dict)
    sticky: str | None = setting(
        "Name of a cookie that keeps a client with its instance.", default=None, allowed=_cookie
    )
    health: str | None = setting(
        "Path of the active health check of services right behind the balancer; default: connect only. A cache or gateway "
        "is checked by connecting: what it would answer is a service's own. Traefik asks whoever answers the path.",
        default=None,
        allowed=_path,
    )
    health_interval: Duration = setting("Between two health checks.", default="500ms", above=0.1)
    slow_start: Duration | None = setting(
        "How long an instance that comes back gets less than its share.", default=None
    )
    zone_aware: bool = setting("Prefer the own zone, spill over when it is down.", default=True)
    redirect_http: bool = setting("Answer plain HTTP with a redirect to HTTPS.", default=False)
    hsts: Duration | None = setting("Strict-Transport-Security max-age.", default=None)
    http3: bool = setting("HTTP/3 beside HTTP/2.", default=False)
    certificate: str | ACME | None = setting(
        "PEM file with certificate chain and key, or who issues one; default: one of the local authority.",
        default=None,
    )
    hosts: tuple[str, ...] = setting(
        "Hosts that are answered, others get 421; default: every host.", default=(), allowed=_host
    )
    proxy_protocol: bool = setting("Every connection begins with a PROXY header (v1 or v2).", default=False)
    max_connections: int = setting("Connections at once.", default=4096, above=1)
    per_instance: int | None = setting(
        "Requests at once per instance; the others wait in a queue.", default=None, above=1
    )
    queue: Duration = setting("How long a request waits in the queue before 503.", default="2s")
    h2c: bool = setting(
        "What stands behind speaks HTTP/2 without TLS, as gRPC servers do, and nothing else.", default=False
    )
    header_timeout: Duration = setting(
        "How long a client may take to send headers. For bodies see docs/tiers/lb.md.",
        default="10s",
        above=0.1,
    )
    body_timeout: Duration | None = setting(
        "How long a client may take to send a body; default: 60 s and as long as the largest body takes at 32 KiB/s, no "
        "limit where bodies have none.",
        default=None,
        above=0.1,
    )
    max_body: Size | None = setting("Largest request body; default: left to the gateway.", default=None)
    timeout: Duration | None = setting(
        "Time until an answer begins; default: left to the gateway.", default=None, above=0.1
    )
    idle_timeout: Duration | None = setting(
        "Silence after which an answer ends; default: left to the gateway.", default=None, above=0.1
    )
    mail: str | None = setting(
        "Name of the Mail resource that mail programs reach through the balancer, over TLS.", default=None
    )
    raw: str | None = setting(
        "Engine configuration added as it is (HAProxy: into the frontend; nginx: into the server block; Envoy: a "
        "JSON list of HTTP filters).",
        default=None,
    )

    def check(self) -> None:
        for zone, weight in self.weights.items():
            if not 0 <= weight <= 100:
                raise self.wrong("weights", {zone: weight}, "0 to 100")

    def features(self) -> dict[str, str]:
        """What this intent asks of its system, by feature, with the field that asks for it."""
        asked = {
            "tls": "LoadBalancer()",
            "tls_profile": "LoadBalancer()",
            "http2": "LoadBalancer()",
            "trace_context": "LoadBalancer()",
            "strict_parsing": "LoadBalancer()",
            **passing("LoadBalancer()"),
            self.balance: f"balance={self.balance!r}",
        }
        for feature, wanted in (
            ("weights", self.weights),
            ("sticky", self.sticky),
            ("slow_start", self.slow_start),
            ("zone_aware", self.zone_aware),
            ("redirect_http", self.redirect_http),
            ("hsts", self.hsts is not None),
            ("http3", self.http3),
            ("proxy_protocol", self.proxy_protocol),
            ("acme", isinstance(self.certificate, ACME)),
            ("grpc", self.h2c),
            ("mail", self.mail),
            ("mail_imap", self.mail),
            ("mail_pop3", self.mail),
        ):
            if wanted:
                asked[feature] = f"{feature}="
        if self.raw is not None:
            asked["raw"] = "raw="
        if self.health is not None:
            asked["active_health"] = f"health={self.health!r}"
        if self.hosts:
            asked["known_hosts"] = "hosts="
        if self.per_instance is not None:
            asked["queueing"] = "per_instance="
            asked["queue_timeout"] = "queue="
        return asked
