"""Reload in development: what is saved is live within a second, no request fails, and a mistake changes nothing."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from waiting import PATIENCE, eventually
from workbench import Bench, alive, of

Make = Callable[..., Bench]

APP = """
import asyncio, os, pathlib
from words import WORD

async def app(scope, receive, send):
    assert scope["type"] == "http"
    if scope["path"] == "/slow":
        pathlib.Path("begun").touch()
        while not os.path.exists("go"):
            await asyncio.sleep(0.02)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"cache-control", b"max-age=60")]})
    await send({"type": "http.response.body", "body": WORD.encode()})
"""

STACK = """
from journeys import home
from tierline import CDN, DNS, Gateway, HTTPCache, LoadBalancer, Service, Stack
stack = Stack(
    "worked-on", dns=DNS("worked-on.test"), cdn=CDN(assets="web"), lb=LoadBalancer(), cache=HTTPCache(),
    gateway=Gateway(), journeys=[home],
    services=[Service("said", "said:app", expose=["/said", "/slow"])], zones=["a", "b"],
)
"""

JOURNEYS = """
from tierline.journeys import Cache, Journey
home = Journey("home", "/home")

@home.part(cache=Cache("60s"))
async def word(said):
    return "old " + (await said.get("/said")).text
"""


class Clients:
    """Four clients with kept-alive connections that go on asking; what they got, by second."""

    def __init__(self, url: str, path: str, host: str) -> None:
        self.seen: Counter[str] = Counter()
        self.failed: list[str] = []
        self._url, self._path, self._host = url, path, host
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(4)]
        for thread in self._threads:
            thread.start()

    def _ask(self, number: int) -> None:
        with httpx.Client(base_url=self._url, headers={"host": self._host}) as client:
            count = 0
            while not self._stop.wait(0.01):
                count += 1
                # A query of its own each time: every request goes through to the service, POST too.
                method = "POST" if count % 5 == 0 and self._path == "/said" else "GET"
                try:
                    answer = client.request(method, f"{self._path}?{number}.{count}", timeout=PATIENCE)
                except httpx.HTTPError as error:
                    self.failed.append(f"{method} {error!r}")
                    continue
                if answer.status_code == 200:
                    self.seen[answer.text] += 1
                else:
                    self.failed.append(f"{method} {answer.status_code} {answer.text[:200]}")

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


@contextmanager
def asking(line: Bench, path: str = "/said") -> Iterator[Clients]:
    status = line.status()
    clients = Clients(status["urls"]["http"].rstrip("/"), path, status["domain"])
    try:
        assert eventually(lambda: clients.seen.total() > 10 or clients.failed)
        yield clients
    finally:
        clients.stop()
    assert clients.failed == []


def get(line: Bench, path: str, **headers: str) -> httpx.Response:
    status = line.status()
    return httpx.get(
        status["urls"]["http"].rstrip("/") + path,
        headers={"host": status["domain"], **headers},
        timeout=PATIENCE,
    )


class Saved:
    """A file that was saved just now."""

    def __init__(self, line: Bench, name: str, text: str) -> None:
        self._status = line.status()
        self._line = line
        self._at = time.monotonic()
        (line.folder / name).write_text(text)

    def live(self, path: str, text: str) -> float:
        """Seconds until this path is answered with the text, and then ten times in a row."""
        first, row = 0.0, 0
        with httpx.Client(
            base_url=self._status["urls"]["http"], headers={"host": self._status["domain"]}
        ) as client:
            while row < 10:
                answer = client.get(path).text
                assert time.monotonic() - self._at < PATIENCE, (self._line.log("events"), answer)
                row = row + 1 if text in answer else 0
                first = time.monotonic() if row == 1 else first
                time.sleep(0.01)  # slow: the pace of a client
        return first - self._at


def worked_on(bench: Make) -> Bench:
    line = bench(STACK, said=APP, journeys=JOURNEYS, words='WORD = "first"\n')
    (line.folder / "web").mkdir()
    (line.folder / "web/index.html").write_text("page one")
    line.up("--reload")
    return line


def test_what_is_saved_is_live_and_no_request_fails(
    bench: Make, record_property: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    line = worked_on(bench)
    assert get(line, "/home").json()["word"] == "old first"
    before = {process["name"]: process["pid"] for process in line.status()["processes"]}
    took = {}
    with asking(line) as clients:
        took["module"] = Saved(line, "words.py", 'WORD = "other"\n').live("/said", "other")
        took["again"] = Saved(line, "words.py", 'WORD = "third"\n').live("/said", "third")
        took["journeys"] = Saved(line, "journeys.py", JOURNEYS.replace("old ", "new ")).live(
            "/home", "new third"
        )
        took["assets"] = Saved(line, "web/index.html", "page two").live("/", "page two")
        took["stack"] = Saved(line, "stack.py", STACK.replace('"/slow"', '"/slow", "/extra"')).live(
            "/extra", "third"
        )
    with capsys.disabled():
        print("\nlive after", {what: f"{seconds:.2f} s" for what, seconds in took.items()})
    record_property("live after", took)
    assert clients.seen["other"] and clients.seen["third"]
    after = {process["name"]: process["pid"] for process in line.status()["processes"]}
    assert {name for name in before if before[name] != after[name]} == {"apps.a", "apps.b"}
    told = line.run("status").stdout
    assert "reloaded apps.a, apps.b: words.py, live after" in told
    assert eventually(lambda: not alive(before["apps.a"])), "what was succeeded is gone"


def test_a_request_that_runs_when_its_code_is_replaced_is_answered(bench: Make) -> None:
    line = worked_on(bench)
    answers: list[httpx.Response] = []
    slow = threading.Thread(target=lambda: answers.append(get(line, "/slow")))
    slow.start()
    assert eventually((line.folder / "begun").exists)
    Saved(line, "words.py", 'WORD = "other"\n').live("/said", "other")
    (line.folder / "go").touch()
    slow.join()
    assert (answers[0].status_code, answers[0].text) == (200, "first")


def test_a_mistake_keeps_what_runs_and_says_where_it_is(bench: Make) -> None:
    line = worked_on(bench)
    with asking(line) as clients:
        (line.folder / "words.py").write_text("WORD = 'other'\nthis is no Python\n")
        assert eventually(lambda: "words.py:2: SyntaxError: invalid syntax" in line.log("events"))
        assert "not reloaded, the code before still runs: words.py:2" in line.process("apps.a")["problem"]
        assert "words.py:2: SyntaxError" in line.run("status").stdout
        (line.folder / "words.py").write_text("WORD = missing\n")
        assert eventually(
            lambda: "words.py:1: NameError: name 'missing' is not defined" in line.log("events")
        )
        (line.folder / "stack.py").write_text(STACK.replace("LoadBalancer()", "LoadBalancer(balnce='x')"))
        assert eventually(lambda: "did you mean 'balance'?" in line.log("events"))
        assert "stack: not applied" in line.run("status").stdout
        assert set(clients.seen) == {"first"}
        (line.folder / "stack.py").write_text(STACK)
        Saved(line, "words.py", "WORD = 'right'\n").live("/said", "right")
    status = line.status()
    assert status["refused"] == {} and not any(each["problem"] for each in status["processes"])


ROWS = """
import os
import asyncpg

URL = os.environ["DATABASE_URL"]

async def app(scope, receive, send):
    assert scope["type"] == "http"
    connection = await asyncpg.connect(URL)
    rows = await connection.fetch(
        "select tablename from pg_tables where schemaname = 'public' and tablename in ('one', 'two', 'uno') order by 1"
    )
    await connection.close()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": " ".join(row[0] for row in rows).encode()})
"""


def test_a_new_schema_file_is_applied_and_one_that_was_applied_is_told(bench: Make) -> None:
    line = bench(
        """
        from tierline import Relational, Service, Stack
        films = Relational("films", schema="sql")
        stack = Stack("kept", services=[Service("rows", "rows:app", uses=[films])], zones=["a"])
        """,
        rows=ROWS,
    )
    (line.folder / "sql").mkdir()
    (line.folder / "sql" / "001_one.sql").write_text("create table one (n int);")
    line.up("--reload")
    url = "http://" + line.status()["addresses"]["rows.a/http"]
    assert httpx.get(url).text == "one"
    (line.folder / "sql" / "002_two.sql").write_text("create table two (n int);")
    assert eventually(lambda: httpx.get(url).text == "one two"), line.log("events")
    assert eventually(lambda: "reloaded postgresql: sql/002_two.sql" in line.log("events"))
    (line.folder / "sql" / "001_one.sql").write_text("create table uno (n int);")
    assert eventually(lambda: "001_one.sql was applied to database" in line.log("events")), line.log("events")
    assert httpx.get(url).text == "one two"


def test_spares_end_with_the_line_however_it_ends(bench: Make) -> None:
    line = worked_on(bench)
    waiting: list[int] = []

    def all_wait() -> bool:
        waiting[:] = [pid for pid, what in of(line.folder).items() if "apps.json" in what and spare(pid)]
        return len(waiting) == 2

    assert eventually(all_wait), f"each Python process has one: {waiting}"
    os.kill(line.status()["pid"], signal.SIGKILL)
    assert eventually(lambda: not of(line.folder)), of(line.folder)
    line.up("--reload")
    Saved(line, "words.py", 'WORD = "other"\n').live("/said", "other")
    line.down()
    assert line.left() == []


def spare(pid: int) -> bool:
    return b"TIERLINE_SPARE=1" in Path(f"/proc/{pid}/environ").read_bytes()


def test_a_function_and_a_command_are_reloaded_too(bench: Make) -> None:
    line = bench(
        """
        from tierline import Function, Queue, Service, Stack
        work = Queue("work")
        stack = Stack("mixed", zones=["a"], services=[
            Service("sender", "sender:app", uses=[work]),
            Service("command", command=["python", "command.py"], health="/"),
        ], functions=[Function("worker", "worker:handle", work)])
        """,
        sender="""
        import os
        import nats

        SUBJECT, URL = os.environ["WORK_SUBJECT"], os.environ["NATS_URL"]

        async def app(scope, receive, send):
            assert scope["type"] == "http"
            client = await nats.connect(URL)
            await client.jetstream().publish(SUBJECT, b"{}")
            await client.close()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b""})
        """,
        worker="import pathlib\n\ndef handle(event):\n    pathlib.Path('handled').write_text('first')\n",
        command=COMMAND,
    )
    line.up("--reload")
    at = line.status()["addresses"]
    handled = line.folder / "handled"
    httpx.get(f"http://{at['sender.a/http']}")
    assert eventually(lambda: handled.exists() and handled.read_text() == "first")
    before = line.process("worker.a")["pid"]
    (line.folder / "worker.py").write_text((line.folder / "worker.py").read_text().replace("first", "other"))
    assert eventually(lambda: "reloaded worker.a: worker.py" in line.log("events")), line.log("events")
    assert eventually(lambda: not alive(before)), "the older worker has gone"
    httpx.get(f"http://{at['sender.a/http']}")
    assert eventually(lambda: handled.read_text() == "other")
    (line.folder / "command.py").write_text(COMMAND.replace("first", "other"))
    assert eventually(lambda: "reloaded command.a: command.py" in line.log("events")), line.log("events")
    assert httpx.get(f"http://{at['command.a/http']}").text == "other"


COMMAND = """
import http.server, os

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"first")

http.server.HTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
"""
