"""The places of the streaming suite: one tier alone, with the suite's own server behind it."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any, ClassVar

from streaming_app import Origin
from streaming_suite import Place, StreamingContract

sys.path.insert(0, str(Path(__file__).parent / "cache"))

from tierline import Gateway, LoadBalancer, Service, Stack
from tierline.tiers.base import system


class TierStreaming(StreamingContract):
    """A system of a tier."""

    tier: ClassVar[str] = ""
    system: ClassVar[str] = ""

    def __init_subclass__(cls) -> None:
        if cls.system:
            cls.lacks = system(cls.tier, cls.system).lacks

    @classmethod
    def make(cls) -> Place:
        return (
            _behind_clients(cls.tier, cls.system)
            if cls.tier in ("cache", "cdn")
            else _edge(cls.tier, cls.system)
        )


def _edge(tier: str, name: str) -> Place:
    from edge import Line

    quic = tier == "lb" and "http3" in system(tier, name).supports
    intents: dict[str, Any] = {"lb": LoadBalancer(http3=quic)} if tier == "lb" else {"gateway": Gateway()}
    stack = Stack("streams", services=[Service("web", "app:app", expose=["/"])], zones=["a"], **intents)
    line = Line(stack, tier, {tier: name})
    line.upstreams.close()
    line.upstreams = Origin()  # type: ignore[assignment]
    line.start()
    secure = line.address(endpoint="https") if tier == "lb" else None
    return Place(
        line.address(),
        secure,
        h2c=tier == "gateway" and getattr(system(tier, name), "h2c", False),
        quic=secure if quic else None,
        close=line.close,
    )


def _behind_clients(tier: str, name: str) -> Place:
    from cache_line import Line

    origin = Origin()
    port = origin.start("origin", "127.0.0.1", 0)
    line = Line(tier, name, port, Path(tempfile.mkdtemp(prefix="tierline-streams-")) / "line")
    line.state.root.parent.chmod(0o711)
    line.start()

    def close() -> None:
        line.stop()
        origin.close()

    secure = line.context.address(line.roles[0].id, "https") if tier == "cdn" else None
    return Place(line.address, secure, "cache.test", close=close)
