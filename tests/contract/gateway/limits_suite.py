"""What every gateway does with its budget (plan/budgets.py): it refuses what is beyond, names limit and setting, and its hop
says so. The budget is small, so that nothing has to wait."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from edge import Line

from tierline import Gateway, Route, Service, Stack
from waiting import eventually

TRACE = "6bf92f3577b34da6a3ce929d0e0e4736"


def stack() -> Stack:
    return Stack(
        "limits",
        gateway=Gateway(
            timeout="2s", idle_timeout="4s", max_body="64KiB", max_url="4KiB", retries=2,
            routes=[
                Route("/soon", to="web", timeout="500ms"), Route("/little", to="web", max_body="1KiB"),
                Route("/ends", to="web", max_duration="1s"),
            ],
        ),
        services=[Service("web", "app:app", expose=["/"]), Service("own", "own:app", expose=["/own"], max_body="2KiB")],
        zones=["a"],
    )  # fmt: skip


class LimitsContract:
    """Inherit it and name the system."""

    system: ClassVar[str] = ""
    one_body: ClassVar[bool] = False
    """Whether all routes have the same largest body: a loss of the plan."""
    line: ClassVar[Line]
    client: ClassVar[httpx.Client]

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def running(cls) -> Iterator[None]:
        cls.line = Line(stack(), "gateway", {"gateway": cls.system}).start()
        cls.client = httpx.Client(base_url=cls.line.url(), timeout=30, trust_env=False)
        eventually(lambda: cls.client.get("/").status_code == 200)
        yield
        cls.client.close()
        cls.line.close()

    def ask(
        self, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[httpx.Response, dict[str, Any]]:
        """An answer, and what its hop says."""
        trace = f"{TRACE[:24]}{time.monotonic_ns() & 0xFFFFFFFF:08x}"
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = self.client.request(
            "GET" if body is None else "POST", path, content=body,
            headers={**named, "traceparent": f"00-{trace}-00f067aa0ba902b7-01"},
        )  # fmt: skip
        (hop,) = self.line.hops(trace)
        return answer, {"verdict": hop.verdict, "policy": hop.attributes.get("tierline.policy", "")}

    def refused(self, answer: httpx.Response, status: int, why: str) -> None:
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == status
        assert why in answer.json()["detail"]

    @pytest.mark.parametrize(
        ("path", "size", "why"),
        [
            ("/x", 64 << 10, "body larger than Gateway.max_body = 64 KiB"),
            ("/little/x", 1 << 10, "body larger than Route.max_body = 1 KiB"),
            ("/own/x", 2 << 10, "body larger than Service.max_body = 2 KiB"),
        ],
    )
    def test_a_body_above_the_limit_of_its_path(self, path: str, size: int, why: str) -> None:
        if self.one_body and "Gateway" not in why:
            pytest.xfail(f"gateway.{self.system} has one largest body for all routes")
        assert self.client.post(path, content=b"x" * size).status_code == 200
        answer, hop = self.ask(path, b"x" * (size + 1))
        self.refused(answer, 413, why)
        assert hop == {"verdict": "refused: too large", "policy": "max_body"}

    @pytest.mark.parametrize(
        ("path", "why"), [("/x", "Gateway.timeout = 2 s"), ("/soon/x", "Route.timeout = 500 ms")]
    )
    @pytest.mark.parametrize("body", [None, b"x"])
    def test_no_answer_in_time_is_said_once(self, path: str, why: str, body: bytes | None) -> None:
        before = len(self.line.upstreams.seen)
        answer, hop = self.ask(path, body, x_test_sleep="20")
        self.refused(answer, 504, f"no answer within {why}")
        assert hop == {"verdict": "upstream too slow", "policy": "timeout"}
        assert len(self.line.upstreams.seen) == before + 1, "what takes long is asked for once"

    def test_what_it_cannot_hold_is_a_loss(self) -> None:
        lost = {loss.feature for loss in self.line.plan.losses}
        assert ("max_body" in lost) == self.one_body

    def test_an_answer_of_32_kib_of_fields_passes(self) -> None:
        answer = self.client.get("/x", headers={"x-test-header": f"x-large: {'x' * 24_000}"})
        assert (answer.status_code, len(answer.headers["x-large"])) == (200, 24_000)

    def test_a_long_request_line_passes_and_one_beyond_the_limit_is_refused(self) -> None:
        assert self.client.get(f"/x?{'q' * 4000}").status_code == 200
        answer = self.client.get(f"/x?{'q' * 60_000}")
        assert answer.status_code in (400, 414, 431), answer.text
        assert not [each for each in self.line.upstreams.seen if len(each.path) > 50_000]
