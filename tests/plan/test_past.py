"""When a balancer may pass the cache by."""

from __future__ import annotations

from typing import Any

import pytest

from tierline import DNS, Gateway, HTTPCache, LoadBalancer, Service, Stack
from tierline.lineups import choose
from tierline.plan.past import passed, told
from tierline.plan.resolve import resolve


def found(
    *uses: str, fusion: bool = True, gateway: bool = True, cache: Any = None, **lb: Any
) -> list[str | None]:
    """The cache that each balancer may pass by."""
    parts: dict[str, Any] = {"gateway": Gateway()} if gateway else {}
    stack = Stack(
        "test", dns=DNS("past.test"), zones=["a", "b"], lb=LoadBalancer(**lb), cache=cache or HTTPCache(), **parts,
        services=[Service("a", "a:app", expose=["/"])],
    )  # fmt: skip
    plan = resolve(stack, choose("embedded", list(uses)), fusion=fusion)
    balancers = [role for role in plan.roles.values() if role.tier == "lb"]
    caches = [role for role in plan.roles.values() if role.tier == "cache"]
    ways = [passed(plan, role) for role in balancers]
    assert {cache.id for cache in caches if told(plan, cache)} == {each.id for each in ways if each}
    return [each.id if each else None for each in ways]


def test_each_zone_passes_its_own_cache_by() -> None:
    assert found() == ["cache.a", "cache.b"]
    assert found(balance="least_request", slow_start="1s") == ["cache.a", "cache.b"]


@pytest.mark.parametrize(
    "asked",
    [
        {"fusion": False}, {"gateway": False}, {"weights": {"a": 10}}, {"sticky": "s"}, {"per_instance": 5},
        {"balance": "consistent_hash"}, {"zone_aware": False}, {"cache": HTTPCache(raw="add_header X-A b;")},
    ],
    ids=str,
)  # fmt: skip
def test_who_stays_in_the_way(asked: dict[str, Any]) -> None:
    assert found(**asked) == [None, None]


@pytest.mark.parametrize("use", ["lb=nginx", "lb=envoy", "lb=traefik", "cache=varnish"])
def test_an_engine_that_can_not_do_it_has_all_requests(use: str) -> None:
    assert found(use) == [None, None]
