"""feature.function on workers: a Python process that pulls messages and calls the handler."""

from __future__ import annotations

from tierline.engines.context import Context
from tierline.engines.python.config import App
from tierline.plan.model import Role
from tierline.tiers.base import System


class WorkerFunction(System):
    title = "function workers"
    engine = "python"
    levels = frozenset({"runs"})
    endpoints = {"http": "http"}

    def contribute(self, role: Role, context: Context) -> App:
        host, port = context.address(role.id, "http")
        environment = {variable: context.text(text) for variable, text in role.environment.items()}
        settings = role.settings
        return App(
            name=role.name,
            kind="function",
            target=settings["handler"],
            host=host,
            port=port,
            env=environment,
            source=settings["on"]["name"],
            source_kind=settings["on"]["kind"],
            batch=settings["batch"],
            timeout=settings["timeout"],
        )
