"""lb.traefik: TLS termination, HTTP/2 and balancing on Traefik."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tierline.engines.certificates import CHALLENGE, shown
from tierline.engines.context import Context
from tierline.engines.forwarded import LINE, PLACE, UNDERSCORED, proof
from tierline.engines.traefik.engine import Fragment
from tierline.engines.unkeyed import UNKEYED
from tierline.plan.budgets import held
from tierline.plan.bypass import rules
from tierline.plan.model import Budget, Role, Upstream
from tierline.plan.paths import refused
from tierline.plan.placement import PLACES
from tierline.tiers.base import Protocol, System
from tierline.tiers.lb.tier import FEATURES, MAIL, NO_STARTTLS

_FRAMED = "Traefik goes by the chunks and keeps the connection; use lb=haproxy, lb=nginx or lb=envoy"
_LACKS = {
    "wire-via": "Traefik writes no Via",
    "wire-max-forwards": "Traefik passes Max-Forwards on as it came",
    "wire-date-refused": "Traefik doesn't date its answers to what it can't parse",
    "wire-query-semicolon": "Traefik writes %3B for each ; of a query",
    **dict.fromkeys(
        (
            "refusal-host",
            "refusal-path",
            "refusal-malformed",
            "refusal-method",
            "refusal-huge",
            "refusal-plain",
            "refusal-behind",
        ),
        "Traefik's own answers are plain text: it changes those of services only; use lb=nginx or envoy",
    ),
    "wire-empty-line": "Traefik refuses an empty line before a request",
    "refusals_counted": "Traefik says nothing of what is no request at all",
    "slow_clients": "Traefik has one time for a request and its whole answer, which streams don't have; use lb=haproxy or "
    "lb=envoy",
    "early_hints": "Traefik drops 103; use lb=haproxy, lb=nginx or lb=envoy",
    "raw": "Traefik has no checker, and drops what it doesn't understand with a line in its log; use another system",
    "consistent_hash": "Traefik hashes the client's address, not the path; use lb=haproxy or lb=envoy",
    "seamless": "what is under way to an instance that dies is not tried again; use lb=haproxy or lb=envoy",
    "passive_health": "Traefik counts what an application answers against its instance; what doesn't connect is tried "
    "elsewhere, and health= leaves an instance out",
    "slow_start": "Traefik has none; use lb=haproxy or lb=envoy",
    "connection_limit": "Traefik counts requests, not connections; use lb=haproxy or lb=envoy",
    "queueing": "Traefik refuses what is over its limit, it doesn't queue; use lb=haproxy or lb=envoy",
    "queue_timeout": "Traefik doesn't queue; use lb=haproxy",
    "proxy_protocol": "Traefik takes a PROXY header but also lets in who sends none; use lb=haproxy or lb=envoy",
    "trace_begin": "Traefik passes traces on; it begins them only with an exporter of its own",
    "metrics": "Traefik's metrics need a port of their own, not a socket; its hops are counted by telemetry",
    "mail_starttls": NO_STARTTLS,
    "strict_hosts": "Traefik's rules see the name in Host, not the port: `localhost:x` goes on",
    "forwarded": "Traefik knows the X-Forwarded fields only, not RFC 7239; what a client says in it ends there",
    "wire-h2-length-no-data": "Traefik hands it on with the length 0; use lb=haproxy, lb=nginx or lb=envoy",
    "wire-h2-lengths-differ": "Traefik goes by the first length; use lb=haproxy, lb=nginx or lb=envoy",
    "wire-te-http10": _FRAMED,
    "wire-cl-te": _FRAMED,
    "wire-te-cl": _FRAMED,
    "wire-te-case-cl": _FRAMED,
    "wire-te-fold-cl": _FRAMED,
}


class TraefikLB(System):
    title = "Traefik"
    engine = "traefik"
    levels = frozenset({"runs"})
    supports = frozenset(FEATURES) - frozenset(_LACKS)
    lacks = _LACKS
    listens_for_places = True
    endpoints = {"http": "http", "https": "https"}

    def listens(self, settings: Mapping[str, Any]) -> Mapping[str, Protocol]:
        more: dict[str, Protocol] = dict(MAIL) if settings["mail"] else {}
        if isinstance(settings["certificate"], dict):
            more["challenge"] = "http"  # it says nothing of its own, so it sends the authority to who asks
        return {**self.endpoints, **more}

    def unheld(self, role: Role, budget: Budget) -> Mapping[str, str]:
        found = {
            "max_body": "it bounds no body that it doesn't keep whole: nothing is refused; say it to the gateway",
            "idle_timeout": "it has no time for silence within an answer: nothing ends it; say it to the gateway",
            "body_timeout": "it has one time for a request and its whole answer: a slow body isn't given up",
        }
        asked = {"max_body": "body", "idle_timeout": "idle", "body_timeout": "upload"}
        return {setting: why for setting, why in found.items() if asked[setting] in budget.settings}

    def contribute(self, role: Role, context: Context) -> Fragment:
        settings = role.settings
        cert = shown(role, context)
        files = {"certFile": str(cert.chain), "keyFile": str(cert.key)}
        if cert.thumbprint:  # in the watched file itself, so that it is seen once it is renewed
            files = {"certFile": cert.pem, "keyFile": cert.pem}
        return Fragment(
            entry_points=_entry_points(role, context),
            http=_http(role, context),
            renewed=bool(cert.thumbprint),
            tcp=_mail(role, context) if settings["mail"] else {},
            tls={
                "certificates": [files],
                "stores": {"default": {"defaultCertificate": files}},
                "options": {"default": _PROFILE},
            },
        )


_PROFILE = {
    "minVersion": "VersionTLS12",
    "cipherSuites": [
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    ],
    "curvePreferences": ["X25519", "CurveP256", "CurveP384"],
}  # fmt: skip
"""Mozilla's intermediate profile: Traefik's own default has older ciphers."""


def _entry_points(role: Role, context: Context) -> dict[str, Any]:
    settings = role.settings
    own = held(context.plan, role)
    found = {}
    for name in [each for each in ("http", "https", PLACES) if (role.id, each) in _listening(role)]:
        host, port = context.address(role.id, name)
        point: dict[str, Any] = {
            "address": f"{host}:{port}",
            # Traefik describes clients itself; places of the CDN, who show a secret to its routers, have done so.
            "forwardedHeaders": {"insecure": name == PLACES, "notAppendXForwardedFor": name == PLACES},
            "transport": {
                "respondingTimeouts": {
                    # One time for a request and its whole answer: a client of HTTP/1.1 is left after it.
                    "readTimeout": "0s" if own.total is None else f"{own.total:g}s",
                    "writeTimeout": "0s",
                    "idleTimeout": "75s",
                },
                "lifeCycle": {"graceTimeOut": "1s"},
            },
            # What isn't refused by a router (plan/paths.py) goes on as it is.
            "http": {
                "maxHeaderBytes": own.request_line + own.request_fields,
                "sanitizePath": False,
                # Else it writes & for each ; of a query (RFC 9110, 7.7).
                "encodeQuerySemicolons": True,
                "encodedCharacters": _CHARACTERS,
            },
        }
        if name != "http":
            point["http"]["tls"] = {}
            if settings["http3"] and name == "https":
                point["http3"] = {"advertisedPort": port}
        found[f"{role.id}-{name}"] = point
    for name in MAIL if settings["mail"] else ():
        host, port = context.address(role.id, name)
        found[f"{role.id}-{name}"] = {"address": f"{host}:{port}"}
    return found


_CHARACTERS = {
    f"allowEncoded{name}": True
    for name in ("Slash", "BackSlash", "NullCharacter", "Semicolon", "Percent", "QuestionMark", "Hash")
}


def _listening(role: Role) -> set[tuple[str, str]]:
    return {(role.id, each.name) for each in role.endpoints}


def _mail(role: Role, context: Context) -> dict[str, Any]:
    """TLS ends here, and what is inside goes to the inbox as it is; one that doesn't greet gets nothing."""
    (inbox,) = role.upstreams[role.settings["mail"]]
    routers, services = {}, {}
    for name, greeting in (("smtps", "220"), ("imaps", "* OK"), ("pop3s", "+OK")):
        host, port = context.address(inbox.role, name.removesuffix("s"))
        id = f"{role.id}-{name}"
        routers[id] = {"entryPoints": [id], "rule": "HostSNI(`*`)", "service": id, "tls": {}}
        check = {"expect": greeting, "interval": f"{role.settings['health_interval']:g}s", "timeout": "1s"}
        services[id] = {"loadBalancer": {"servers": [{"address": f"{host}:{port}"}], "healthCheck": check}}
    return {"routers": routers, "services": services}


def _http(role: Role, context: Context) -> dict[str, Any]:
    settings = role.settings
    (targets,) = list(role.upstreams.values())[:1]
    rule = "HostRegexp(`^([A-Za-z0-9._~-]+|[0-9A-Fa-f:.]+|\\[[0-9A-Fa-f:.]+\\])$`)"  # a name or an address
    if settings["hosts"]:
        rule = " || ".join(_host(each) for each in settings["hosts"])
    # TRACE would show a client what the tiers add to its request.
    rule = f"({rule}) && !Method(`TRACE`)"
    # Only the line itself says such things.
    gone = {f"x-tierline-{word}": "" for word in ("claims", "subject", "consumer")}
    gone |= dict.fromkeys((*UNKEYED, *UNDERSCORED, "Forwarded", PLACE), "")
    if secret := proof(targets, context):
        gone[LINE] = secret
    headers: dict[str, Any] = {"customRequestHeaders": gone}
    if rules(role) and not any(other.tier == "cdn" for other in context.plan.roles.values()):
        # What would end at the cache ends here, whichever way a request goes.
        headers["customResponseHeaders"] = {"Surrogate-Key": ""}
    if settings["hsts"] is not None:
        headers["stsSeconds"] = int(settings["hsts"])
    middlewares: dict[str, Any] = {
        f"{role.id}-headers": {"headers": headers},
        # Only what nobody has answered, of methods that change nothing.
        f"{role.id}-retry": {"retry": {"attempts": 4, "initialInterval": "10ms"}},
    }
    chain = [f"{role.id}-headers", f"{role.id}-retry"]
    plain = chain
    if settings["redirect_http"]:
        middlewares[f"{role.id}-secure"] = {
            "redirectScheme": {
                "scheme": "https",
                "port": str(context.address(role.id, "https")[1]),
                "permanent": True,
            }
        }
        plain = [f"{role.id}-secure"]
    router = {"rule": rule, "service": f"{role.id}-next"}
    routers: dict[str, Any] = {
        role.id: {**router, "entryPoints": [f"{role.id}-https"], "middlewares": chain, "tls": {}},
        f"{role.id}.plain": {**router, "entryPoints": [f"{role.id}-http"], "middlewares": plain},
    }
    if (role.id, PLACES) in _listening(role):
        # They have said in Forwarded what they know; the rest of a stranger's fields ended with them.
        told = {name: value for name, value in gone.items() if name != "Forwarded"}
        middlewares[f"{role.id}-places"] = {"headers": {**headers, "customRequestHeaders": told}}
        routers[f"{role.id}.{PLACES}"] = {
            **router,
            "rule": f"({rule}) && Header(`{PLACE}`, `{context.secret('cdn.place')}`)",
            "entryPoints": [f"{role.id}-{PLACES}"],
            "middlewares": [f"{role.id}-places", f"{role.id}-retry"],
            "tls": {},
        }
    # Its rules see what isn't reserved decoded; it writes what it passes on in one way.
    odd = refused(context.plan).replace("[^!-~]", "[\\x00-\\x1f\\x7f\\x{FFFD}]")
    middlewares[f"{role.id}-path"] = {
        "ipAllowList": {"sourceRange": ["255.255.255.255/32"], "rejectStatusCode": 400}
    }
    for id in list(routers):
        routers[f"{id}.path"] = {
            **routers[id],
            "rule": f"({routers[id]['rule']}) && PathRegexp(`{odd}`)",
            "priority": 95_000,
            "middlewares": [f"{role.id}-path"],
        }
    services = _services(role, "", targets, context)
    if rules(role):
        services |= _services(role, "bypass-", role.upstreams["gateway"], context)
    ways = [each for each in routers if not each.endswith(".path")]
    for number, each in enumerate(rules(role)):
        to = f"{role.id}-bypass-next" if each.to == "gateway" else f"{role.id}-next"
        # The first rule that fits decides (plan/bypass.py).
        for id in ways:
            path = f"({routers[id]['rule']}) && PathRegexp(`^{each.pattern}$`)"
            way = {"rule": path, "service": to, "priority": 90_000 - number}
            routers[f"{id}.bypass-{number}"] = {**routers[id], **way}
    if isinstance(settings["certificate"], dict):
        host, port = context.address(role.id, "challenge")
        services[f"{role.id}-challenge"] = {"loadBalancer": {"servers": [{"url": f"http://{host}:{port}"}]}}
        routers[f"{role.id}.challenge"] = {
            "rule": f"PathRegexp(`^{CHALLENGE}[A-Za-z0-9_-]+$`)",
            "priority": 100_000,
            "service": f"{role.id}-challenge",
            "entryPoints": [f"{role.id}-http"],
        }
    own = held(context.plan, role)
    return {
        "routers": routers,
        "middlewares": middlewares,
        "services": services,
        "serversTransports": {
            f"{role.id}-next": {
                "maxIdleConnsPerHost": 64,
                "forwardingTimeouts": {
                    "dialTimeout": f"{own.connect:g}s",
                    "responseHeaderTimeout": f"{own.first_byte:g}s",
                    "idleConnTimeout": "60s",
                },
            }
        },
    }


def _host(name: str) -> str:
    if not name.startswith("*."):
        return f"Host(`{name}`)"
    below = name[2:].replace(".", "\\.")
    return f"HostRegexp(`^[a-z0-9-]+(\\.[a-z0-9-]+)*\\.{below}$`)"


def _services(role: Role, way: str, targets: Sequence[Upstream], context: Context) -> dict[str, Any]:
    """One service, or the own zone's with the others to take over, which needs a health check."""
    settings = role.settings
    nearest = min(target.distance for target in targets)
    near = [target for target in targets if target.distance == nearest]
    far = [target for target in targets if target.distance > nearest]
    if not (settings["zone_aware"] and settings["health"] and far):
        return {f"{role.id}-{way}next": _service(role, targets, context)}
    return {
        f"{role.id}-{way}next": {
            "failover": {
                "service": f"{role.id}-{way}near",
                "fallback": f"{role.id}-{way}far",
                "healthCheck": {},
            }
        },
        f"{role.id}-{way}near": _service(role, near, context),
        f"{role.id}-{way}far": _service(role, far, context),
    }


def _service(role: Role, targets: Sequence[Upstream], context: Context) -> dict[str, Any]:
    settings = role.settings
    servers = []
    for target in targets:
        host, port = context.address(target.role, target.endpoint)
        weight = settings["weights"].get(context.plan.roles[target.role].zone, 100)
        if weight:
            scheme = "h2c" if settings["h2c"] else "http"
            servers.append({"url": f"{scheme}://{host}:{port}", "weight": weight})
    balancer: dict[str, Any] = {
        "servers": servers,
        "strategy": "p2c" if settings["balance"] == "least_request" else "wrr",
        "serversTransport": f"{role.id}-next",
    }
    if settings["health"]:
        balancer["healthCheck"] = {
            "path": settings["health"],
            "hostname": context.plan.domain,
            "interval": f"{settings['health_interval']:g}s",
            "timeout": "500ms",
        }
    if settings["sticky"]:
        balancer["sticky"] = {"cookie": {"name": settings["sticky"], "httpOnly": True, "sameSite": "lax"}}
    return {"loadBalancer": balancer}
