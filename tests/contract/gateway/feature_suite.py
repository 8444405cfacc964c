"""What the gateway's suites share: a line with one gateway, the way to name a feature that a system lacks, and
refusals told apart."""

from __future__ import annotations

import contextlib
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from edge import Line

from tierline import Stack
from tierline.engines.envoy import shared_limits
from tierline.tiers.base import system
from waiting import PATIENCE


class Contract:
    """Inherit it, name the system, and say the stack."""

    system: ClassVar[str] = ""
    zones: ClassVar[str] = "a"
    """Those that run, of the stack's."""
    counter_ms: ClassVar[int] = int(PATIENCE * 1000)
    """How long the limits' counter may take: what is counted here is exact, however slow the machine is."""
    line: ClassVar[Line]
    client: ClassVar[httpx.Client]

    @classmethod
    def stack(cls) -> Stack:
        raise NotImplementedError

    @classmethod
    def prepare(cls, root: Path) -> Callable[[], None] | None:
        """What must be there before the line is; what ends it."""

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def running(cls) -> Iterator[None]:
        root = Path(tempfile.mkdtemp(prefix="tierline-edge-"))
        with contextlib.ExitStack() as ends, pytest.MonkeyPatch.context() as patch:
            if (end := cls.prepare(root)) is not None:
                ends.callback(end)
            cls.line = Line(cls.stack(), "gateway", {"gateway": cls.system}, root, zones=cls.zones)
            ends.callback(cls.line.close)
            patch.setattr(shared_limits, "DEADLINE_MS", cls.counter_ms)
            cls.line.start()
            with httpx.Client(base_url=cls.line.url(), trust_env=False, timeout=PATIENCE) as client:
                cls.client = client
                yield

    def asks(self, feature: str) -> None:
        """A feature that the system declares to lack is an expected failure by its name, told by the plan."""
        provider = system("gateway", self.system)
        if feature not in provider.supports:
            assert provider.lacks.get(feature), f"{provider.title} neither supports nor lacks {feature}"
            assert feature in {loss.feature for loss in self.line.plan.losses}
            pytest.xfail(f"gateway.{self.system} lacks {feature}: {provider.lacks[feature]}")

    def get(self, path: str, **headers: str) -> httpx.Response:
        return self.client.get(path, headers={name.replace("_", "-"): v for name, v in headers.items()})

    def arrived(self, answer: httpx.Response) -> dict[str, Any]:
        """What reached the service."""
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def refused(self, answer: httpx.Response, status: int) -> dict[str, Any]:
        """A problem document (RFC 9457), and nothing reached a service."""
        assert answer.status_code == status, answer.text
        assert "x-role" not in answer.headers
        assert answer.headers["content-type"].partition(";")[0] == "application/problem+json"
        found: dict[str, Any] = answer.json()
        assert found["status"] == status and found["title"] and found["type"]
        assert re.fullmatch("[0-9a-f]{32}", found["trace_id"])
        return found
