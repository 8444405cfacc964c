"""A tier that a stack leaves out is not there, and the line closes up over it."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from tierline import (
    CDN,
    DNS,
    Cache,
    Gateway,
    HTTPCache,
    Journey,
    LoadBalancer,
    Relational,
    Service,
    Sessions,
    Stack,
)
from tierline.errors import PlanError, StackError
from tierline.lineups import choose
from tierline.plan.model import Plan
from tierline.plan.resolve import resolve

TIERS: dict[str, Any] = {
    "dns": DNS("shop.test"),
    "cdn": CDN(assets="web", places=["eu-west-1", "us-east-1"]),
    "lb": LoadBalancer(),
    "cache": HTTPCache(),
    "gateway": Gateway(),
}
SUBSETS = [set(each) for n in range(len(TIERS) + 1) for each in itertools.combinations(TIERS, n)]
HOME = Journey("home", "/home")
GOODS = Service("goods", "goods:app", uses=[Relational("stock", replicas=1)], expose=["/goods"])
ORDERS = Service("orders", "orders:app", uses=[GOODS, Cache("hot")], expose=["/orders"])
HIDDEN = Service("hidden", "hidden:app")


def plan(there: set[str], journeys: bool = True, services: bool = True, **more: Any) -> Plan:
    tiers = {tier: TIERS[tier] for tier in there}
    stack = Stack(
        "shop",
        **tiers,
        journeys=[HOME] if journeys else [],
        services=[GOODS, ORDERS, HIDDEN] if services else [],
        **more,
    )
    return resolve(stack, choose("embedded"))


def names(plan: Plan, role: str) -> set[str]:
    """Whom a role sends requests to."""
    return set(plan.roles[role].upstreams)


@pytest.mark.parametrize("there", SUBSETS, ids=lambda there: "+".join(sorted(there)) or "nothing")
@pytest.mark.parametrize("journeys", [True, False], ids=["journeys", "services"])
def test_every_tier_sends_to_the_next_one_there_is(there: set[str], journeys: bool) -> None:
    made = plan(there, journeys)
    path = [tier for tier in ("cdn", "lb", "cache", "gateway") if tier in there]
    behind = {"goods", "orders"} | ({"experience"} if journeys else set())
    for tier, following in itertools.pairwise([*path, None]):
        for role in (role for role in made.roles.values() if role.name == tier):
            assert set(role.upstreams) - {"assets"} == ({following} if following else behind)
    entry = path[0] if path else "experience" if journeys else "goods"
    assert {made.roles[role].name for role in made.entry} == {entry}
    if "dns" in there:
        assert names(made, "dns") == {entry}
    assert {role.tier for role in made.roles.values()} >= there
    if "cdn" not in there:
        assert "assets" not in {role.name for role in made.roles.values()}


@pytest.mark.parametrize("there", SUBSETS, ids=lambda there: "+".join(sorted(there)) or "nothing")
@pytest.mark.parametrize("journeys", [True, False], ids=["journeys", "services"])
def test_whoever_is_sent_to_is_there_and_nobody_sends_in_a_circle(there: set[str], journeys: bool) -> None:
    made = plan(there, journeys)
    roles = made.roles

    def visit(role: str, path: tuple[str, ...]) -> None:
        assert role not in path, " → ".join((*path, role))
        for upstreams in roles[role].upstreams.values():
            assert upstreams, f"{role} has nobody to send to"
            for upstream in upstreams:
                target = roles[upstream.role]
                assert upstream.endpoint in {endpoint.name for endpoint in target.endpoints}
                visit(upstream.role, (*path, role))

    for role in roles:
        visit(role, ())
    for role in roles.values():
        assert set(role.needs) <= set(roles)
    assert sorted(roles) == sorted(each.id for unit in made.units for each in unit.roles)


def test_the_nearest_come_first_own_zone_then_others_then_regions() -> None:
    made = plan(set(TIERS))
    assert [(u.role, u.distance) for u in made.roles["cache.a"].upstreams["gateway"]] == [
        ("gateway.a", 0),
        ("gateway.b", 1),
    ]
    assert [(u.role, u.distance) for u in made.roles["cache.b"].upstreams["gateway"]] == [
        ("gateway.b", 0),
        ("gateway.a", 1),
    ]
    assert {u.distance for u in made.roles["cdn.us-east-1"].upstreams["lb"]} == {2}


def test_a_service_is_reached_by_who_uses_it_and_by_journeys_only_when_it_is_not_exposed() -> None:
    made = plan(set(TIERS))
    assert "hidden" not in names(made, "gateway.a")
    assert names(made, "experience.a") == {"goods", "orders", "hidden"}
    assert names(made, "orders.a") == {"goods"}


def test_what_nobody_can_reach_is_noted_before_anything_starts() -> None:
    assert plan(set(TIERS), journeys=False).notes == (
        "nothing calls hidden: no expose=, no journey and no other service uses it",
    )
    assert plan(set(TIERS)).notes == ()


def test_a_line_with_nothing_behind_it_says_so() -> None:
    made = plan({"gateway"}, journeys=False, services=False)
    assert made.notes == ("the stack has no services and no journeys: every request ends in 404",)


def test_without_a_gateway_only_one_of_several_is_reached_and_that_is_noted() -> None:
    (note,) = (note for note in plan({"lb"}, journeys=False).notes if "gateway" in note)
    assert note == "without a gateway every request goes to goods: clients don't reach orders"
    (note,) = (note for note in plan({"cdn", "lb"}).notes if "gateway" in note)
    assert note == "without a gateway every request goes to experience: clients don't reach goods, orders"


def test_an_instance_per_zone_and_as_many_as_the_scale_asks() -> None:
    from tierline import Scale

    stack = Stack("shop", services=[Service("s", "s:app", scale=Scale(2, 4))], zones=["a", "b", "c"])
    made = resolve(stack, choose("embedded"))
    assert [role for role in made.roles if role.startswith("s.")] == [
        "s.a", "s.a-2", "s.b", "s.b-2", "s.c", "s.c-2",
    ]  # fmt: skip


def test_replicas_stand_in_other_zones_than_their_primary() -> None:
    made = plan(set(TIERS))
    assert made.roles["stock.primary"].zone == "a"
    assert made.roles["stock.replica-1"].zone == "b"


def test_a_tier_with_nothing_behind_it_is_refused_and_one_service_needs_no_expose() -> None:
    with pytest.raises(
        PlanError, match=r"Stack\('alone'\): nothing is behind lb that answers requests: add a service"
    ):
        resolve(Stack("alone", lb=LoadBalancer()), choose("embedded"))
    plan = resolve(
        Stack("one", lb=LoadBalancer(), services=[Service("who", "who:app")], zones=["a"]), choose("embedded")
    )
    assert list(plan.roles["lb.a"].upstreams) == ["who"]
    assert plan.notes == ()


def test_a_journey_that_cannot_be_answered_is_refused_before_anything_starts() -> None:
    odd = Journey("odd", "/odd")

    @odd.part
    async def goods_of(god) -> int:  # type: ignore[no-untyped-def]
        return 1

    stack = Stack("odd", gateway=Gateway(), journeys=[odd], services=[Service("goods", "goods:app")])
    with pytest.raises(
        StackError, match=r"part 'goods_of' needs 'god'.* did you mean 'goods'\?.*test_closing_up.py:\d+"
    ):
        resolve(stack, choose("embedded"))


def test_journeys_that_remember_something_without_sessions_are_told() -> None:
    """An effect would be done twice by two processes that know nothing of each other."""
    pay, cart, read, steps = (Journey(n, f"/{n}", methods=["POST"]) for n in ("pay", "cart", "read", "steps"))

    @pay.effect
    async def payment(orders) -> int:
        return 1

    @cart.part
    def added(session) -> int:
        return 1

    @read.part
    def seen(body: int) -> int:
        return body

    @steps.part
    def step() -> int:
        return 1

    steps.step("buy")
    for uses, named in (((), True), ((Sessions("session"),), False)):
        services = [Service("orders", "orders:app", uses=list(uses), expose=["/orders"])]
        stack = Stack("shop", journeys=[pay, cart, read, steps], services=services)
        told = [note for note in resolve(stack, choose("embedded")).notes if "Sessions" in note]
        assert len(told) == named
        assert not named or "(pay, cart, steps:" in told[0]
