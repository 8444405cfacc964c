"""Every shape of a stack, in every lineup, is planned and written for its engines, or refused in one sentence."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tierline import (
    CDN,
    DNS,
    Bucket,
    Function,
    Gateway,
    HTTPCache,
    Journey,
    LoadBalancer,
    Mail,
    Queue,
    Relational,
    Service,
    Stack,
)  # fmt: skip
from tierline.errors import PlanError
from tierline.lineups import LINEUPS, choose
from tierline.plan.model import Plan
from tierline.plan.resolve import resolve
from tierline.plan.show import picture, text
from tierline.run.addresses import Addresses
from tierline.run.context import LocalContext
from tierline.run.line import ordered, processes
from tierline.run.state import State

HOME = Journey("home", "/home")


@HOME.part
async def greeting() -> str:
    return "hello"


_STORES = (Relational("stock", replicas=1), Bucket("files"), Mail("inbox"))
APPS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "journeys": {"journeys": (HOME,)},
    "exposed": {"services": (Service("web", "web:app", uses=_STORES, expose=["/"]),)},
    "hidden": {"services": (Service("web", "web:app"),)},
    "function": {"functions": (Function("job", "job:run", on=Queue("jobs")),)},
}
TIERS: dict[str, tuple[Any, ...]] = {
    "dns": (None, DNS("shop.test")),
    "cdn": (None, CDN(), CDN(assets="web", places=["eu-west-1", "us-east-1"])),
    "lb": (None, LoadBalancer()),
    "cache": (None, HTTPCache()),
    "gateway": (None, Gateway()),
}
LOCAL = sorted(set(LINEUPS) - {"aws"})


def shapes(apps: dict[str, Any]) -> Iterator[Stack]:
    for values in itertools.product(*TIERS.values()):
        yield Stack("shop", **dict(zip(TIERS, values, strict=True)), **apps, zones=("a",))


def written(plan: Plan, folder: Path) -> None:
    """The plan, shown, and everything that its engines get."""
    assert text(plan, {})
    assert picture(plan)
    keys = [(role.id, endpoint.name) for role in plan.roles.values() for endpoint in role.endpoints]
    addresses = Addresses({key: ("127.0.0.1", 20000 + number) for number, key in enumerate(keys)})
    assert ordered(plan, processes(plan, LocalContext(plan, State(folder / "stack.py"), addresses)))


@pytest.mark.parametrize("apps", APPS)
@pytest.mark.parametrize("lineup", LOCAL)
def test_every_shape_is_planned_and_written_or_refused_in_one_sentence(
    lineup: str, apps: str, tmp_path: Path
) -> None:
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "site.css").write_text("body {}")
    (tmp_path / ".tierline").mkdir()
    planned = 0
    for stack in shapes(APPS[apps]):
        try:
            plan = resolve(stack, choose(lineup, ()))
        except PlanError as error:
            assert str(error).startswith("Stack('shop'): ")
            assert "\n" not in str(error)
        else:
            planned += 1
            written(plan, tmp_path)  # what can't be is refused before
    assert planned


@pytest.mark.parametrize("apps", [name for name in APPS if name != "function"])
def test_every_shape_is_planned_for_the_cloud_or_refused_in_one_sentence(apps: str) -> None:
    for stack in shapes(APPS[apps]):
        try:
            assert text(resolve(stack, choose("aws", ())), {})
        except PlanError as error:
            assert "\n" not in str(error)


def test_files_and_mail_alone_are_nothing_that_answers_requests() -> None:
    for more in ({"cdn": CDN(assets="web")}, {"cdn": CDN(assets="web"), "lb": LoadBalancer()}):
        with pytest.raises(PlanError, match="that answers requests: add a service"):
            resolve(Stack("shop", **more), choose("embedded"))
