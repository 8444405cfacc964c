"""How long what arrives waits."""

from __future__ import annotations

import random


class Pace:
    """Seconds, give or take the jitter."""

    def __init__(self) -> None:
        self.seconds = self.jitter = 0.0

    def draw(self) -> float:
        return max(0.0, self.seconds + self.jitter * random.uniform(-1, 1))  # noqa: S311
