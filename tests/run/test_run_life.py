"""A line from its start to its end, on real processes: the smallest lines that show it."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from ports import free_port
from waiting import PATIENCE, eventually
from workbench import HELLO, ONE, TIERLINE, Bench, alive, of, run

Make = Callable[..., Bench]


def entry(bench: Bench) -> str:
    return str(bench.status()["urls"]["http"])


@contextmanager
def foreground(bench: Bench, *words: str, **more: Any) -> Iterator[subprocess.Popen[str]]:
    """`up` in the foreground; killed at the end if it still runs."""
    process = subprocess.Popen(
        [*TIERLINE, "up", str(bench.folder), *words], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        **more,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


# Up and down -------------------------------------------------------------------------------------------------


def test_up_answers_status_tells_a_trip_is_shown_and_down_leaves_nothing(bench: Make) -> None:
    one = bench(ONE, hello=HELLO)
    done = one.up()
    assert done.stdout.startswith("one is up after ")
    assert "tierline down" in done.stdout
    assert httpx.get(entry(one) + "a").text == "hello from /a"

    told = one.status()
    assert (told["stack"], told["phase"]) == ("one", "ready")
    assert {each["name"] for each in told["processes"]} == {"hello.a", "telemetry"}
    for each in told["processes"]:
        assert each["phase"] == "ready"
        assert each["restarts"] == 0
        assert alive(each["pid"])

    trip = one.trip("/b")
    assert trip["status"] == 200
    assert [hop["tier"] for hop in trip["hops"]] == ["client", "feature"]
    assert trip["hops"][1]["system"] == "hello"
    assert trip["hops"][1]["zone"] == "a"

    pids = [each["pid"] for each in told["processes"]]
    assert one.down().stdout == "stopped\n"
    assert one.left() == []
    assert not any(alive(pid) for pid in pids)
    assert one.down().stdout == "was not up\n"


def test_what_only_its_owner_may_read_is_only_its_owners(bench: Make) -> None:
    one = bench(ONE, hello=HELLO)
    one.up()
    for name in (".", "control.sock", "lock", "state.json", "secrets.json", "run/hello.a/apps.json"):
        assert (one.state / name).stat().st_mode & 0o077 == 0, name


def test_a_second_up_is_refused_and_disturbs_nothing(bench: Make) -> None:
    one = bench(ONE, hello=HELLO)
    one.up()
    before = one.status()
    for words in (("--detach",), ()):
        again = one.run("up", *words)
        assert again.returncode == 2
        assert f"this stack is already up (supervisor {before['pid']})" in again.stderr
        assert "tierline down" in again.stderr
    assert one.status()["processes"] == before["processes"]


def test_two_stacks_run_side_by_side(bench: Make) -> None:
    one, two = bench(ONE, name="one", hello=HELLO), bench(ONE, name="two", hello=HELLO)
    one.up()
    two.up()
    assert entry(one) != entry(two)
    one.down()
    assert httpx.get(entry(two)).text == "hello from /"


def test_ports_of_last_time_are_taken_again(bench: Make) -> None:
    one = bench(ONE, hello=HELLO)
    one.up()
    before = one.status()["addresses"]
    one.down()
    one.up()
    assert one.status()["addresses"] == before


def test_a_given_port_is_used(bench: Make) -> None:
    one, port = bench(ONE, hello=HELLO), free_port()
    one.up("--port", f"http={port}")
    assert entry(one) == f"http://127.0.0.1:{port}/"


def test_a_given_port_that_is_taken_is_named_with_its_owner(bench: Make) -> None:
    one = bench(ONE, hello=HELLO)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = one.run("up", "--detach", "--port", f"http={port}")
    assert done.returncode == 2
    assert f"--port http={port}: 127.0.0.1:{port} is taken by " in done.stderr
    assert f"(pid {os.getpid()})" in done.stderr
    assert one.left() == []


def test_a_given_port_that_needs_privileges_is_refused_at_once_and_not_remembered(bench: Make) -> None:
    one = bench(
        """
        from tierline import DNS, LoadBalancer, Service, Stack
        stack = Stack("one", lb=LoadBalancer(), dns=DNS("one.test"), zones=["a"],
                      services=[Service("hello", "hello:app", expose=["/"])])
        """,
        hello=HELLO,
    )
    first = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    assert first > 1023, "this machine lets everybody have every port"
    done = one.run("up", "--detach", "--port", "https=1023")
    assert done.returncode == 2
    assert "--port https=1023: ports below 1024 need privileges, and " in done.stderr
    assert one.left() == []
    for words, said in (
        (("http=99999",), "write https=PORT"),
        (("http=²",), "write https=PORT"),
        (("https=9443", "https=9444"), "https is given already"),
        (("https=9443", "dns=9443"), "https has this port already"),
    ):
        done = one.run("up", "--detach", *(f"--port={word}" for word in words))
        assert done.returncode == 2
        assert said in done.stderr
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", 0))
    with udp:
        taken = udp.getsockname()[1]
        done = one.run("up", "--detach", "--port", f"dns={taken}")
    assert f"127.0.0.1:{taken} is taken by " in done.stderr
    port, before = free_port(), one.state / "ports.json"
    kept = json.loads(before.read_text())
    one.up("--port", f"https={port}")
    assert str(port) not in before.read_text()
    assert json.loads(before.read_text()).keys() >= kept.keys()


def test_a_port_that_the_line_has_no_use_for_is_told(bench: Make) -> None:
    done = bench(ONE, hello=HELLO).run("up", "--detach", "--port", "dns=9053")
    assert "--port dns=9053: this stack has no public port for dns; it has: http" in done.stderr


def test_a_port_that_was_not_given_is_chosen_free(bench: Make) -> None:
    one = bench(ONE, hello=HELLO)
    one.up()
    port = int(entry(one).rstrip("/").rpartition(":")[2])
    one.down()
    with socket.create_server(("127.0.0.1", port)):  # last time's port, taken meanwhile
        one.up()
        assert entry(one) != f"http://127.0.0.1:{port}/"
        assert httpx.get(entry(one)).status_code == 200


def test_data_survives_down_and_volumes_removes_it(bench: Make) -> None:
    one = bench(
        """
        from tierline import Queue, Service, Sessions, Stack
        stack = Stack("keep", services=[Service("hello", "hello:app", uses=[Sessions("session")])], zones=["a"])
        """,
        hello="""
        import os
        import redis.asyncio

        store = redis.asyncio.from_url(os.environ["REDIS_URL"])

        async def app(scope, receive, send):
            assert scope["type"] == "http"
            counts = scope["path"] == "/"  # not the line's own question for its health
            body = str(await store.incr("visits") if counts else 0).encode()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": body})
        """,
    )
    one.up()
    assert httpx.get(entry(one)).text == "1"
    one.down()
    one.up()
    assert httpx.get(entry(one)).text == "2"
    assert one.down("--volumes").stdout == "stopped; data removed\n"
    assert not one.state.exists()
    one.up()
    assert httpx.get(entry(one)).text == "1"


def test_a_folder_with_a_long_name_works(bench: Make) -> None:
    """Unix socket addresses hold 107 bytes."""
    one = bench(ONE, name="/".join(["a-folder-with-a-name-of-forty-characters"] * 4), hello=HELLO)
    assert len(str(one.state)) > 180
    one.up()
    assert one.trip("/x")["status"] == 200
    one.down()
    assert one.left() == []


# The foreground ----------------------------------------------------------------------------------------------


def test_ctrl_c_stops_the_foreground_and_leaves_nothing(bench: Make) -> None:
    one = bench(ONE, hello=HELLO)
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [*TIERLINE, "up", str(one.folder)], stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
        preexec_fn=lambda: __import__("fcntl").ioctl(0, __import__("termios").TIOCSCTTY, 0),
    )  # fmt: skip
    os.close(slave)
    shown = b""
    while b"Ctrl-C stops it." not in shown:
        shown += os.read(master, 4096)
    assert b"hello.a" in shown
    assert b"http://127.0.0.1:" in shown
    os.write(master, b"\x03")
    assert process.wait(PATIENCE) == 0
    while b"stopped; data is kept" not in shown:
        shown += os.read(master, 4096)
    os.close(master)
    assert one.left() == []


def test_ctrl_c_while_starting_leaves_nothing(bench: Make) -> None:
    one = bench(ONE, hello="import time\ntime.sleep(30)\n")
    with foreground(one) as process:
        assert eventually(lambda: (one.state / "state.json").exists() and len(of(one.folder)) > 2)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0
    assert one.left() == []


def test_ctrl_c_of_a_detached_start_stops_the_supervisor_too(bench: Make) -> None:
    one = bench(ONE, hello="import time\ntime.sleep(30)\n")
    with foreground(one, "--detach") as process:
        assert eventually(lambda: (one.state / "state.json").exists() and len(of(one.folder)) > 3)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130
    assert one.left() == []


def test_a_reader_that_goes_away_does_not_keep_the_line_from_stopping(bench: Make) -> None:
    one = bench(ONE, hello=HELLO)
    with foreground(one) as process:
        assert process.stdout is not None
        while "Ctrl-C" not in process.stdout.readline():
            pass
        process.stdout.close()
        os.kill(one.process("hello.a")["pid"], signal.SIGKILL)  # something to print
        assert eventually(lambda: one.process("hello.a")["restarts"] == 1)
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)
    assert one.left() == []


# What gets in the way ----------------------------------------------------------------------------------------


def test_a_state_folder_of_another_version_is_refused_and_left_alone(bench: Make) -> None:
    one = bench(ONE, hello=HELLO)
    one.state.mkdir()
    (one.state / "version").write_text("99\n")
    (one.state / "precious").write_text("data")
    for words in (("up", "--detach"), ("down",), ("down", "--volumes"), ("status",)):
        done = one.run(words[0], *words[1:])
        assert done.returncode == 2
        assert "has layout 99, this tierline has layout 1" in done.stderr
    assert sorted(path.name for path in one.state.iterdir()) == ["precious", "version"]
    (one.state / "version").unlink()


def test_a_full_disk_is_told_before_anything_starts(bench: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    from tierline.errors import RunError
    from tierline.run.state import State

    one = bench(ONE, hello=HELLO)
    usage = shutil.disk_usage(one.folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=5 << 20))
    with pytest.raises(RunError, match=r"5 MiB free, 200 MiB are needed") as caught:
        State(one.folder / "stack.py").open()
    assert caught.value.code == 2
    assert "tierline down --volumes" in str(caught.value)
    assert one.left() == []


def test_a_service_that_can_not_be_imported_is_told_with_its_log_and_nothing_is_left(bench: Make) -> None:
    one = bench(ONE, hello="import no_such_module\n")
    for words in (("--detach",), ()):
        done = one.run("up", *words)
        assert done.returncode == 2
        assert "hello.a ended with exit code 1 while starting" in done.stderr
        assert "| ModuleNotFoundError: No module named 'no_such_module'" in done.stderr
        assert one.left() == []


def test_a_service_whose_start_up_fails_is_told(bench: Make) -> None:
    one = bench(
        ONE,
        hello="""
        async def app(scope, receive, send):
            if scope["type"] == "lifespan":
                await receive()
                await send({"type": "lifespan.startup.failed", "message": "the cellar is flooded"})
        """,
    )
    done = one.run("up", "--detach")
    assert done.returncode == 2
    assert "hello: start-up failed: the cellar is flooded" in done.stderr
    assert one.left() == []


def test_a_missing_program_is_told_with_the_command_that_installs_it(bench: Make) -> None:
    one = bench(ONE.replace("zones=", "cdn=CDN(), zones=").replace("import ", "import CDN, "), hello=HELLO)
    done = one.run("up", "--detach", env={"TIERLINE_BINARY_NGINX": "/no/such/nginx"})
    assert done.returncode == 2
    assert "cdn=nginx can't run here: " in done.stderr
    assert "TIERLINE_BINARY_NGINX names '/no/such/nginx'" in done.stderr
    assert one.left() == []


def test_commands_on_a_line_that_is_not_up_say_so(bench: Make) -> None:
    one = bench(ONE, hello=HELLO)
    for words in (
        ("trip", str(one.folder), "/"), ("status", str(one.folder)), ("restart", "hello", str(one.folder)),
        ("kill", "zone", "a", str(one.folder)), ("token", str(one.folder)),
    ):  # fmt: skip
        done = run(*words)
        assert done.returncode == 2, words
        assert f"this stack isn't up: start it with tierline up {one.folder}" in done.stderr
    assert not one.state.exists()


def test_losses_and_notes_are_told_by_a_detached_start_too(bench: Make) -> None:
    one = bench(
        """
        from tierline import Service, Stack
        stack = Stack("two", services=[Service("hello", "hello:app", expose=["/"]), Service("idle", "hello:app")],
                      zones=["a"])
        """,
        hello=HELLO,
    )
    assert "note: nothing calls idle" in one.up().stderr


if os.geteuid() == 0:  # an ordinary user's tests show it already

    def test_an_ordinary_user_can_run_a_line() -> None:
        import shutil
        import sys
        import tempfile

        folder = Path(tempfile.mkdtemp(prefix="tierline-user-"))
        try:
            folder.chmod(0o755)
            theirs = Bench(folder / "theirs", ONE, {"hello": HELLO})
            shutil.chown(theirs.folder, "nobody")
            # The interpreter may be below a folder that only root may enter: a right to pass through, and nothing more.
            argv = [
                "setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--inh-caps=+dac_read_search",
                "--ambient-caps=+dac_read_search", "--bounding-set=-all,+dac_read_search", sys.executable, "-m", "tierline",
            ]  # fmt: skip
            done = subprocess.run(
                [*argv, "up", str(theirs.folder), "--detach"], capture_output=True, text=True, timeout=PATIENCE, check=False,
                env={**os.environ, "HOME": str(theirs.folder)}, cwd=theirs.folder,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            told = theirs.status()
            nobody = theirs.folder.stat().st_uid
            for each in told["processes"]:
                assert Path(f"/proc/{each['pid']}").stat().st_uid == nobody
            assert httpx.get(told["urls"]["http"]).text == "hello from /"
            done = subprocess.run(
                [*argv, "down", str(theirs.folder)],
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                check=False,
                cwd=folder,
            )
            assert (done.returncode, done.stdout) == (0, "stopped\n")
            assert theirs.left() == []
        finally:
            for pid in of(folder):
                os.kill(pid, signal.SIGKILL)
            shutil.rmtree(folder)
