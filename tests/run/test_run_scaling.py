"""Instances that come and go: with the load, by hand, for a season; functions that sleep; requests that finish."""

from __future__ import annotations

import datetime
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from tierline.compare import load, workload
from tierline.tiers.client.tier import Visit
from waiting import PATIENCE, eventually, never
from workbench import Bench, run

Make = Callable[..., Bench]

WHO = """
import asyncio, json, os, pathlib

async def app(scope, receive, send):
    assert scope["type"] == "http"
    if "slow" in scope["path"]:
        pathlib.Path(f"slow-{id(scope)}-{os.getpid()}").touch()
        while not os.path.exists("go"):
            await asyncio.sleep(0.02)
    if "publish" in scope["path"]:
        import nats
        client = await nats.connect(os.environ["NATS_URL"])
        subject = os.environ["NEWS_SUBJECT" if "news" in scope["path"] else "WORK_SUBJECT"]
        for number in range(int(scope["path"].rpartition("/")[2])):
            await client.jetstream().publish(subject, b'{"n": %d}' % number)
        await client.close()
    body = json.dumps({"pid": os.getpid()}).encode()
    headers = [(b"content-type", b"application/json")]
    if scope["path"].startswith("/who/"):
        headers.append((b"cache-control", b"public, max-age=60"))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
"""

LINE = """
from tierline import *

home = Journey("home", "/home")

@home.part
async def said(who):
    return (await who.get("/said")).json()

"""


SERVER = """
import http.server, json, os, pathlib, signal, sys, threading, time

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if "slow" in self.path:
            pathlib.Path(f"slow-{id(self)}-{os.getpid()}").touch()
            while not os.path.exists("go"):
                time.sleep(0.02)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"pid": os.getpid()}).encode())

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.do_GET()

server = http.server.ThreadingHTTPServer((os.environ["HOST"], int(sys.argv[1])), Handler)
server.daemon_threads = False
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever()
server.server_close()
"""
"""A command that finishes what it is answering when it is told to end."""


def front(line: Bench) -> str:
    url: str = line.status()["urls"]["http"]
    return url.rstrip("/")


@contextmanager
def asked(line: Bench, path: str, rate: float) -> Iterator[Counter[int]]:
    """Statuses of a steady load for as long as the block runs."""
    told = line.status()
    host, _, port = told["urls"]["http"].partition("://")[2].rstrip("/").rpartition(":")
    target = {told["region"]: load.Target(host, int(port), told["domain"], None)}
    seen: Counter[int] = Counter()
    stop = threading.Event()
    seconds = max(
        0.5, 5 / rate
    )  # it ends with its last request: of a few, the next ones would follow too soon

    def ask() -> None:
        while not stop.is_set():
            requests = workload.requests([Visit(path)], told["region"], 1)
            seen.update(each.status for each in load.open_loop(target, requests, rate, seconds).samples)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


def service(line: Bench, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in line.status()["services"] if each["name"] == name)
    return found


def instances(line: Bench, name: str) -> int:
    return len(service(line, name)["instances"])


def slowly_answered(line: Bench) -> list[str]:
    """The process of each slow request that has been begun; all end when there is a file `go`."""
    return [path.name.rpartition("-")[2] for path in line.folder.glob("slow-*")]


def events(line: Bench) -> str:
    return line.log("events")


def test_instances_follow_the_load_and_no_request_fails(bench: Make) -> None:
    line = bench(
        LINE + "stack = Stack('busy', lb=LoadBalancer(), gateway=Gateway(), journeys=[home], zones=['a'],\n"
        "  services=[Service('who', 'who:app', scale=Scale(1, 3, rps=10, cooldown='1s', cooldown_out='1s'))])\n",
        who=WHO,
    )
    line.up()
    with asked(line, "/home", 25) as seen:
        assert eventually(lambda: instances(line, "who") == 3), events(line)
        # The journeys call it in their own process, so they came along; and all three answer.
        assert line.process("apps.a-3")["roles"] == ["experience.a-3", "who.a-3"]

        def shared() -> bool:
            each = [one["rps"] or 0 for one in service(line, "who")["instances"]]
            return min(each) > 2

        assert eventually(shared), service(line, "who")
        shown = line.run("status").stdout
        assert "requests/s over 10 per instance" in shown
        told = service(line, "who")
        assert told["max"] == 3 and told["targets"] == {"rps": 10} and told["p50"] > 0
    with asked(line, "/home", 2) as calm:
        assert eventually(lambda: instances(line, "who") == 1), events(line)
    assert set(seen) == set(calm) == {200}
    assert "scaled who a: " in events(line) and "requests/s under 10 per instance for 1 s" in events(line)
    assert eventually(lambda: "apps.a-2" not in {each["name"] for each in line.status()["processes"]})


def test_processor_latency_and_the_journeys_own_scale_are_followed_too(bench: Make) -> None:
    line = bench(
        LINE + "quick = dict(cooldown='60s', cooldown_out='1s')\n"
        "stack = Stack('several', gateway=Gateway(), journeys=[home], zones=['a'], scale=Scale(1, 2, rps=15, **quick),\n"
        "  services=[\n"
        "    Service('who', 'who:app'),\n"
        "    Service('late', 'late:app', expose=['/late'], scale=Scale(1, 2, latency='60ms', **quick), fuse=False),\n"
        "    Service('hot', command=['python', 'hot.py'], expose=['/hot'], scale=Scale(1, 2, cpu=0.1, **quick)),\n"
        "  ])\n",
        who=WHO,
        late="""
        import asyncio

        turn = asyncio.Lock()

        async def app(scope, receive, send):
            assert scope["type"] == "http"
            async with turn:  # one after the other: what comes faster waits
                await asyncio.sleep(0.04)
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b""})
        """,
        hot="""
        import http.server, os, time

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                until = time.process_time() + (0.015 if self.path != "/health" else 0)
                while time.process_time() < until:
                    pass
                self.send_response(200)
                self.end_headers()

        http.server.HTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
        """,
    )
    line.up()
    with asked(line, "/home", 40) as home, asked(line, "/late", 30) as late, asked(line, "/hot", 20) as hot:
        assert eventually(lambda: "scaled experience a: 1 → 2" in events(line)), events(line)
        assert eventually(lambda: "scaled late a: 1 → 2" in events(line)), events(line)
        assert eventually(lambda: "scaled hot a: 1 → 2" in events(line)), events(line)
    said = events(line)
    assert "requests/s over 15" in said and "ms over 60 ms" in said and "of a core over 10%" in said
    assert instances(line, "who") == 1, "it doesn't come along with those who call it"
    assert set(home) == set(late) == set(hot) == {200}


def test_a_number_given_by_hand_stays_until_it_is_given_back(bench: Make) -> None:
    line = bench(
        LINE + "stack = Stack('pinned', gateway=Gateway(), zones=['a'],\n"
        "  services=[Service('who', 'who:app', expose=['/'], scale=Scale(1, 3, rps=1000, cooldown='1s'))])\n",
        who=WHO,
    )
    line.up()
    assert run("scale", "who", "2", str(line.folder)).returncode == 0
    assert never(lambda: instances(line, "who") != 2, within=2.2), "two cool-downs"
    assert "2, pinned" in line.run("status").stdout
    (line.folder / "stack.py").write_text(
        (line.folder / "stack.py").read_text().replace("['/']", "['/', '/x']")
    )
    assert line.run("reload").returncode == 0
    assert instances(line, "who") == 2, "another stack file keeps the number"
    assert run("scale", "who", "--auto", str(line.folder)).returncode == 0
    assert eventually(lambda: instances(line, "who") == 1), events(line)
    wrong = run("scale", "who", "3", str(line.folder), "--auto")
    assert wrong.returncode == 2 and "say one of them" in wrong.stderr


def test_a_shared_process_gains_and_loses_an_application_while_it_is_asked(bench: Make) -> None:
    line = bench(
        LINE
        + "stack = Stack('shared', lb=LoadBalancer(), gateway=Gateway(), journeys=[home], zones=['a'], services=[\n"
        "  Service('who', 'who:app', expose=['/asked'], scale=Scale(1, 2)),\n"
        "  Service('other', 'other:app', expose=['/other'], scale=Scale(1, 2))])\n",
        who=WHO,
        other=WHO,
    )
    line.up()
    place = str(line.folder)

    def second() -> list[str]:
        there = {each["name"]: each["roles"] for each in line.status()["processes"]}
        return there.get("apps.a-2", [])

    with (
        asked(line, "/home", 40) as home,
        asked(line, "/other", 40) as other,
        asked(line, "/asked", 40) as who,
    ):
        assert run("scale", "other", "2", place).returncode == 0
        assert second() == ["experience.a-2", "other.a-2"]
        assert run("scale", "who", "2", place).returncode == 0
        assert second() == ["experience.a-2", "who.a-2", "other.a-2"]
        assert run("scale", "other", "1", place).returncode == 0
        assert second() == ["experience.a-2", "who.a-2"]
        assert run("scale", "who", "1", place).returncode == 0
        assert second() == []
    assert set(home) == set(other) == set(who) == {200}, (home, other, who)


def test_an_instance_that_cannot_start_is_told_and_costs_nobody_anything(bench: Make) -> None:
    line = bench(
        LINE + "stack = Stack('broken', gateway=Gateway(), zones=['a'], services=[Service('who', 'who:app',\n"
        "  expose=['/'], fuse=False, scale=Scale(1, 3, rps=20, cooldown='2s', cooldown_out='1s'))])\n",
        who="import pathlib\nassert not pathlib.Path('broken').exists(), 'no second one'\n" + WHO,
    )
    line.up("--no-reload")
    (line.folder / "broken").touch()
    with asked(line, "/x", 60) as seen:
        assert eventually(lambda: "refused who a: stays at 1" in events(line)), events(line)
        assert "no second one" in events(line)
        assert never(lambda: events(line).count("stays at 1") > 1, within=2), "not again at once"
    assert set(seen) == {200} and instances(line, "who") == 1


def test_a_function_sleeps_until_a_message_waits_and_loses_none(bench: Make) -> None:
    line = bench(
        LINE + "work, news = Queue('work'), Topic('news')\n"
        "stack = Stack('sleepy', gateway=Gateway(), zones=['a', 'b'],\n"
        "  services=[Service('who', 'who:app', expose=['/'], uses=[work, news])],\n"
        "  functions=[Function('packer', 'packer:handle', work,\n"
        "                      scale=Scale(0, 2, queue=5, cooldown='1s', idle='2s')),\n"
        "             Function('reader', 'packer:read', news, scale=Scale(0, 1, idle='2s'))])\n",
        who=WHO,
        packer="""
        import os, pathlib, time

        def handle(event):
            pathlib.Path(f"worker-{os.getpid()}").touch()
            while os.path.exists("many") and len(list(pathlib.Path(".").glob("worker-*"))) < 3:
                time.sleep(0.02)
            with open("handled", "a") as file:
                file.write(f"{event['data']['n']} {os.getpid()}\\n")

        def read(event):
            with open("read", "a") as file:
                file.write(f"{event['subject']} {event['data']['n']}\\n")
        """,
    )
    line.up()
    assert service(line, "packer")["asleep"]
    assert "0, asleep" in line.run("status").stdout
    assert not any("packer" in each["name"] for each in line.status()["processes"])
    at = front(line)
    handled = line.folder / "handled"
    assert httpx.get(f"{at}/publish/1", timeout=PATIENCE).status_code == 200
    assert eventually(handled.exists), events(line)
    # The more wait, the more work on them: one alone waits for another.
    assert eventually(lambda: service(line, "packer")["asleep"]), events(line)
    (line.folder / "many").touch()
    assert httpx.get(f"{at}/publish/80", timeout=PATIENCE).status_code == 200
    lines = eventually(lambda: len(found := handled.read_text().splitlines()) >= 81 and found)
    assert lines and {int(each.split()[0]) for each in lines[1:]} == set(range(80))
    assert len({each.split()[1] for each in lines[1:]}) > 1
    assert eventually(lambda: service(line, "packer")["asleep"]), events(line)
    assert eventually(lambda: "nothing waited for 2 s, asleep" in events(line)), events(line)
    assert len(handled.read_text().splitlines()) == 81, "each once"
    # A topic keeps what a function that sleeps has not read.
    assert httpx.get(f"{at}/news/publish/3").status_code == 200
    read = line.folder / "read"
    assert eventually(lambda: read.exists() and read.read_text() == "news 0\nnews 1\nnews 2\n"), events(line)


def test_a_season_raises_capacity_warms_up_and_goes(bench: Make) -> None:
    line = bench(
        LINE + "films = Relational('films')\n"
        "stack = Stack('season', lb=LoadBalancer(), cache=HTTPCache(), gateway=Gateway(), journeys=[home], zones=['a', 'b'],\n"
        "  services=[Service('who', 'who:app', uses=[films], expose=['/who'], scale=Scale(1, 3))],\n"
        "  seasons=[\n"
        "    Season('premiere', min=2, deadline='5s',\n"
        "           warm_up=['/home', '/who/{1..10}', 'warm:up', 'warm:fails', films]),\n"
        "  ])\n",
        who=WHO,
        warm="""
        import os, pathlib

        def up():
            pathlib.Path("warmed").write_text(os.environ["DATABASE_URL"])

        async def fails():
            raise RuntimeError("no buffers here")
        """,
    )
    line.up()
    done = run("season", "premiere", "start", str(line.folder))
    assert done.returncode == 1, "a warm-up fails"
    said = {each.split()[1]: each for each in done.stdout.splitlines()[1:]}
    assert "4 of 4 answered" in said["/home"] and "40 of 40 answered" in said["/who/{1..10}"], done.stdout
    assert "✗" in said["warm:fails"] and "RuntimeError: no buffers here" in said["warm:fails"]
    assert "films pages" not in said["Relational"] and "pages of" in said["Relational"], done.stdout
    assert (line.folder / "warmed").read_text().startswith("postgresql://")
    hops = {hop["tier"]: hop["verdict"] for hop in line.trip("/who/7")["hops"]}
    assert hops["cache"] == "hit", "a visitor is the second to ask"
    assert service(line, "who")["desired"] == {"a": 2, "b": 2}
    again = run("season", "premiere", "start", str(line.folder))
    assert again.returncode == 2 and "is on already" in again.stderr
    assert run("season", "premiere", "end", str(line.folder)).returncode == 0
    assert instances(line, "who") == 2
    # Another stack file, with a season whose time is near.
    soon = datetime.datetime.now(datetime.UTC)
    start, end = ((soon + datetime.timedelta(seconds=more)).isoformat()[:19] for more in (2, 3600))
    more = f"Season('clock', min=3, start='{start}', end='{end}', lead='1s'), Season('premiere',"
    text = (line.folder / "stack.py").read_text().replace("Season('premiere',", more)
    (line.folder / "stack.py").write_text(text)
    assert line.run("reload").returncode == 0
    assert eventually(lambda: service(line, "who")["desired"] == {"a": 3, "b": 3}), events(line)
    soon = (datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=2)).isoformat()[:19]
    (line.folder / "stack.py").write_text(text.replace(end, soon))
    assert line.run("reload").returncode == 0
    assert eventually(lambda: instances(line, "who") == 2), events(line)
    assert eventually(lambda: "season clock: is over" in events(line)), events(line)


def test_what_an_instance_is_answering_is_answered_before_it_goes(bench: Make) -> None:
    line = bench(
        LINE + "stack = Stack('draining', lb=LoadBalancer(), gateway=Gateway(), zones=['a'], services=[\n"
        "  Service('asgi', 'who:app', expose=['/asgi'], drain='90s', scale=Scale(1, 2), fuse=False),\n"
        "  Service('wsgi', 'old:app', interface='wsgi', expose=['/wsgi'], drain='90s', scale=Scale(1, 2), fuse=False),\n"
        "  Service('command', command=['python', 'server.py', '$PORT'], expose=['/command'], drain='90s', scale=Scale(1, 2)),\n"
        "])\n",
        who=WHO,
        old="""
        import json, os, pathlib, time

        def app(environ, start_response):
            if "slow" in environ["PATH_INFO"]:
                pathlib.Path(f"slow-{id(environ)}-{os.getpid()}").touch()
                while not os.path.exists("go"):
                    time.sleep(0.02)
            start_response("200 OK", [("content-type", "application/json")])
            return [json.dumps({"pid": os.getpid()}).encode()]
        """,
        server=SERVER,
    )
    line.up()
    at, names = front(line), ("asgi", "wsgi", "command")
    for name in names:
        assert run("scale", name, "2", str(line.folder)).returncode == 0
    seen: dict[str, list[Any]] = {name: [] for name in names}
    fast: dict[str, Counter[int]] = {name: Counter() for name in names}
    lately: dict[str, deque[int]] = {name: deque(maxlen=20) for name in names}
    stop = threading.Event()

    def slow(name: str) -> None:
        got = httpx.get(f"{at}/{name}/slow", timeout=PATIENCE)
        seen[name].append((got.status_code, got.json()["pid"]))

    def quick(name: str) -> None:
        with httpx.Client() as client:
            while not stop.is_set():
                answer = client.get(f"{at}/{name}", timeout=PATIENCE)
                fast[name][answer.status_code] += 1
                if answer.status_code == 200:
                    lately[name].append(answer.json()["pid"])

    threads = [threading.Thread(target=slow, args=(name,)) for name in names for _ in range(4)]
    quickly = [threading.Thread(target=quick, args=(name,)) for name in names]
    for each in (*threads, *quickly):
        each.start()
    going = {each["name"]: each["pid"] for each in line.status()["processes"]}
    assert eventually(
        lambda: (
            {str(going[f"{name}.a-2"]) for name in names} <= {*slowly_answered(line)}
            and len(slowly_answered(line)) == 12
        )
    )
    downs = [threading.Thread(target=run, args=("scale", name, "1", str(line.folder))) for name in names]
    for each in downs:
        each.start()
    # The first, as they go one after the other, is on its way once it gets nothing new.
    for each in lately.values():
        each.clear()
    assert eventually(lambda: any(len(found) == 20 and len({*list(found)}) == 1 for found in lately.values()))
    (line.folder / "go").touch()
    for each in (*downs, *threads):
        each.join()
    stop.set()
    for each in quickly:
        each.join()
    left = {each["name"] for each in line.status()["processes"]}
    for name in names:
        assert f"{name}.a-2" not in left
        assert [status for status, _ in seen[name]] == [200] * 4, (name, seen)
        assert going[f"{name}.a-2"] in {pid for _, pid in seen[name]}, (
            "one that went had answered some of them"
        )
        assert set(fast[name]) == {200}, (name, fast)


def test_a_command_restarts_while_others_answer_and_finishes_what_it_has(bench: Make) -> None:
    line = bench(
        LINE
        + "stack = Stack('rolling', lb=LoadBalancer(), gateway=Gateway(), zones=['a'], services=[Service('command',\n"
        "  command=['python', 'server.py', '$PORT'], expose=['/'], scale=Scale(2, 2))])\n",
        server=SERVER,
    )
    line.up()
    at = front(line)
    slow: list[int] = []
    quick: Counter[int] = Counter()
    stop = threading.Event()

    def post() -> None:
        with httpx.Client(timeout=PATIENCE) as client:
            while not stop.is_set():
                quick[client.post(f"{at}/x", content=b"once").status_code] += 1

    slowly = [
        threading.Thread(target=lambda: slow.append(httpx.get(f"{at}/slow", timeout=PATIENCE).status_code))
        for _ in range(4)
    ]
    posting = [threading.Thread(target=post) for _ in range(3)]
    for each in (*slowly, *posting):
        each.start()
    before = {each["name"]: each["pid"] for each in line.status()["processes"]}
    assert eventually(lambda: len(slowly_answered(line)) == 4)
    threading.Timer(
        1, (line.folder / "go").touch
    ).start()  # while it restarts, or before: then it only proves less
    done = run("restart", "command", str(line.folder))
    stop.set()
    for each in (*slowly, *posting):
        each.join()
    after = {each["name"]: each["pid"] for each in line.status()["processes"]}
    assert done.returncode == 0, done.stderr
    assert before["command.a"] != after["command.a"] and before["command.a-2"] != after["command.a-2"]
    assert slow == [200] * 4 and set(quick) == {200}, (slow, quick)
