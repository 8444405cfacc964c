"""experience.journeys: the journeys' own engine, in a Python process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tierline.engines.context import Context
from tierline.engines.python.config import App, Journeys
from tierline.plan.model import Role, Upstream
from tierline.tiers.base import System


class JourneysExperience(System):
    title = "tierline journeys"
    engine = "python"
    levels = frozenset({"runs"})
    endpoints = {"http": "http"}

    def believes_line(self, settings: Mapping[str, Any]) -> bool:
        return True

    def contribute(self, role: Role, context: Context) -> Journeys:
        host, port = context.address(role.id, "http")
        services = {
            name: tuple((_url(context, target), target.distance) for target in targets)
            for name, targets in role.upstreams.items()
        }
        environment = {variable: context.text(text) for variable, text in role.environment.items()}
        app = App(
            name="experience", kind="journeys", host=host, port=port, env=environment, drain=role.settings["drain"]
        )  # fmt: skip
        return Journeys(app=app, services=services)


def _url(context: Context, target: Upstream) -> str:
    host, port = context.address(target.role, target.endpoint)
    return f"http://{host}:{port}"
