"""What bypasses the HTTP cache, by the plan."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tierline import (
    CDN,
    DNS,
    JWT,
    Access,
    APIKeys,
    Gateway,
    HTTPCache,
    Journey,
    LoadBalancer,
    Route,
    Service,
    Stack,
    Version,
)  # fmt: skip
from tierline.errors import StackError
from tierline.lineups import choose
from tierline.plan.bypass import rules
from tierline.plan.model import Plan
from tierline.plan.resolve import resolve
from tierline.plan.show import text

TOKENS = JWT("https://issuer.test", "api", paths=["/me"])


def plan(*uses: str, lineup: str = "embedded", **parts: Any) -> Plan:
    given = {
        "lb": LoadBalancer(), "cache": HTTPCache(), "gateway": Gateway(), "zones": ["a", "b"],
        "services": [Service("web", "web:app", expose=["/"])], **parts,
    }  # fmt: skip
    stack = Stack("test", dns=DNS("bypass.test"), **{key: value for key, value in given.items() if value})
    return resolve(stack, choose(lineup, list(uses)))


def way(found: Plan, path: str) -> str:
    """Which tier the balancer sends a path to."""
    for rule in rules(found.roles["lb.a"]):
        if re.fullmatch(rule.pattern, path):
            return rule.to
    return "cache"


def bypassing(found: Plan, *paths: str) -> set[str]:
    return {path for path in paths if way(found, path) == "gateway"}


def test_nothing_bypasses_a_cache_unasked() -> None:
    assert rules(plan().roles["lb.a"]) == [] and list(plan().roles["lb.a"].upstreams) == ["cache"]


def test_what_needs_a_token_a_key_or_a_login_bypasses_it_with_all_below() -> None:
    gateway = Gateway(
        auth=TOKENS, keys=APIKeys({"shop": ""}, paths=["/partners/"]), versions=[Version("v1"), Version("v2")],
        access=[Access(paths=["/admin"], claims={"role": "admin"})],
    )  # fmt: skip
    found = plan(gateway=gateway)
    inside = ["/me", "/me/orders", "/v1/me", "/v2/partners/x", "/partners", "/admin/a/b"]
    assert bypassing(found, *inside, "/", "/meter", "/v3/me", "/films") == set(inside)
    assert [each.role for each in found.roles["lb.a"].upstreams["gateway"]] == ["gateway.a", "gateway.b"]
    assert [each.role for each in found.roles["lb.b"].upstreams["gateway"]] == ["gateway.b", "gateway.a"]
    assert "bypass /me and below → gateway (needs a token)" in text(found, {})


def test_private_services_and_journeys_bypass_it_and_what_is_public_below_them_does_not() -> None:
    journeys = [Journey("home", "/"), Journey("account", "/account/{name}", private=True)]
    services = [
        Service("mine", "mine:app", expose=["/my"], private=True),
        Service("films", "films:app", expose=["/my/films", "/films"]),
        Service("seen", "seen:app", expose=["/my/films/seen"], private=True),
    ]
    routes = [Route("/both", to="mine", methods=["POST"]), Route("/both", to="films")]
    found = plan(journeys=journeys, services=services, gateway=Gateway(routes=routes))
    inside = ["/my", "/my/x", "/my/films/seen", "/my/films/seen/1", "/account/me"]
    assert bypassing(found, *inside, "/", "/my/films", "/my/films/1", "/films", "/both", "/account") == set(
        inside
    )


def test_paths_of_the_cache_itself_come_first() -> None:
    found = plan(cache=HTTPCache(bypass=["/cart", "/check-out/"]))
    assert bypassing(found, "/cart", "/cart/1", "/check-out", "/carts", "/") == {
        "/cart",
        "/cart/1",
        "/check-out",
    }


@pytest.mark.parametrize(
    "path", ["cart", "/a b", "/{id}", "/a?b", "/../x", "/a//b", "/x$", "/(a)", "/%2e", ""]
)
def test_a_path_that_is_no_plain_prefix_is_refused(path: str) -> None:
    with pytest.raises(StackError, match=r"HTTPCache: bypass=.*path prefixes"):
        HTTPCache(bypass=[path])


@pytest.mark.parametrize("use", ["lb=haproxy", "lb=nginx", "lb=envoy", "lb=traefik"])
@pytest.mark.parametrize("cdn", [None, CDN()])
def test_every_balancer_does_it(use: str, cdn: CDN | None) -> None:
    found = plan(use, cache=HTTPCache(bypass=["/cart"]), cdn=cdn)
    assert way(found, "/cart") == "gateway" and not [
        loss for loss in found.losses if loss.feature == "bypass"
    ]


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ({"lb": None}, "no load balancer is in front of the cache"),
        ({"gateway": None}, "no gateway is behind the cache"),
        ({"lineup": "aws"}, "its targets are the next tier's"),
    ],
    ids=str,
)
def test_a_line_that_can_not_do_it_says_so(parts: dict[str, Any], why: str) -> None:
    services = [Service("web", "web:app", expose=["/"], private=True)]
    found = plan(cache=HTTPCache(bypass=["/cart"]), services=services, **parts)
    (loss,) = [loss for loss in found.losses if loss.feature == "bypass"]
    assert why in loss.why and "HTTPCache(bypass=), Service('web', private=True)" in loss.why
    assert all(not rules(role) for role in found.roles.values() if role.tier == "lb")
