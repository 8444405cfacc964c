"""What an application may import to use its neighbours and resources. It never has to: all of it is in its environment.

from tierline.resources import resource, service

catalog = service("catalog")
films = resource("films")

async def title(id: int) -> str:
    return (await catalog.get("/films/{id}", id=id)).json()["title"]
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tierline.resources.calling import Handle, service
    from tierline.resources.variables import Resource, resource

__all__ = ["Handle", "Resource", "resource", "service"]

_LATE = {"Handle": "calling", "Resource": "variables", "resource": "variables", "service": "calling"}


def __getattr__(name: str) -> object:
    import importlib

    if name not in _LATE:
        raise AttributeError(f"module 'tierline.resources' has no attribute {name!r}")
    return getattr(importlib.import_module(f"tierline.resources.{_LATE[name]}"), name)
