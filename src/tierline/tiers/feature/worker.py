"""feature.function on workers: a Python process that pulls messages and calls the handler."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tierline.engines.context import Context
from tierline.engines.python.config import App
from tierline.plan.model import Role
from tierline.tiers.base import System


def attempts(settings: Mapping[str, Any]) -> int:
    """How often a message is delivered to a function before it is set aside."""
    if settings["retries"] is not None:
        return int(settings["retries"]) + 1
    return int(settings["on"].get("dead_letter_after", 5))


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
            concurrency=settings["concurrency"],
            attempts=attempts(settings),
            backoff=settings["backoff"],
            memory=settings["memory"] or 0,
        )
