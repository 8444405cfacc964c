"""The experience layer's engine: journeys of a user, answered as one request each.

`Journey`, `Cache` and what parts may raise come at once; what runs or generates is imported when used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tierline.journeys.fault import (
    BadInput,
    Conflict,
    DeadlineExceeded,
    Forbidden,
    JourneyError,
    NotFound,
    ServiceError,
    Unauthorized,
)
from tierline.journeys.journey import Journey
from tierline.journeys.markup import HTML, Slot
from tierline.journeys.policy import Bulkhead, Cache

if TYPE_CHECKING:
    from tierline.journeys.batch import Batch
    from tierline.journeys.building import build
    from tierline.journeys.dimensions import Dimension, dimension
    from tierline.journeys.entity import Entities, entities
    from tierline.journeys.explaining import explain
    from tierline.journeys.http import HTTP
    from tierline.journeys.inprocess import InProcess
    from tierline.journeys.inputs import Query
    from tierline.journeys.live import Event
    from tierline.journeys.paging import Cursor, Page, page
    from tierline.journeys.passage import Passage
    from tierline.journeys.reply import Cookie, Reply
    from tierline.journeys.request import Request
    from tierline.journeys.service import Call, ServiceClient, ServiceReply, Transport
    from tierline.journeys.session import Session, SessionStore
    from tierline.journeys.store import MemoryStore, RedisStore

_LATE = {
    "Batch": "batch",
    "Call": "service",
    "Cursor": "paging",
    "Dimension": "dimensions",
    "Entities": "entity",
    "Event": "live",
    "HTTP": "http",
    "InProcess": "inprocess",
    "MemoryStore": "store",
    "Page": "paging",
    "Passage": "passage",
    "Query": "inputs",
    "RedisStore": "store",
    "Cookie": "reply",
    "Reply": "reply",
    "ServiceReply": "service",
    "Request": "request",
    "ServiceClient": "service",
    "Session": "session",
    "SessionStore": "session",
    "Transport": "service",
    "build": "building",
    "dimension": "dimensions",
    "entities": "entity",
    "explain": "explaining",
    "page": "paging",
}

__all__ = [
    "HTML",
    "HTTP",
    "BadInput",
    "Batch",
    "Bulkhead",
    "Cache",
    "Call",
    "Conflict",
    "Cookie",
    "Cursor",
    "DeadlineExceeded",
    "Dimension",
    "Entities",
    "Event",
    "Forbidden",
    "InProcess",
    "Journey",
    "JourneyError",
    "MemoryStore",
    "NotFound",
    "Page",
    "Passage",
    "Query",
    "RedisStore",
    "Reply",
    "Request",
    "ServiceClient",
    "ServiceError",
    "ServiceReply",
    "Session",
    "SessionStore",
    "Slot",
    "Transport",
    "Unauthorized",
    "build",
    "dimension",
    "entities",
    "explain",
    "page",
]


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(f"{__name__}.{_LATE[name]}"), name)
    globals()[name] = value
    return value
