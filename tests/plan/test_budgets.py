"""One budget of limits and time-outs for each path, and what each tier is configured with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tierline import CDN, DNS, Gateway, HTTPCache, LoadBalancer, Route, Service, Simple, Stack
from tierline.errors import StackError
from tierline.lineups import EMBEDDED
from tierline.plan.budgets import beyond, find, held, shown
from tierline.plan.model import Plan
from tierline.plan.resolve import resolve


def line(gateway: Mapping[str, Any] = {}, service: Mapping[str, Any] = {}, **tiers: Any) -> Plan:
    given = {
        "dns": DNS("budget.test", route=Simple()), "cdn": CDN(), "lb": LoadBalancer(), "cache": HTTPCache(),
        "gateway": Gateway(**gateway), "services": [Service("web", "app:app", expose=["/", "/films"], **service)],
        "zones": ["a"], **tiers,
    }  # fmt: skip
    return resolve(Stack("budget", **given), EMBEDDED)


def test_the_defaults_are_those_of_the_gateway() -> None:
    (budget,) = line().budgets
    assert (budget.of, budget.path) == ("default", "/")
    assert (budget.body, budget.first_byte, budget.idle, budget.total) == (32 << 20, 60.0, 3600.0, None)
    assert (budget.request_line, budget.request_fields, budget.answer_fields) == (8 << 10, 32 << 10, 32 << 10)
    assert budget.settings["body"] == "Gateway.max_body"


def test_a_tier_in_front_allows_more_than_the_next_one() -> None:
    plan = line({"max_body": "64MiB", "timeout": "50s"})
    order = [held(plan, plan.roles[name]) for name in ("cdn.eu-west-1", "lb.a", "cache.a", "gateway.a")]
    for field in (
        "body",
        "request_line",
        "request_fields",
        "answer_fields",
        "field_count",
        "first_byte",
        "idle",
    ):
        values = [getattr(each, field) for each in order]
        assert values == sorted(set(values), reverse=True), field
    assert [("body" in each.settings, "first_byte" in each.settings) for each in order] == [
        (False, False)
    ] * 3 + [(True, True)]
    assert order[-1].body == 64 << 20
    assert order[0].total is None, "nothing ends what isn't limited"


@pytest.mark.parametrize(
    ("routes", "service", "of", "expected"),
    [
        ([], {"max_body": "1MiB"}, "service web", (1 << 20, "Service.max_body")),
        ([Route("/films", max_body="2MiB")], {"max_body": "1MiB"}, "route 0", (2 << 20, "Route.max_body")),
        ([Route("/films", to="web")], {"max_body": "1MiB"}, "route 0", (1 << 20, "Service.max_body")),
        ([Route("/films")], {}, "route 0", (32 << 20, "Gateway.max_body")),
    ],
)
def test_the_narrowest_owner_counts(routes: Any, service: Any, of: str, expected: tuple[int, str]) -> None:
    budget = find(line({"routes": routes}, service), of)
    assert (budget.body, budget.settings["body"]) == expected


def test_a_tier_in_front_that_allows_less_is_the_one_to_refuse() -> None:
    plan = line(lb=LoadBalancer(max_body="1MiB", timeout="5s"), cdn=CDN(idle_timeout="30s"))
    (budget,) = plan.budgets
    told = {field: budget.settings[field] for field in ("body", "first_byte", "idle", "request_line")}
    assert told == {
        "body": "LoadBalancer.max_body", "first_byte": "LoadBalancer.timeout", "idle": "CDN.idle_timeout",
        "request_line": "Gateway.max_url",
    }  # fmt: skip
    balancer, place = held(plan, plan.roles["lb.a"]), held(plan, plan.roles["cdn.eu-west-1"])
    assert balancer.body == 1 << 20 and "body" in balancer.settings
    assert place.body is not None and place.body > 1 << 20 and "body" not in place.settings
    assert place.idle == 30 and "idle" in place.settings


def test_a_larger_limit_in_front_changes_nothing() -> None:
    assert line(lb=LoadBalancer(max_body="1GiB")).budgets == line().budgets


def test_without_a_gateway_a_balancer_has_time_outs_of_its_own_and_no_largest_body() -> None:
    plan = resolve(
        Stack("budget", lb=LoadBalancer(), services=[Service("web", "app:app")], zones=["a"]), EMBEDDED
    )
    (budget,) = plan.budgets
    assert budget.body is None and budget.upload is None
    assert budget.settings == {"first_byte": "LoadBalancer.timeout", "idle": "LoadBalancer.idle_timeout"}


def test_what_a_client_is_told_names_limit_and_setting() -> None:
    (budget,) = line({"max_body": "64MiB", "timeout": "50s"}).budgets
    assert beyond(budget, "body") == "body larger than Gateway.max_body = 64 MiB"
    assert beyond(budget, "first_byte") == "no answer within Gateway.timeout = 50 s"
    assert [shown("idle", 3600), shown("idle", 0.3), shown("total", None), shown("body", 1500)] == [
        "1 h", "300 ms", "no limit", "1500 B",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "given", [{"max_url": "1MiB"}, {"max_headers": "1GiB"}, {"timeout": 0}, {"max_duration": -1}]
)
def test_what_no_engine_could_hold_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(StackError, match=f"Gateway: {next(iter(given))}="):
        Gateway(**given)
