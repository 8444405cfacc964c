"""feature.service on processes: ASGI and WSGI applications share Python processes, commands have their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tierline.engines.context import Context
from tierline.engines.python.config import App
from tierline.plan.model import Role
from tierline.tiers.base import System


class ProcessService(System):
    title = "processes"
    engine = "python"
    levels = frozenset({"runs"})
    endpoints = {"http": "http"}

    def believes_line(self, settings: Mapping[str, Any]) -> bool:
        return not settings.get("command")

    def contribute(self, role: Role, context: Context) -> App:
        host, port = context.address(role.id, "http")
        environment = {variable: context.text(text) for variable, text in role.environment.items()}
        settings = role.settings
        return App(
            name=role.name,
            kind="command" if settings["command"] else settings["interface"],
            target=settings["app"] or "",
            command=tuple(settings["command"]),
            host=host,
            port=port,
            health=settings["health"],
            drain=settings["drain"],
            # The tier in front comes from there: uvicorn, gunicorn and hypercorn believe its X-Forwarded fields.
            env={"FORWARDED_ALLOW_IPS": "127.0.0.1", **environment, "PORT": str(port), "HOST": host},
        )
