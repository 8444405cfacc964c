"""lb.alb: the public Application Load Balancer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tierline.plan.budgets import held
from tierline.plan.model import Budget, Role
from tierline.tiers.base import System
from tierline.tiers.cloudformation import att, certificate, front_key, logical, ref

if TYPE_CHECKING:
    from tierline.deploy.template import Template

_ALGORITHMS = {"least_request": "least_outstanding_requests"}

_LONGEST = 4000
"""Seconds of the longest idle_timeout.timeout_seconds (Elastic Load Balancing's user guide)."""


class ALB(System):
    title = "Application Load Balancer"
    levels = frozenset({"deploys"})
    supports = frozenset(
        {
            "tls", "tls_profile", "http2", "redirect_http", "hsts", "round_robin", "least_request", "sticky",
            "active_health", "zone_aware", "slow_start", "draining", "live_upstreams", "websocket",
            "known_hosts", "strict_parsing", "streams", "uploads",
        }
    )  # fmt: skip
    lacks = {
        "consistent_hash": "it can tie a client to an instance by a cookie, not a path; round robin instead",
        "weights": "its zones share by what their nodes receive",
        "http3": "CloudFront in front has it",
        "raw": "an Application Load Balancer takes no raw configuration: raw= is left out",
        "proxy_protocol": "a network load balancer has it",
        "trailers": "it speaks HTTP/1.1 to the instances",
        "request_trailers": "it speaks HTTP/1.1 to the instances",
        "disconnects": "AWS doesn't say when an instance learns that its client has left",
        "early_hints": "AWS doesn't say that it passes 103 on",
        "acme": "AWS issues and renews the certificate itself",
        "mail": "a network load balancer passes mail on; mail programs reach SES itself",
        "mail_imap": "SES only sends",
        "mail_pop3": "SES only sends",
        "queueing": "it doesn't bound requests per instance",
        "queue_timeout": "it doesn't queue",
        "grpc": "its target groups are made for HTTP/1.1 here",
        "bypass": "its targets are the next tier's: each request goes through the cache, which keeps nothing of these",
        "trace_context": "it passes traceparent on, but no trace begins at it and its hop is in no trip",
    }
    endpoints = {"http": "http", "https": "https"}
    stand_in = "haproxy"

    def unheld(self, role: Role, budget: Budget) -> Mapping[str, str]:
        if _silence(budget) <= _LONGEST:
            return {}
        return {"idle_timeout": f"it ends an answer after {_LONGEST} s of silence at the latest"}

    def deploy(self, roles: Sequence[Role], template: Template) -> None:
        role, public = roles[0], roles[0].id in template.plan.entry
        template.add(
            "apps",
            "Balancer",
            "AWS::ElasticLoadBalancingV2::LoadBalancer",
            {
                "Type": "application",
                "Scheme": "internet-facing",
                "Subnets": template.subnets("Public"),
                "SecurityGroups": [template.group(role.name)],
                "LoadBalancerAttributes": [
                    {
                        "Key": "idle_timeout.timeout_seconds",
                        "Value": str(min(_LONGEST, _silence(held(template.plan, role)))),
                    },
                    {"Key": "routing.http.drop_invalid_header_fields.enabled", "Value": "true"},
                    {"Key": "routing.http.desync_mitigation_mode", "Value": "strictest"},
                    {"Key": "routing.http2.enabled", "Value": "true"},
                ],
            },
        )
        _admit(template, role.name, public)
        _listen(template, role, public)
        if role.settings["certificate"]:
            template.note("lb: certificate= is for the local line; here AWS issues one for the domain")
        if role.settings["sticky"]:
            template.note(
                "lb: the cookie that ties a client to its instance is AWSALB, and zones aren't preferred"
            )
        if role.settings["slow_start"] and role.settings["balance"] == "least_request":
            template.note("lb: least_request and slow_start don't go together; slow_start= is left out")
        if role.settings["health_interval"] < 5:
            template.note("lb: health checks every 5 s, the least that a target group has")
        told = {
            "alias.name": att("Balancer", "DNSName"),
            "alias.zone": att("Balancer", "CanonicalHostedZoneID"),
        }
        for each in roles:
            template.tell(each.id, told)


def _attributes(settings: dict[str, Any]) -> dict[str, str]:
    """How a target group is balanced."""
    found = {
        "load_balancing.algorithm.type": _ALGORITHMS.get(settings["balance"], "round_robin"),
        # The nodes of a zone use that zone's instances, and leave the name when it has none.
        # Cookies work across zones only.
        "load_balancing.cross_zone.enabled": "false"
        if settings["zone_aware"] and not settings["sticky"]
        else "true",
    }
    if settings["sticky"]:
        found |= {"stickiness.enabled": "true", "stickiness.type": "lb_cookie"}
    if settings["slow_start"] and settings["balance"] != "least_request":
        found["slow_start.duration_seconds"] = str(max(30, min(900, round(settings["slow_start"]))))
    return found


def _admit(template: Template, name: str, public: bool) -> None:
    """Who may connect: everybody, or only what stands in front of it."""
    everybody: list[dict[str, Any]] = [{"CidrIp": "0.0.0.0/0"}, {"CidrIpv6": "::/0"}]
    sources = everybody
    if not public:
        known = template.parameter(
            "network",
            "FrontPrefixList",
            "Managed prefix list of the CDN's addresses in this region (com.amazonaws.global.cloudfront.origin-facing).",
            AllowedPattern="^pl-[0-9a-f]+$",
        )
        sources = [{"SourcePrefixListId": known}]
    for port in (443, 80) if public else (443,):
        for number, source in enumerate(sources, 1):
            template.add(
                "network",
                f"PublicOn{port}From{number}",
                "AWS::EC2::SecurityGroupIngress",
                {
                    "GroupId": template.group(name),
                    "IpProtocol": "tcp",
                    "FromPort": port,
                    "ToPort": port,
                    "Description": "clients" if public else "the CDN",
                    **source,
                },
            )


def _listen(template: Template, role: Role, public: bool) -> None:
    settings = role.settings
    attributes = _attributes(settings)
    groups = {}
    for name in role.upstreams:
        template.balanced.append((role.name, name))
        groups[name] = template.target_group(name, "public-targets", attributes, health=settings["health"])
    nothing: dict[str, Any] = {
        "Type": "fixed-response",
        "FixedResponseConfig": {
            "StatusCode": "403" if not public else "421" if settings["hosts"] else "404",
            "ContentType": "text/plain",
        },
    }
    whole = next(iter(role.upstreams), "")
    straight = len(groups) == 1 and template.names[whole][0].tier in ("cache", "gateway")
    forward = {"Type": "forward", "TargetGroupArn": ref(groups[whole])} if groups else nothing
    default = forward if straight and public and not settings["hosts"] else nothing
    hsts = settings["hsts"]
    listeners = {
        "Secure": {
            "Port": 443,
            "Protocol": "HTTPS",
            "SslPolicy": "ELBSecurityPolicy-TLS13-1-2-Res-2021-06",
            "Certificates": [{"CertificateArn": certificate(template, "apps", "Certificate")}],
            "DefaultActions": [default],
            "ListenerAttributes": [
                {
                    "Key": "routing.http.response.strict_transport_security.header_value",
                    "Value": f"max-age={int(hsts)}",
                }
            ]
            if hsts is not None
            else None,
        }
    }
    if public:
        moved = {
            "Type": "redirect",
            "RedirectConfig": {"Protocol": "HTTPS", "Port": "443", "StatusCode": "HTTP_301"},
        }
        listeners["Plain"] = {
            "Port": 80,
            "Protocol": "HTTP",
            "DefaultActions": [moved if settings["redirect_http"] else default],
        }
    for kind, listener in listeners.items():
        id = f"{kind}Listener"
        template.add(
            "apps",
            id,
            "AWS::ElasticLoadBalancingV2::Listener",
            {"LoadBalancerArn": ref("Balancer"), **listener},
        )
        if kind == "Secure" or not settings["redirect_http"]:
            _rules(template, role, id, groups, straight, public)


def _rules(
    template: Template, role: Role, listener: str, groups: dict[str, str], straight: bool, public: bool
) -> None:
    """A rule per path where no tier behind it routes; and none without the key of the tier in front."""
    shown = [] if public else [
        {
            "Field": "http-header",
            "HttpHeaderConfig": {"HttpHeaderName": "X-Front-Key", "Values": [front_key(template)]},
        }
    ]  # fmt: skip
    if role.settings["hosts"]:
        shown.append({"Field": "host-header", "HostHeaderConfig": {"Values": role.settings["hosts"]}})
    wanted = [("", name) for name in groups if shown] if straight else []
    if not straight:
        wanted = [(pattern, name) for pattern, name in _paths(role, template) if name in groups]
    for priority, (pattern, name) in enumerate(wanted, 1):
        paths = [{"Field": "path-pattern", "PathPatternConfig": {"Values": [pattern]}}] if pattern else []
        template.add(
            "apps",
            logical(listener, "rule", str(priority)),
            "AWS::ElasticLoadBalancingV2::ListenerRule",
            {
                "ListenerArn": ref(listener),
                "Priority": priority,
                "Conditions": [*paths, *shown],
                "Actions": [{"Type": "forward", "TargetGroupArn": ref(groups[name])}],
            },
        )


def _paths(role: Role, template: Template) -> list[tuple[str, str]]:
    """(path pattern, name), the most specific first: journeys, then services' prefixes, long before short."""
    found: list[tuple[tuple[Any, ...], str, str]] = []
    for name in role.upstreams:
        settings = template.names[name][0].settings
        for journey in settings.get("journeys", []):
            pattern = re.sub(r"\{[^}/]+\}", "*", journey["path"])
            found.append((("*" in pattern, -len(pattern)), pattern, name))
        for path in settings.get("expose", []):
            prefix = path.rstrip("/")
            patterns = [prefix, f"{prefix}/*"] if prefix else ["/*"]
            found += [((2, -len(prefix)), pattern, name) for pattern in patterns]
    return [(pattern, name) for _, pattern, name in sorted(found)]


def _silence(budget: Budget) -> int:
    """Seconds of silence that it allows, before an answer and within it."""
    return max(1, round(max(budget.first_byte, budget.idle)))
