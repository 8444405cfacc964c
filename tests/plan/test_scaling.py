"""The same plan with other numbers of instances: who shares a process, who is told, what sleeps, when a season is."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from tierline import (
    Function,
    Gateway,
    Journey,
    LoadBalancer,
    Queue,
    Relational,
    Scale,
    Season,
    Service,
    Stack,
)
from tierline.errors import PlanError, StackError
from tierline.lineups import choose
from tierline.plan.model import Plan
from tierline.plan.resolve import resolve
from tierline.plan.scaling import checked, counts, scaled, spared
from tierline.plan.seasons import schedule, window

WORK = Queue("work")
HOME = Journey("home", "/home")


def planned(**more: Any) -> Plan:
    given: dict[str, Any] = {
        "gateway": Gateway(),
        "journeys": [HOME],
        "services": [
            Service("catalog", "c:app", expose=["/c"], scale=Scale(1, 4)),
            Service("members", "m:app", expose=["/m"]),
            Service("alone", "o:app", expose=["/o"], fuse=False, scale=Scale(1, 3)),
        ],
        **more,
    }
    return resolve(Stack("shop", **given), choose("embedded", ()))


def units(plan: Plan) -> dict[str, list[str]]:
    return {unit.id: [role.id for role in unit.roles] for unit in plan.units if unit.engine == "python"}


def called(plan: Plan, role: str, name: str) -> list[tuple[str, int]]:
    return [(each.role, each.distance) for each in plan.roles[role].upstreams[name]]


def test_journeys_come_along_with_the_services_that_they_call_in_their_process() -> None:
    made = scaled(planned(), {("catalog", "a"): 3})
    assert units(made) == {
        "apps.a": ["experience.a", "catalog.a", "members.a"],
        "apps.a-2": ["experience.a-2", "catalog.a-2"],
        "apps.a-3": ["experience.a-3", "catalog.a-3"],
        "apps.b": ["experience.b", "catalog.b", "members.b"],
        "alone.a": ["alone.a"],
        "alone.b": ["alone.b"],
    }
    assert called(made, "gateway.b", "experience") == [
        ("experience.b", 0), ("experience.a", 1), ("experience.a-2", 1), ("experience.a-3", 1),
    ]  # fmt: skip
    # What has no second instance is called over HTTP from the copies.
    assert called(made, "experience.a-2", "members") == [("members.a", 0), ("members.b", 1)]


def test_what_stands_alone_scales_alone() -> None:
    made = scaled(planned(), {("alone", "b"): 2})
    assert units(made)["alone.b-2"] == ["alone.b-2"]
    assert counts(made)[("experience", "b")] == 1


def test_scaling_there_and_back_is_the_plan_of_before() -> None:
    before = planned()
    there = scaled(before, {("catalog", "a"): 3, ("alone", "a"): 2})
    assert there != before
    assert scaled(there, {("catalog", "a"): 1, ("alone", "a"): 1}) == before
    assert scaled(there, counts(there)) == there


def test_journeys_with_a_scale_of_their_own_keep_to_it() -> None:
    made = scaled(planned(scale=Scale(1, 2)), {("catalog", "a"): 4})
    assert counts(made)[("experience", "a")] == 2
    assert units(made)["apps.a-3"] == ["catalog.a-3"], "the same name, whoever is in it"
    assert counts(scaled(planned(scale=Scale(1, 2)), {("experience", "a"): 2}))[("experience", "a")] == 2


def test_the_least_of_a_scale_is_there_from_the_beginning() -> None:
    made = planned(services=[Service("catalog", "c:app", scale=Scale(2, 4))])
    assert units(made)["apps.b-2"] == ["experience.b-2", "catalog.b-2"]


def test_a_function_that_sleeps_has_no_process() -> None:
    made = planned(functions=[Function("packer", "p:handle", WORK, scale=Scale(0, 2))])
    assert not any("packer" in id for id in units(made))
    assert [unit.id for unit in made.asleep] == ["packer.a", "packer.b"]
    woken = scaled(made, {("packer", "a"): 2})
    assert units(woken)["packer.a-2"] == ["packer.a-2"]
    assert [unit.id for unit in woken.asleep] == ["packer.b"]
    assert units(planned(functions=[Function("packer", "p:handle", WORK)]))["packer.a"] == ["packer.a"]


def test_a_number_outside_of_the_scale_is_refused() -> None:
    with pytest.raises(PlanError, match=r"Service\('catalog'\): 5 instances .* from 1 to 4"):
        checked(planned(), "catalog", 5)
    with pytest.raises(PlanError, match="the journeys: 2 instances"):
        checked(planned(), "experience", 2)
    with pytest.raises(PlanError, match="did you mean 'catalog'"):
        checked(planned(), "catalogue", 2)


REFUSED = {
    "a service that sleeps": (lambda: Service("x", "x:a", scale=Scale(0, 1)), "only functions can sleep"),
    "a function by requests": (
        lambda: Function("x", "x:f", WORK, scale=Scale(0, 1, rps=3)), "has no requests, but messages",
    ),
    "journeys by a queue": (lambda: Stack("s", scale=Scale(1, 2, queue=3)), "rps=, cpu= or latency="),
    "a season that ends first": (
        lambda: Season("x", start="2031-01-02T10:00", end="2031-01-01T10:00"), "later than start",
    ),
    "a season of two forms": (lambda: Season("x", start="2031-01-02T10:00", end="10:00"), "in the form of start"),
    "a season on days of no time": (lambda: Season("x", days=["mon"]), "times of day"),
    "no such time": (lambda: Season("x", start="soon", end="later"), "a time of day such as"),
    "no such place": (lambda: Season("x", timezone="Europe/Atlantis"), "time zone database"),
    "no such warm-up": (lambda: Season("x", warm_up=["warm"]), "'module:function'"),
    "more than there may be": (
        lambda: Stack("s", services=[Service("x", "x:a")], seasons=[Season("y", min=2, services=["x"])]),
        "the max of x's scale",
    ),
    "a season of nobody": (lambda: Stack("s", seasons=[Season("y", services=["x"])]), "a service of this stack"),
    "a resource of nobody": (lambda: Stack("s", seasons=[Season("y", warm_up=[Relational("f")])]), "that a service"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_refused(name: str) -> None:
    build, said = REFUSED[name]
    with pytest.raises(StackError, match=said):
        build()


def moment(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC)


def shown(season: Season, now: str) -> tuple[str, str]:
    found = window(season.data(), moment(now))
    return tuple(each.astimezone(datetime.UTC).isoformat()[:16] if each else "" for each in found)  # type: ignore[return-value]


def test_a_season_of_two_dates_begins_its_lead_before() -> None:
    season = Season(
        "x", start="2031-07-01T18:00", end="2031-07-02T01:00", timezone="Europe/Berlin", lead="30m"
    )
    assert shown(season, "2030-01-01") == ("2031-07-01T15:30", "2031-07-01T23:00")


def test_a_daily_season_is_the_one_that_runs_or_the_next() -> None:
    season = Season("x", start="22:00", end="02:00", days=["fri"], lead="10m")
    friday = ("2031-07-04T21:50", "2031-07-05T02:00")
    assert shown(season, "2031-07-01T00:00") == friday
    assert shown(season, "2031-07-05T01:59") == friday
    assert shown(season, "2031-07-05T02:00") == ("2031-07-11T21:50", "2031-07-12T02:00")
    assert shown(Season("x"), "2031-07-01") == ("", "")


def test_a_scheduler_is_told_the_days_that_lead_and_midnight_shift() -> None:
    season = Season(
        "x", start="00:05", end="23:00", days=["sun", "mon"], lead="10m", timezone="Asia/Tokyo"
    ).data()
    assert schedule(season) == [
        {"cron": "55 23 * * 0,6", "timezone": "Asia/Tokyo"},
        {"cron": "0 23 * * 0,1", "timezone": "Asia/Tokyo"},
    ]
    over = Season("x", start="22:00", end="02:00", days=["sat"]).data()
    assert [each["cron"] for each in schedule(over)] == ["55 21 * * 6", "0 2 * * 0"]


def test_a_balancer_in_front_knows_every_instance() -> None:
    made = scaled(
        resolve(
            Stack("s", lb=LoadBalancer(), services=[Service("x", "x:a", expose=["/"], scale=Scale(1, 3))]),
            choose("embedded", ()),
        ),
        {("x", "a"): 2, ("x", "b"): 3},
    )
    assert [name for name, _ in called(made, "lb.a", "x")] == ["x.a", "x.a-2", "x.b", "x.b-2", "x.b-3"]


def test_nobody_sends_to_what_is_spared_and_what_is_alone_cannot_be() -> None:
    plan = planned()
    found = spared(plan, frozenset({"alone.a"}))
    assert found is not None
    assert called(found, "gateway.a", "alone") == [("alone.b", 1)]
    assert spared(planned(zones=["a"]), frozenset({"alone.a"})) is None


def test_the_plan_shows_what_sleeps() -> None:
    from tierline.plan.show import text

    made = planned(functions=[Function("packer", "p:handle", WORK, scale=Scale(0, 2))])
    assert "asleep  packer: no process until a message waits" in text(made, {})
