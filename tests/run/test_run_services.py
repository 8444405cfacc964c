"""Every kind of service on a real line, and lines that close up over the tiers they leave out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from waiting import eventually
from workbench import HELLO, Bench

Make = Callable[..., Bench]


def addresses(line: Bench) -> dict[str, str]:
    return {name: f"http://{at}" for name, at in line.status()["addresses"].items()}


def test_asgi_wsgi_commands_and_a_function_on_a_queue(bench: Make) -> None:
    line = bench(
        """
        from tierline import Function, Queue, Service, Stack

        work = Queue("work")
        stack = Stack(
            "mixed",
            services=[
                Service("asgi", "asgi_app:create.app", uses=[work], env={"MINE": "asgi's"}),
                Service("wsgi", "wsgi_app:app", interface="wsgi", env={"MINE": "wsgi's"}),
                Service("command", command=["python", "command.py", "$PORT"], env={"MINE": "command's"}, health="/up"),
            ],
            functions=[Function("worker", "worker:handle", work)],
            zones=["a"],
        )
        """,
        asgi_app="""
        import os

        MINE = os.environ["MINE"]

        class create:
            @staticmethod
            async def app(scope, receive, send):
                if scope["type"] == "lifespan":
                    await receive()
                    await send({"type": "lifespan.startup.complete"})
                    await receive()
                    await send({"type": "lifespan.shutdown.complete"})
                    return
                if scope["path"] == "/send":
                    import nats
                    client = await nats.connect(os.environ["NATS_URL"])
                    await client.jetstream().publish(os.environ["WORK_SUBJECT"], b'{"n": 1}')
                    await client.close()
                later = os.environ.get("MINE", "contested: nobody's")
                body = f"{MINE} {later} {os.environ['TIERLINE_ZONE']}".encode()
                await send({"type": "http.response.start", "status": 200, "headers": []})
                await send({"type": "http.response.body", "body": body})
        """,
        wsgi_app="""
        import os

        MINE = os.environ["MINE"]

        def app(environ, start_response):
            start_response("200 OK", [("content-type", "text/plain")])
            return [f"{MINE} {environ['PATH_INFO']}".encode()]
        """,
        command="""
        import http.server, os, sys

        assert sys.argv[1] == os.environ["PORT"]

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.end_headers()
                self.wfile.write(os.environ["MINE"].encode())

        http.server.HTTPServer((os.environ["HOST"], int(sys.argv[1])), Handler).serve_forever()
        """,
        worker="""
        import pathlib

        def handle(event):
            if not pathlib.Path("tried").exists():
                pathlib.Path("tried").touch()
                raise RuntimeError("the first time it fails")
            pathlib.Path("handled").write_text(f"{event['subject']} {event['data']['n']}")
        """,
    )
    line.up()
    at = addresses(line)
    # The applications share a process; each was imported with its own environment.
    assert line.process("apps.a")["roles"] == ["asgi.a", "wsgi.a"]
    assert httpx.get(at["asgi.a/http"]).text == "asgi's contested: nobody's a"
    assert httpx.get(at["wsgi.a/http"] + "/x").text == "wsgi's /x"
    assert httpx.get(at["command.a/http"]).text == "command's"
    assert httpx.get(at["asgi.a/http"] + "/send").status_code == 200
    handled = line.folder / "handled"
    assert eventually(handled.exists), line.log("worker.a")
    assert handled.read_text() == "work 1"
    assert "the first time it fails" in line.log("worker.a"), "a failed message is told, and delivered again"
    assert httpx.get(at["worker.a/http"]).json() == {"well": True, "handled": 1, "failed": 1}


JOURNEY = """
home = Journey("home", "/home")

@home.part
async def said(hello):
    return (await hello.get("/said")).text
"""


@pytest.mark.parametrize(
    ("tiers", "expected"),
    [
        ("", ["experience"]),
        ("gateway=Gateway()", ["gateway", "experience"]),
        ("lb=LoadBalancer()", ["lb", "experience"]),
        ("dns=DNS('shop.test'), cdn=CDN(), cache=HTTPCache()", ["dns", "cdn", "cache", "experience"]),
        ("dns=DNS('shop.test'), lb=LoadBalancer(), gateway=Gateway()", ["dns", "lb", "gateway", "experience"]),
    ],
    ids=["journeys-only", "gateway", "lb", "dns-cdn-cache", "dns-lb-gateway"],
)  # fmt: skip
def test_a_line_closes_up_over_what_it_leaves_out(bench: Make, tiers: str, expected: list[str]) -> None:
    line = bench(
        f"from tierline import *\n{JOURNEY}\n"
        f"stack = Stack('shop', {tiers}{',' if tiers else ''} journeys=[home], zones=['a'],\n"
        f"              services=[Service('hello', 'hello:app', expose=['/hello'])])\n",
        hello=HELLO,
    )
    line.up()
    trip = line.trip("/home")
    assert trip["status"] == 200, trip
    seen = list(dict.fromkeys(hop["tier"] for hop in trip["hops"]))
    assert seen == ["client", *expected, "feature"]
    line.down()
    assert line.left() == []


def test_without_fusion_the_same_line_answers_the_same(bench: Make) -> None:
    line = bench(
        f"from tierline import *\n{JOURNEY}\n"
        "stack = Stack('shop', gateway=Gateway(), journeys=[home], services=[Service('hello', 'hello:app')], zones=['a'])\n",
        hello=HELLO,
    )

    def shape() -> tuple[Any, Any]:
        trip = line.trip("/home")
        return trip["status"], [hop["tier"] for hop in trip["hops"] if hop["tier"] != "experience"]

    line.up()
    fused = shape()
    processes = len(line.status()["processes"])
    line.down()
    line.up("--no-fusion")
    assert shape() == fused
    assert len(line.status()["processes"]) == processes + 1


def test_logs_are_shown_by_process(bench: Make) -> None:
    from workbench import run

    line = bench(
        "from tierline import *\nstack = Stack('chatty', services=[Service('hello', 'hello:app')], zones=['a'])\n",
        hello=HELLO + "\nprint('hello, log', flush=True)\n",
    )
    line.up()
    shown = run("logs", str(line.folder), "hello.a")
    assert "hello.a │ hello, log" in shown.stdout
    wrong = run("logs", "helo.a", "--stack", str(line.folder))
    assert wrong.returncode == 2
    assert "no log of 'helo.a', did you mean 'hello.a'?" in wrong.stderr
