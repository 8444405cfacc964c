"""Changing a running line while clients go on asking."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Callable

from tierline.compare import load, workload
from tierline.tiers.client.tier import Visit
from workbench import Bench, run

WHO = """
import os, json
async def app(scope, receive, send):
    assert scope["type"] == "http"
    body = json.dumps({"pid": os.getpid(), "path": scope["path"]}).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": body})
"""

STACK = """
from tierline import Gateway, LoadBalancer, Scale, Service, Stack
stack = Stack(
    "changing", lb=LoadBalancer(), gateway=Gateway(RAW), zones=["a", "b"],
    services=[Service("who", "who:app", expose=[EXPOSE], scale=Scale(1, 3))],
)
"""


def stack(expose: str = '"/"', raw: str = "") -> str:
    return STACK.replace("EXPOSE", expose).replace("RAW", raw)


def asked(
    line: Bench, *commands: tuple[str, ...]
) -> tuple[Counter[int], list[subprocess.CompletedProcess[str]]]:
    """Statuses of a steady load while the commands run one after the other."""
    import threading

    told = line.status()
    host, _, port = told["urls"]["http"].partition("://")[2].rstrip("/").rpartition(":")
    target = {told["region"]: load.Target(host, int(port), told["domain"], None)}
    done: list[subprocess.CompletedProcess[str]] = []
    thread = threading.Thread(target=lambda: done.extend(run(*command) for command in commands))
    thread.start()
    seen: Counter[int] = Counter()
    while True:
        requests = workload.requests([Visit("/x")], told["region"], 1)
        seen.update(sample.status for sample in load.open_loop(target, requests, 100, 1.0).samples)
        if not thread.is_alive():
            return seen, done


def test_instances_come_and_go_without_a_failed_request(bench: Callable[..., Bench]) -> None:
    line = bench(stack(), who=WHO)
    line.up()
    place = str(line.folder)
    seen, done = asked(
        line, ("scale", "who", "3", place), ("scale", "who", "1", place), ("scale", "who", "2", place)
    )
    assert [each.returncode for each in done] == [0, 0, 0], [each.stderr for each in done]
    assert set(seen) == {200}
    names = {process["name"] for process in line.status()["processes"]}
    assert {"who.a-2", "who.b-2"} <= names and "who.a-3" not in names
    line.down()
    assert not line.left()


def test_every_instance_of_a_service_restarts_without_a_failed_request(bench: Callable[..., Bench]) -> None:
    line = bench(stack(), who=WHO)
    line.up()
    names = [p["name"] for p in line.status()["processes"] if p["engine"] == "python"]
    seen, done = asked(line, *(("restart", name, str(line.folder)) for name in names))
    assert all(each.returncode == 0 for each in done), [each.stderr for each in done]
    assert set(seen) == {200}


def test_a_number_outside_of_the_scale_changes_nothing(bench: Callable[..., Bench]) -> None:
    line = bench(stack(), who=WHO)
    line.up()
    done = run("scale", "who", "9", str(line.folder))
    assert done.returncode == 2
    assert "from 1 to 3" in done.stderr and "Scale(1, 3)" in done.stderr
    done = run("scale", "whom", "2", str(line.folder))
    assert done.returncode == 2 and "did you mean 'who'?" in done.stderr


def test_a_new_route_is_applied_to_the_running_line(bench: Callable[..., Bench]) -> None:
    line = bench(stack('"/old"'), who=WHO)
    line.up()
    assert line.trip("/new")["status"] == 404
    before = {process["name"]: process["pid"] for process in line.status()["processes"]}
    (line.folder / "stack.py").write_text(stack('"/old", "/new"'))
    done = line.run("reload")
    assert done.returncode == 0, done.stderr
    assert line.trip("/new")["status"] == 200
    after = {process["name"]: process["pid"] for process in line.status()["processes"]}
    assert before["gateway.a"] == after["gateway.a"], "a route is applied live"
    assert "nothing changed" in line.run("reload").stdout


def test_a_mistake_in_the_stack_changes_nothing(bench: Callable[..., Bench]) -> None:
    line = bench(stack(), who=WHO)
    line.up()
    (line.folder / "stack.py").write_text(stack(raw="timeuot=3"))
    done = line.run("reload")
    assert done.returncode == 2 and "did you mean 'timeout'?" in done.stderr
    assert line.trip("/x")["status"] == 200


def test_a_policy_more_on_the_only_gateway_fails_no_request(bench: Callable[..., Bench]) -> None:
    line = bench(stack().replace('["a", "b"]', '["a"]'), who=WHO)
    line.up()
    before = {process["name"]: process["pid"] for process in line.status()["processes"]}
    policies = 'cors=["https://one.test"], limits=[RateLimit(100000, per="1s", by="all")]'
    changed = stack(raw=policies).replace('["a", "b"]', '["a"]')
    (line.folder / "stack.py").write_text(changed.replace("import Gateway", "import RateLimit, Gateway"))
    seen, done = asked(line, ("reload", str(line.folder)))
    assert done[0].returncode == 0, done[0].stderr
    assert set(seen) == {200}
    after = {process["name"]: process["pid"] for process in line.status()["processes"]}
    assert before["gateway.a"] == after["gateway.a"], "a new filter is a new listener, not a new process"
    assert line.trip("/x")["status"] == 200
