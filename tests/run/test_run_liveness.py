"""Processes that run and answer nothing: shown, left out by those in front, restarted; each engine in its tier."""

from __future__ import annotations

import contextlib
import os
import signal
import ssl
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from waiting import PATIENCE, expires, never
from workbench import Bench, eventually, of, run

STACK = f"""
from tierline import *
stack = Stack(
    "alive", zones=["a", "b"], hang_after="3s", DNS cdn=CDN(), lb=LoadBalancer(), cache=HTTPCache(), gateway=Gateway(),
    services=[
        Service("good", "good:app", expose=["/"], USES),
        Service("cmd", command=[{sys.executable!r}, "cmd.py"], expose=["/cmd"]),
    ],
)
"""
GOOD = """
import time

async def app(scope, receive, send):
    if scope["path"] == "/block":
        time.sleep(60)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"cache-control", b"no-store")]})
    await send({"type": "http.response.body", "body": b"good"})
"""
CMD = """
import http.server, os

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

http.server.ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
"""


class Hanging:
    """Inherit it and name the systems, and the processes that hang in turn."""

    uses: ClassVar[tuple[str, ...]]
    dns: ClassVar[str] = ""
    resources: ClassVar[str] = ""
    bench: ClassVar[Bench]

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def running(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
        stack = STACK.replace("DNS", cls.dns).replace("USES", cls.resources)
        cls.bench = Bench(tmp_path_factory.mktemp("alive"), stack, {"good": GOOD, "cmd": CMD})
        cls.bench.up(*(word for use in cls.uses for word in ("--use", use)))
        yield
        cls.bench.close()

    def ask(self, path: str = "/x", timeout: float = 30) -> int:
        url = self.bench.status()["urls"]["https"].rstrip("/") + path
        try:
            with urllib.request.urlopen(
                url, context=ssl._create_unverified_context(), timeout=timeout
            ) as got:
                return int(got.status)
        except urllib.error.HTTPError as refused:
            return refused.code

    def events(self, what: str, name: str) -> int:
        log = (self.bench.state / "logs/events.log").read_text().splitlines()
        return sum(f" {what} {name}:" in line for line in log)

    def phase(self, name: str) -> str:
        return str(self.bench.process(name)["phase"])

    def stopped(self, name: str) -> dict[str, Any]:
        process = self.bench.process(name)
        os.killpg(process["pid"], signal.SIGSTOP)
        return process

    def again(self, name: str, pid: int) -> bool:
        found = self.bench.process(name)
        return found["phase"] == "ready" and found["pid"] != pid

    def served(self) -> None:
        """What was told has taken effect: a worker that is replaced may still have taken a request to what hangs, where it waits
        as long as its client does."""

        def all_answered() -> bool:
            try:
                return [self.ask(timeout=PATIENCE / 9) for _ in range(8)] == [200] * 8
            except OSError:
                return False

        assert eventually(all_answered)

    def restarted(self, name: str) -> None:
        """It hangs, and that is seen; nobody waits for it; it is restarted and used again."""
        before, left = self.events("hung", name), self.events("left out", name)
        pid = self.stopped(name)["pid"]
        assert eventually(lambda: self.events("hung", name) > before), f"{name} hangs, and nobody sees it"
        if name.startswith(("cache", "gateway", "good")):
            assert eventually(lambda: self.events("left out", name) > left)
        self.served()
        assert eventually(lambda: self.again(name, pid)), f"{name} is not restarted"
        assert self.events("restarted", name)
        assert self.ask() == 200

    def test_nothing_hangs_unasked_and_probes_leave_no_trace(self) -> None:
        before = self.counted()
        hung = lambda: [event for event in self.bench.status()["events"] if event["what"] == "hung"]  # noqa: E731
        assert never(hung, within=2.5), "three probes of each"
        assert self.counted() == before

    def counted(self) -> list[str]:
        lines = self.bench.run("metrics").stdout.splitlines()
        return [line for line in lines if line.startswith("tierline_requests_total")]


class TestEmbedded(Hanging):
    uses = ("cdn=nginx", "lb=haproxy", "cache=nginx", "gateway=envoy")
    dns = 'dns=DNS("alive.test"),'
    resources = 'uses=[Cache("kept"), Queue("work"), Mail("post"), Bucket("files")]'

    @pytest.mark.parametrize("name", ["lb.a", "cache.a", "gateway.a", "good.a", "cmd.a"])
    def test_a_process_that_hangs(self, name: str) -> None:
        self.restarted(name)

    @pytest.mark.parametrize("name", ["dns", "valkey", "nats", "mailbox", "seaweedfs", "telemetry"])
    def test_a_process_that_nobody_balances_over(self, name: str) -> None:
        pid = self.stopped(name)["pid"]
        assert eventually(lambda: self.again(name, pid)), f"{name} is not restarted"
        assert self.events("hung", name) and self.events("restarted", name)

    def test_an_event_loop_that_is_blocked(self) -> None:
        def block() -> None:
            with contextlib.suppress(OSError):
                self.ask("/block")

        before = {name: self.bench.process(name)["pid"] for name in ("good.a", "good.b")}
        hung = sum(self.events("hung", name) for name in before)
        asking = threading.Thread(target=block)
        asking.start()
        assert eventually(lambda: sum(self.events("hung", name) for name in before) > hung)
        assert eventually(lambda: any(self.again(name, pid) for name, pid in before.items()))
        asking.join()
        assert eventually(lambda: {self.phase(name) for name in before} == {"ready"})
        assert self.ask() == 200

    def test_what_was_hung_on_purpose_stays_hung_and_is_left_out(self) -> None:
        pid, left = self.bench.process("cache.a")["pid"], self.events("left out", "cache.a")
        assert run("hang", "cache.a", str(self.bench.folder)).returncode == 0
        assert eventually(
            lambda: self.phase("cache.a") == "hung" and self.events("left out", "cache.a") > left
        )
        self.served()
        self.restarted("gateway.a")  # that takes as long as the other would have
        assert (self.phase("cache.a"), self.bench.process("cache.a")["pid"]) == ("hung", pid)
        assert run("heal", "cache.a", str(self.bench.folder)).returncode == 0
        assert eventually(lambda: self.phase("cache.a") == "ready")
        assert self.bench.process("cache.a")["pid"] == pid and self.ask() == 200

    def test_what_is_delayed_is_not_restarted_for_what_was_seen_before(self) -> None:
        for _ in range(5):
            hung = self.events("hung", "valkey")
            pid = self.stopped("valkey")["pid"]
            assert eventually(lambda hung=hung: self.events("hung", "valkey") > hung)
            assert run("delay", "valkey", "50ms", str(self.bench.folder)).returncode == 0
            if self.bench.process("valkey")["pid"] == pid:
                break
            # The order came after hang_after: it was restarted already, as it should be.
            assert run("heal", "valkey", str(self.bench.folder)).returncode == 0
        try:
            os.kill(pid, signal.SIGCONT)
            # hang_after is 3 s, and nobody asks what is slow on purpose whether it hangs.
            assert never(lambda: self.bench.process("valkey")["pid"] != pid, within=4)
        finally:
            assert run("heal", "valkey", str(self.bench.folder)).returncode == 0

    def test_a_machine_that_was_suspended_restarts_nothing(self) -> None:
        told = self.bench.status()
        pids = {each["name"]: each["pid"] for each in told["processes"]}
        every = of(self.bench.folder)
        others = [pid for pid in every if pid != told["pid"]]
        os.kill(told["pid"], signal.SIGSTOP)
        for pid in others:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        expires(5)  # hang_after, by the clock of all who are suspended
        for pid in (told["pid"], *others):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        assert self.ask() == 200
        assert never(
            lambda: {each["name"]: each["pid"] for each in self.bench.status()["processes"]} != pids, within=1
        )


class TestPopular(Hanging):
    uses = ("cdn=varnish", "lb=nginx", "cache=varnish", "gateway=haproxy")

    @pytest.mark.parametrize("name", ["lb.a", "cache.a", "gateway.a"])
    def test_a_process_that_hangs(self, name: str) -> None:
        self.restarted(name)


class TestAlternate(Hanging):
    uses = ("cdn=nginx", "lb=traefik", "cache=squid", "gateway=nginx")

    @pytest.mark.parametrize("name", ["lb.a", "cache.a", "gateway.a"])
    def test_a_process_that_hangs(self, name: str) -> None:
        self.restarted(name)


class TestOthers(Hanging):
    uses = ("cdn=nginx", "lb=envoy", "cache=trafficserver", "gateway=haproxy")

    @pytest.mark.parametrize("name", ["lb.a", "cache.a"])
    def test_a_process_that_hangs(self, name: str) -> None:
        self.restarted(name)


def test_a_health_that_is_slow_or_bad_is_an_answer(tmp_path: Path) -> None:
    """Radicale takes a second for a page that it refuses; a product without its database answers 503 for minutes."""
    stack = f"""
    from tierline import *
    ill = Service("ill", command=[{sys.executable!r}, "ill.py"], expose=["/"])
    stack = Stack("slow", zones=["a"], hang_after="3s", gateway=Gateway(), services=[ill])
    """
    slow = CMD.replace("import http", "import time, http").replace(
        "        self.send_response(200)",
        '        time.sleep(1.2)\n        open("asked", "a").write(".")\n'
        "        self.send_response(200 if os.path.getsize('asked') < 2 else 503)",
    )
    bench = Bench(tmp_path, stack, {"ill": slow})
    bench.up()
    try:
        pid = bench.process("ill.a")["pid"]
        assert eventually(lambda: (tmp_path / "asked").stat().st_size > 7)  # longer than hang_after
        assert bench.process("ill.a")["pid"] == pid
        assert " restarted ill.a" not in (bench.state / "logs/events.log").read_text()
    finally:
        bench.close()


def test_bounds_are_checked(tmp_path: Path) -> None:
    for wrong in ("1s", "2h"):
        bench = Bench(tmp_path, f'from tierline import *\nstack = Stack("one", hang_after="{wrong}")\n')
        said = bench.run("plan")
        assert said.returncode and "hang_after" in said.stderr, said.stderr


def test_a_start_that_takes_longer_than_the_service_says(tmp_path: Path) -> None:
    stack = f"""
    from tierline import *
    late = Service("late", command=[{sys.executable!r}, "late.py"], start_timeout="1s", expose=["/"])
    stack = Stack("late", zones=["a"], gateway=Gateway(), services=[late])
    """
    bench = Bench(tmp_path, stack, {"late": "import threading\n\nthreading.Event().wait()\n"})
    refused = bench.run("up", "--detach")
    bench.close()
    assert refused.returncode and "within 1 s" in refused.stderr and "start_timeout=" in refused.stderr
