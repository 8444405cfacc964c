"""The places of the streaming suite that are whole lineups: CDN, balancer, cache, gateway, and a service in the Python
worker beside one that is a command."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import ClassVar

from streaming_suite import Place, StreamingContract

from ports import free_port
from tierline.lineups import LINEUPS
from tierline.tiers.base import system
from workbench import Bench

STACK = """
import sys
from collections.abc import AsyncIterator
from tierline import CDN, DNS, Gateway, HTTPCache, Journey, LoadBalancer, Mobile, Service, Stack, Web
from tierline.journeys import HTML, Event, Slot

film = Journey("film", "/film/{id}", deadline="60s")
ticks = Journey("ticks", "/ticks/{id}", deadline="60s")

@film.part
async def title(id: str) -> str:
    return "piece 0 of " + id

@film.part(defer=True)
async def late(id: str, web) -> str:
    await web.get("/wanted", id=id, times=2)
    return "piece 1 of " + id

@film.view("web")
def page(title, late: Slot) -> HTML:
    return HTML("<!doctype html><body><h1>{title}</h1>{late}</body>", title=title, late=late("..."))

@film.view("web", of="late")
def late_piece(late: str) -> HTML:
    return HTML("<p>{late}</p>", late=late)

@film.view("mobile", stream=True)
def screen(title, late) -> dict[str, str]:
    return {"title": title, "late": late}

@ticks.live(heartbeat="15s")
async def tick(id: str, web) -> AsyncIterator[Event[str]]:
    try:
        for number in range(1000):
            await web.get("/wanted", id=id, times=number + 1)
            yield Event(f"piece {number} of {id}", id=str(number))
    finally:
        await web.post("/leave", id=id)

stack = Stack(
    "streams", dns=DNS("streams.test"), cdn=CDN(), lb=LoadBalancer(http3=QUIC), cache=HTTPCache(), gateway=Gateway(),
    clients=[Web(), Mobile()], journeys=[film, ticks],
    services=[
        Service("web", "streaming_app:app", expose=["/"]),
        Service("wsgi", "streaming_wsgi:app", interface="wsgi", expose=["/wsgi/"]),
        Service("raw", command=[sys.executable, "streaming_app.py"], expose=["/raw/"]),
    ],
    zones=["a"],
)
"""


class LineStreaming(StreamingContract):
    """A lineup; the command is the service, which reads and sends trailers and 103 as well."""

    lineup: ClassVar[str] = ""
    bench: ClassVar[Bench]
    prefix: ClassVar[str] = "/raw"

    def __init_subclass__(cls) -> None:
        if cls.lineup:
            chosen = LINEUPS[cls.lineup]
            tiers = [system(tier, chosen[tier]) for tier in ("gateway", "cache", "lb", "cdn")]
            lacks = {feature: why for each in tiers for feature, why in each.lacks.items()}
            if chosen["gateway"] == "haproxy" and any(each.engine == "nginx" for each in tiers):
                del lacks["unsized-uploads"]  # nginx counts them
            cls.lacks = lacks

    @classmethod
    def make(cls) -> Place:
        folder = Path(tempfile.mkdtemp(prefix="tierline-streams-"))
        folder.chmod(0o755)
        here = Path(__file__).parent
        files = {each: (here / each).read_text() for each in ("streaming_app.py", "streaming_wsgi.py")}
        quic = "http3" in system("lb", LINEUPS[cls.lineup]["lb"]).supports
        cls.bench = Bench(folder, STACK.replace("QUIC", str(quic)), files)
        http, https = free_port(), free_port()
        cls.bench.up("--lineup", cls.lineup, "--port", f"http={http}", "--port", f"https={https}")

        def close() -> None:
            cls.bench.run("down", "--volumes")
            cls.bench.close()

        # No CDN here speaks HTTP/3: over that a client comes to the balancer itself.
        ports = json.loads((cls.bench.state / "ports.json").read_text())
        return Place(
            ("127.0.0.1", http), ("127.0.0.1", https), "streams.test", prefix=cls.prefix, close=close,
            quic=("127.0.0.1", int(ports["lb.a/https"].rpartition(":")[2])) if quic else None,
        )  # fmt: skip
