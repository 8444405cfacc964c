"""A line whose disk is full: what runs is supervised as before, nothing stays wrong, and `status` says what can't be written."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from waiting import PATIENCE
from workbench import HELLO, Bench, eventually

STACK = """
from tierline import DNS, LoadBalancer, Relational, Service, Stack
films = Relational("films")
hello = Service("hello", "hello:app", uses=[films], expose=["/"])
stack = Stack("room", dns=DNS("room.test"), lb=LoadBalancer(), services=[hello], zones=["a"])
"""

if os.geteuid() == 0:  # only root may mount; an ordinary user's tests would need another disk

    @pytest.fixture(scope="module")
    def line() -> Iterator[Bench]:
        """A line on a disk of its own, of 600 MiB."""
        folder = Path(tempfile.mkdtemp(prefix="tierline-room-"))
        folder.chmod(0o755)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600m", "tmpfs", str(folder)], check=True)
        made = Bench(folder / "stack", STACK, {"hello": HELLO})
        try:
            made.up()
            yield made
            made.close()
        finally:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
            shutil.rmtree(folder)

    @contextlib.contextmanager
    def full(line: Bench) -> Iterator[None]:
        """Not a byte is free."""
        ballast = line.folder / "ballast"
        try:
            with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
                os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(line.folder).free)
            with contextlib.suppress(OSError), (line.folder / "rest").open("wb", buffering=0) as file:
                while file.write(b"x" * 4096):
                    pass
            assert shutil.disk_usage(line.folder).free < 4096
            yield
        finally:
            (line.folder / "rest").unlink(missing_ok=True)
            ballast.unlink(missing_ok=True)

    def answers(line: Bench, told: dict[str, object]) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            urls = told["urls"]
            assert isinstance(urls, dict)
            return httpx.get(urls["https"] + "x", verify=False, timeout=PATIENCE).status_code == 200
        return False

    def test_a_process_that_dies_on_a_full_disk_is_started_again(line: Bench) -> None:
        before = line.status()
        with full(line):
            for name in ("hello.a", "telemetry"):
                os.kill(line.process(name)["pid"], signal.SIGKILL)
            assert eventually(lambda: answers(line, before)), "a restart needs no space"
            problems = {
                "0 MiB are free",
                "No space left on device",
            }  # hello's counts are written a second later

            def all_told() -> dict[str, Any] | None:
                answers(line, before)
                now = line.status()
                return now if problems <= {each["problem"] for each in now["unwritten"]} else None

            told = eventually(all_told)
            assert told, line.status()["unwritten"]
            assert all(each["since"] > told["since"] for each in told["unwritten"])
            shown = line.run("status").stdout
            assert "can't write large files since" in shown and "what runs goes on" in shown
            for process in before["processes"]:
                now = line.process(process["name"])
                assert now["phase"] in ("ready", "starting", "backing off"), now
                if process["name"] in ("hello.a", "telemetry"):
                    assert now["pid"] != process["pid"], now
        assert eventually(lambda: not line.status()["unwritten"])
        assert eventually(lambda: all(each["phase"] == "ready" for each in line.status()["processes"]), 40), (
            line.status()["processes"]
        )
        assert eventually(lambda: "files can be written again" in line.run("status").stdout)

    def test_what_reports_goes_on_reporting(line: Bench) -> None:
        pids = {each["name"]: each["pid"] for each in line.status()["processes"]}
        told = line.status()
        with full(line):
            for _ in range(3):
                line.run("trip", "/while-full")
            assert answers(line, told)
        eventually(lambda: not line.status()["unwritten"])
        for name in ("hello.a", "telemetry", "dns"):
            same = [pid for each, pid in pids.items() if each.startswith(name)]
            assert same and {line.process(each)["pid"] for each in pids if each.startswith(name)} == set(same)
        assert eventually(lambda: line.trip("/afterwards")["hops"])
