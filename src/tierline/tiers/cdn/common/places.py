"""What points of presence have in common, whatever engine keeps the copies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from tierline.engines.answers.networks import behind_loopback
from tierline.engines.context import Context
from tierline.engines.haproxy.front import Front, Rule
from tierline.plan.model import Role, Upstream
from tierline.tiers.cdn.common.routes import behaviours
from tierline.tiers.cdn.tier import SIGNING_KEY
from tierline.tiers.dns.common.places import REGIONS, table


def front(role: Role, context: Context) -> Front:
    """The front of a place (engines/haproxy/front.py)."""
    settings = role.settings
    own = behaviours(settings, context.project) if "assets" in role.upstreams else []
    countries = settings["countries"] or {}
    allow, deny = countries.get("allow", ()), countries.get("deny", ())
    lines = networks(context.plan.region, tuple(allow or deny))
    return Front(
        rules=[_rule(each) for each in settings["rules"]],
        own=[(match.removeprefix("= "), not match.startswith("= ")) for match in own],
        shielded=list(shielded(role, context)),
        blocked="".join(f"{network} {country}\n" for network, country in lines) if countries else "",
        allow=bool(allow),
        compress=settings["compress"],
        signing=context.secret(SIGNING_KEY),
        badge=context.secret("cdn.place"),
        shield=settings["shield"] == role.region,
        secured=to_https(role, context),
    )


def to_https(role: Role, context: Context) -> str | None:
    """The port to which plain HTTP is sent, as an address writes it (`:8443`, or nothing for 443), where the stack
    wants that (`LoadBalancer(redirect_http=True)`); None: it isn't. A place does it, because it knows the scheme and
    the port that the client used; the balancer behind it is asked over TLS.
    """
    wanted = (each.settings["redirect_http"] for each in context.plan.roles.values() if each.tier == "lb")
    if not any(wanted):
        return None
    _, port = context.address(role.id, "https")
    return "" if str(port) == "443" else f":{port}"


def _rule(rule: dict[str, Any]) -> Rule:
    return msgspec.convert({key: rule[key] for key in Rule.__struct_fields__}, Rule)


def shielded(role: Role, context: Context) -> tuple[Upstream, ...]:
    """The place that this one pulls through; none at the shield itself, or without one."""
    shield = role.settings["shield"]
    if shield is None or shield == role.region:
        return ()
    following = next(targets for name, targets in role.upstreams.items() if name != "assets")
    (place,) = [each for each in context.plan.roles.values() if each.name == role.name and each.region == shield
                and each.part != "origin"]  # fmt: skip
    return (Upstream(place.id, "https" if context.plan.speaks_tls(following[0]) else "http", -1),)


def networks(home: str, countries: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """(network, country) of those countries: the simulated clients of the regions there, and their loopback twins,
    from which `trip --from` and load really come (see engines/answers/networks.py). Other clients on this machine
    are in the stack's own region, `home`.
    """
    for subnet in table(home)["subnets"]:
        if subnet["country"] in countries:
            yield subnet["net"], subnet["country"]
            if twin := behind_loopback(subnet["net"]):
                yield twin, subnet["country"]
    country = REGIONS[home].country
    if country in countries:
        yield "127.0.0.0/16", country
        yield "::1/128", country
