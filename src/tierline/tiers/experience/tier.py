"""Experience layer: journeys that answer a screen with one request."""

from __future__ import annotations

from typing import Any

from tierline.intent import Intent, setting


class Experience(Intent):
    """The journeys of a stack. Built by `Stack(journeys=[…])`."""

    journeys: tuple[Any, ...] = setting("The journeys.", default=())
