"""DNS: the name clients resolve, and which place each is sent to."""

from __future__ import annotations

import ipaddress
from typing import Any, ClassVar

from tierline.intent import Duration, Intent, setting
from tierline.tiers.dns.common.registration import Registration

FEATURES = {
    "simple": "the same answer for everyone: the first healthy place",
    "multivalue": "several healthy places in each answer",
    "weighted": "places in proportion to their weights",
    "latency": "the healthy place with the lowest latency from the client",
    "geography": "by the client's country or continent",
    "failover": "the first healthy place in an order",
    "health_checks": "a place that is down is taken out of the answers, and put back",
    "ecs": "clients are where their subnet is (EDNS client subnet), not where their resolver is",
    "rate_limit": "strangers get only so many answers per second",
    "transfers": "the whole zone for whom the stack lets have it (AXFR), and for nobody else",
    "raw": "configuration of the engine's own, checked by it",
    "hops": "the server itself tells which policy spoke, in the trip",
}
"""What a system may support, by name."""


def _network(value: str) -> str | None:
    try:
        ipaddress.ip_network(value)
    except ValueError:
        return "networks such as 192.0.2.53/32"
    return None


class Route(Intent):
    """Base of the routing policies."""

    kind: ClassVar[str] = ""


class Simple(Route):
    """The same answer for everyone: the first healthy place."""

    kind = "simple"


class Multivalue(Route):
    """Several healthy places in each answer."""

    kind = "multivalue"


class Latency(Route):
    """The healthy place with the lowest latency from where the client asks."""

    kind = "latency"
    table: dict[str, Any] | None = setting("Milliseconds by region pair, instead of ours.", default=None)


class Weighted(Route):
    """Places in proportion to their weights."""

    kind = "weighted"
    weights: dict[str, float] = setting("Weight by place.")


class Geography(Route):
    """By the client's country or continent, with a default."""

    kind = "geography"
    rules: dict[str, Any] = setting("Place, or another policy, by country (DE), continent (EU) or `default`.")

    def check(self) -> None:
        if "default" not in self.rules:
            raise self.wrong("rules", sorted(self.rules), "a dict with the key 'default'")


class Failover(Route):
    """The first healthy place in this order."""

    kind = "failover"
    order: tuple[str, ...] = setting("Places, the preferred one first.")


class Record(Intent):
    """One more record of the zone, as data."""

    name: str = setting("The name below the domain, or @ for the domain itself.")
    type: str = setting(
        "The record type.",
        allowed=lambda t: (
            None
            if t in ("A", "AAAA", "CNAME", "ALIAS", "MX", "TXT", "SRV", "CAA", "NS", "HTTPS")
            else "one of A, AAAA, CNAME, ALIAS, MX, TXT, SRV, CAA, NS, HTTPS"
        ),
    )
    values: tuple[str, ...] = setting("The record's data, as a zone file writes it.")
    ttl: Duration = setting("Time to live.", default="5m")


def _domain(value: str) -> str | None:
    labels = value.rstrip(".").split(".")
    right = all(label and len(label) <= 63 and label.replace("-", "a").isalnum() for label in labels)
    return (
        None
        if right and len(labels) > 1 and value == value.lower()
        else "a lower-case domain such as cinema.test"
    )


def _kinds(route: Any) -> dict[str, None]:
    """The policies of a route, outermost first; in a geography's rules there may be more, as intents or data."""
    if isinstance(route, Geography):
        inner = [kind for rule in route.rules.values() for kind in _kinds(rule)]
        return dict.fromkeys(["geography", *inner])
    if isinstance(route, Route):
        return {route.kind: None}
    if isinstance(route, dict) and "kind" in route:
        inner = [kind for rule in (route.get("rules") or {}).values() for kind in _kinds(rule)]
        return dict.fromkeys([str(route["kind"]).lower(), *inner])
    return {}


class DNS(Intent):
    """The authoritative name service of the stack's domain."""

    domain: str = setting("The domain that clients resolve, e.g. cinema.test.", allowed=_domain)
    route: Route = setting("Which place a client is sent to.", factory=Latency)
    health: str | None = setting("The path that a healthy place answers below 400.", default=None)
    health_interval: Duration = setting("Between two health checks of a place.", default="1s", above=0.1)
    health_threshold: int = setting(
        "Failed checks in a row that take a place out.", default=2, above=1, below=10
    )
    ttl: Duration = setting("Time to live of the answers.", default="10s")
    records: tuple[Record, ...] = setting("More records of the zone.", default=())
    transfers: tuple[str, ...] = setting(
        "Networks that may have the whole zone (AXFR), such as a secondary's 192.0.2.53/32. Default: nobody.",
        default=(),
        allowed=_network,
    )
    raw: str | None = setting(
        "Engine configuration added as it is (embedded: a JSON object of its configuration's fields; BIND: into "
        "`options`; PowerDNS: lines of pdns.conf).",
        default=None,
    )
    registration: Registration | None = setting(
        "How the domain would be registered; `tierline domain` shows the plan.", default=None
    )

    def features(self) -> dict[str, str]:
        """What this intent asks of its system, by feature, with the field that asks for it."""
        asked = {
            kind: f"route={type(self.route).__name__}()"
            if kind == self.route.kind
            else f"{kind} inside route={type(self.route).__name__}()"
            for kind in _kinds(self.route)
        }
        if asked.keys() & {"latency", "geography"}:
            asked["ecs"] = (
                f"{asked.get('latency') or asked['geography']}, for clients behind distant resolvers"
            )
        if self.health is not None:
            asked["health_checks"] = f"health={self.health!r}"
        if self.transfers:
            asked["transfers"] = "transfers="
        if self.raw is not None:
            asked["raw"] = "raw="
        return asked
