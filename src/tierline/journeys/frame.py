"""What a request carries along while its parts run: its deadline and the calls that it has made."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

import msgspec


class Frame(msgspec.Struct):
    """`deadline` is a time of the event loop's clock; `shared` is the same for all parts of one request."""

    deadline: float
    shared: dict[Any, Any]


frame: ContextVar[Frame | None] = ContextVar("tierline_frame", default=None)
