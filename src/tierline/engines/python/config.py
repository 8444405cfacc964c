"""What a Python process of the line is told: which applications it serves, where, and with which environment."""

from __future__ import annotations

from typing import Literal

import msgspec


class App(msgspec.Struct, kw_only=True, frozen=True):
    """One application of a process. A role's fragment."""

    name: str
    kind: Literal["asgi", "wsgi", "journeys", "function", "command"]
    host: str
    port: int
    target: str = ""
    """`module:attribute`."""
    command: tuple[str, ...] = ()
    health: str = "/health"
    env: dict[str, str] = {}
    source: str = ""
    """For a function: the queue, topic or stream."""
    source_kind: str = ""
    batch: int = 1
    concurrency: int = 1
    attempts: int = 5
    """Deliveries after which a message is set aside."""
    backoff: float = 1.0
    memory: int = 0
    """Bytes that a handler's process may take; 0: as many as there are."""
    timeout: float = 30.0
    drain: float = 10.0
    """Seconds for what it is answering when a successor takes over, or it is removed."""


class Config(msgspec.Struct, kw_only=True, frozen=True):
    """The whole configuration file of `python -m tierline.engines.python`."""

    unit: str
    region: str
    zone: str
    project: str
    stack: str
    hops: str
    apps: tuple[App, ...]
    services: str = ""
    """File with a Services document, whom the applications of this process call: the one thing that can change while
    it runs (SIGHUP)."""
    proof: str = ""
    """What the line's tiers show, and nobody else knows (engines/forwarded.py)."""
    events_key: str = ""
    """With which sessions are made pseudonyms in events."""
    resources: dict[str, tuple[str, str]] = {}
    """`host:port` → the role that listens there and its system: a hop can say which replica answered."""


Services = dict[str, tuple[tuple[str, int], ...]]
"""(URL, distance) of each service's instances, nearest first."""


class Journeys(msgspec.Struct, kw_only=True, frozen=True):
    """The fragment of a journeys role: the application, and whom it calls."""

    app: App
    services: Services
