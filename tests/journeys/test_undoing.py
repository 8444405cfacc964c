"""Compensations that fail: nothing is done on top of an effect of which nobody knows whether it still holds."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from counted import Counted, counted, within
from serving import granian

from tierline.journeys import Journey
from tierline.journeys.testing import Outcome


@pytest.fixture(scope="module")
def service() -> Iterator[Counted]:
    with granian("counting:app") as address, counted(address) as found:
        yield found


def checkout() -> Journey:
    buy = Journey("buy", "/buy", methods=["POST"], deadline="500ms")

    @buy.effect
    async def payment(shop) -> dict[str, str]:
        return (await shop.post("/payments")).json()

    @buy.effect(forward_errors=402)
    async def order(payment: dict[str, str], shop) -> dict[str, str]:
        return (await shop.post("/orders")).json()

    @buy.compensate("payment")
    async def refund(payment: dict[str, str], shop) -> None:
        await shop.post("/refunds")

    return buy


def visits(shop: Counted, *manners: dict[str, list[dict[str, Any]]]) -> list[tuple[Outcome, dict[str, int]]]:
    """The same request with the same key, once for each of these manners of the service; what was asked each time."""
    app = shop.build(checkout())
    found = []

    async def main() -> None:
        try:
            for manner in manners:
                shop.set(manner)
                outcome = await shop.asks(app, "/buy", method="POST", headers={"idempotency-key": "k"})
                await asyncio.gather(*app.engine.writing, return_exceptions=True)
                found.append((outcome, shop.asked()))
        finally:
            await app.stop()

    within(main())
    return found


SOLD_OUT = {"/orders": [{"status": 409}]}


@pytest.mark.parametrize("unclear", [{"status": 500}, {"status": 503}, {"ms": 60_000}])
def test_an_unclear_refund_is_made_sure_of_before_anything_else(
    service: Counted, unclear: dict[str, Any]
) -> None:
    (first, _), (second, asked), (third, at_last), (again, nothing) = visits(
        service,
        {**SOLD_OUT, "/refunds": [unclear]},
        {"/refunds": [{"status": 500}]},
        {},
        {},
    )
    assert first.status in (409, 504)
    assert second.status == 503 and second.headers["retry-after"] == "5" and second.problem
    assert second.problem["type"].endswith("not-undone") and second.problem["effects"] == ["payment"]
    assert asked == {"POST /refunds": 1}, "no order on top of a payment that may have been refunded"
    assert third.status == 200
    assert at_last == {"POST /refunds": 1, "POST /payments": 1, "POST /orders": 1}
    assert again.status == 200 and again.body == third.body and nothing == {}


def test_a_refund_that_is_clearly_refused_leaves_the_payment(service: Counted) -> None:
    (first, _), (second, asked) = visits(service, {**SOLD_OUT, "/refunds": [{"status": 403}]}, {})
    assert first.status == 409 and first.problem and first.problem["effects"] == ["payment"]
    assert second.status == 200 and asked == {"POST /orders": 1}


def test_what_is_being_undone_is_told_as_such(service: Counted) -> None:
    ((first, _),) = visits(service, {**SOLD_OUT, "/refunds": [{"ms": 60_000}]})
    assert first.status == 504 and first.problem
    assert "are still being undone" in first.problem["detail"] and "'order' failed" in first.problem["detail"]


def test_a_forwarded_refusal_keeps_its_status(service: Counted) -> None:
    declined = {"/orders": [{"status": 402, "body": {"detail": "card declined", "secret": "hunter2"}}]}
    ((outcome, asked),) = visits(service, declined)
    assert outcome.status == 402 and outcome.problem
    assert (
        outcome.problem["type"].endswith("service-refused") and "card declined" in outcome.problem["detail"]
    )
    assert "hunter2" not in str(outcome.body) and asked["POST /refunds"] == 1
