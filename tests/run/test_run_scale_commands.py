"""What can't count its requests, or has none, scales all the same: commands by who calls them, workers by their queue."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest
from test_run_scaling import asked, events, front, instances, service

from waiting import eventually
from workbench import Bench

Make = Callable[..., Bench]

SERVER = """
import http.server, os, time

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        time.sleep(0.12 if "slow" in self.path else 0)
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"[]")

    def log_message(self, *words):
        pass

http.server.ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
"""

STACK = """
from tierline import *

home = Journey("home", "/home")

@home.part
async def found(plain):
    return (await plain.get("/found")).json()

quick = dict(cooldown="2s", cooldown_out="1s")
stack = Stack(
    "commands",
    gateway=Gateway(),
    journeys=[home],
    zones=["a"],
    services=[
        Service("plain", command=["python", "server.py"], expose=["/plain"], scale=Scale(1, 3, rps=15, **quick)),
        Service("late", command=["python", "server.py"], expose=["/late"], scale=Scale(1, 2, latency="60ms", **quick)),
    ],
)
"""


@pytest.mark.parametrize("gateway", ["envoy", "haproxy", "nginx"])
def test_a_command_scales_by_the_requests_and_the_time_that_the_gateway_sees(
    bench: Make, gateway: str
) -> None:
    line = bench(STACK, server=SERVER)
    line.up("--use", f"gateway={gateway}")
    with asked(line, "/plain/x", 40) as many, asked(line, "/late/slow", 10) as late:
        assert eventually(lambda: instances(line, "plain") == 3), events(line)
        assert eventually(lambda: instances(line, "late") == 2), events(line)

        def shared() -> bool:
            each = [one["rps"] or 0 for one in service(line, "plain")["instances"]]
            return min(each) > 5

        assert eventually(shared), service(line, "plain")
    assert "requests/s over 15 per instance" in events(line) and "ms over 60 ms" in events(line)
    assert set(many) == set(late) == {200}
    assert eventually(lambda: instances(line, "plain") == 1), events(line)


def test_what_journeys_ask_of_a_command_counts_too(bench: Make) -> None:
    line = bench(STACK, server=SERVER)
    line.up()
    with asked(line, "/home", 40) as seen:
        assert eventually(lambda: instances(line, "plain") == 3), events(line)
        told = service(line, "plain")
        assert eventually(lambda: 25 < (service(line, "plain")["rps"] or 0) < 55), told
    assert set(seen) == {200}


def test_a_service_that_works_off_a_queue_follows_what_waits_in_it(bench: Make) -> None:
    line = bench(
        """
        from tierline import *

        work = Queue("work")
        stack = Stack("workers", gateway=Gateway(), zones=["a"], services=[
            Service("front", "front:app", uses=[work], expose=["/"]),
            Service("worker", "worker:app", uses=[work], fuse=False,
                    scale=Scale(1, 3, queue=10, cooldown="2s", cooldown_out="1s")),
        ])
        """,
        front="""
        import os
        import nats

        async def app(scope, receive, send):
            assert scope["type"] == "http"
            client = await nats.connect(os.environ["NATS_URL"])
            for number in range(150 if "publish" in scope["path"] else 0):
                await client.jetstream().publish(os.environ["WORK_SUBJECT"], str(number).encode())
            await client.close()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b""})
        """,
        worker="""
        import asyncio, os
        import nats

        async def work():
            client = await nats.connect(os.environ["NATS_URL"])
            # The queue's own consumer has the queue's name.
            messages = await client.jetstream().pull_subscribe(os.environ["WORK_SUBJECT"], durable="work")
            while True:
                try:
                    (message,) = await messages.fetch(1, timeout=5)
                except nats.errors.TimeoutError:
                    continue
                open(f"worker-{os.getpid()}", "a").close()
                while sum(name.startswith("worker-") for name in os.listdir()) < 3:
                    await asyncio.sleep(0.05)
                await asyncio.sleep(0.02)
                with open("handled", "a") as file:
                    file.write(f"{message.data.decode()} {os.getpid()}\\n")
                await message.ack()

        async def app(scope, receive, send):
            if scope["type"] == "lifespan":
                await receive()
                task = asyncio.create_task(work())
                await send({"type": "lifespan.startup.complete"})
                await receive()
                task.cancel()
                await send({"type": "lifespan.shutdown.complete"})
                return
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b""})
        """,
    )
    line.up()
    assert httpx.get(f"{front(line)}/publish", timeout=60).status_code == 200
    assert eventually(lambda: instances(line, "worker") == 3), events(line)
    handled = line.folder / "handled"
    assert eventually(handled.exists), events(line)
    done = eventually(lambda: len(found := handled.read_text().splitlines()) >= 150 and found)
    assert done and {int(each.split()[0]) for each in done} == set(range(150)), "none is lost"
    assert len({each.split()[1] for each in done}) == 3, "all three work"
    assert "messages waiting, over 10 per instance" in events(line)
    assert eventually(lambda: instances(line, "worker") == 1), events(line)
