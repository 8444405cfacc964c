"""The path that the name service asks for, when somebody answers it anyway."""

from __future__ import annotations

import pytest

from tierline import DNS, Gateway, Route, Service, Stack
from tierline.journeys import Journey
from tierline.lineups import choose
from tierline.plan.resolve import resolve
from tierline.tiers.gateway.common.routes import Routed, routes


def answering(health: str, **more: object) -> list[Routed]:
    bikes = Service("bikes", "bikes:app", expose=["/bikes"])
    home = Journey("home", "/home/{town}")
    stack = Stack(
        "shop", dns=DNS("shop.test", health=health), services=[bikes], journeys=[home], zones=["a"],
        gateway=Gateway(**more),
    )  # fmt: skip
    plan = resolve(stack, choose("embedded"))
    gateway = next(role for role in plan.roles.values() if role.slot == "gateway")
    return [route for route in routes(gateway, plan) if route.name == "health"]


@pytest.mark.parametrize("path", ["/bikes", "/bikes/1", "/home/ghent"])
def test_a_health_path_that_a_service_or_journey_answers_stays_theirs(path: str) -> None:
    assert answering(path) == []


def test_a_health_path_of_nobody_goes_to_who_is_first_behind_the_gateway() -> None:
    assert [(r.path, r.upstream) for r in answering("/health")] == [("/health", "experience")]


def test_a_route_that_asks_for_a_header_does_not_answer_the_name_service() -> None:
    given = Route("/ready", to="bikes", headers={"x-beta": "1"})
    assert [r.path for r in answering("/ready", routes=[given])] == ["/ready"]
