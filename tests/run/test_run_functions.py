"""Functions: what never began is no attempt, what hangs ends with its process, and nothing that a topic took is lost."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import httpx
import pytest

from waiting import PATIENCE, eventually
from workbench import Bench, alive

STACK = """
from tierline import Function, Queue, Service, Stack, Topic

hangs, slow, lots, crashes, ends = (Queue(name, visibility="2s") for name in ("hangs", "slow", "lots", "crashes", "ends"))
grows, news = Queue("grows"), Topic("news")
resources = [hangs, slow, lots, crashes, ends, grows, news]
stack = Stack(
    "functions",
    services=[Service("sender", "sender:app", expose=["/"], uses=resources)],
    functions=[
        Function("hanger", "handlers:hang", hangs, timeout="1s", retries=0),
        Function("sleeper", "handlers:slow", slow, timeout="2s", retries=0),
        Function("batcher", "handlers:batch", lots, timeout="2s", batch=10, backoff="0.1s"),
        Function("crasher", "handlers:crash", crashes, timeout="2s", retries=1, backoff="0.1s"),
        Function("discarder", "handlers:ends", ends, timeout="2s", backoff="0.1s"),
        Function("grower", "handlers:grow", grows, retries=0, memory="256MiB"),
        Function("reader", "handlers:read", news, retries=1, backoff="0.1s"),
        Function("other", "handlers:other", news),
    ],
    zones=["a"],
)
"""

SENDER = """
import json, os

client = stream = None

async def app(scope, receive, send):
    global client, stream
    if scope["type"] == "lifespan":
        import nats
        await receive()
        client = await nats.connect(os.environ["NATS_URL"])
        stream = client.jetstream()
        for n in range(20):
            await stream.publish("news", json.dumps({"n": n, "first": True}).encode())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await client.close()
        await send({"type": "lifespan.shutdown.complete"})
        return
    to = scope["path"].strip("/")
    answer, sent = [], (await receive())["body"]
    if to.endswith("-dead"):
        for seq in range(1, (await stream.stream_info(to)).state.last_seq + 1):
            each = await stream.get_msg(to, seq)
            answer.append({**each.headers, "data": each.data.decode()})
    for body in json.loads(sent or b"[]"):
        await stream.publish(to, json.dumps(body).encode(), headers={"From": "sender"})
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps(answer).encode()})
"""

HANDLERS = """
import asyncio, json, os, signal, time

from tierline.functions import Discard, Retry

def note(file, event):
    with open(file, "a") as out:
        told = {"n": event["data"]["n"], "attempt": event["attempt"], "pid": os.getpid(), "id": event["id"]}
        out.write(json.dumps(told) + "\\n")

def hang(event):
    note("hangs.txt", event)
    if event["data"].get("hangs"):
        while True:
            try:
                time.sleep(3600)
            except BaseException:
                pass

def slow(event):
    note("slow.txt", event)
    time.sleep(1.5)

async def batch(events):
    assert isinstance(events, list)
    for event in events:
        note("lots.txt", event)
    await asyncio.sleep(0.5)
    return [event for event in events if event["data"]["n"] == 3 and event["attempt"] == 1]

def crash(event):
    note("crashes.txt", event)
    if event["data"].get("kill"):
        os.kill(os.getpid(), signal.SIGSEGV)

def ends(event):
    note("ends.txt", event)
    if event["data"]["n"] == 0:
        raise Discard("not wanted")
    if event["attempt"] == 1:
        raise Retry("not yet", after=0.2)

def grow(event):
    note("grows.txt", event)
    if event["data"].get("much"):
        bytearray(1 << 30)

def read(event):
    note("read.txt", event)
    if event["data"].get("poison"):
        raise ValueError("it can't be read")

def other(event):
    note("other.txt", event)
"""


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    made = Bench(tmp_path_factory.mktemp("functions"), STACK, {"sender": SENDER, "handlers": HANDLERS})
    made.up()
    yield made
    made.close()


def asked(line: Bench, path: str, *bodies: dict[str, Any]) -> Any:
    at = line.status()["addresses"]["sender.a/http"]
    answer = httpx.post(f"http://{at}/{path}", json=bodies, timeout=PATIENCE)
    assert answer.status_code == 200, line.log("sender.a")
    return answer.json()


def sent(line: Bench, to: str, *bodies: dict[str, Any]) -> None:
    asked(line, to, *bodies)


def noted(line: Bench, file: str) -> list[dict[str, Any]]:
    path = line.folder / file
    return [json.loads(each) for each in path.read_text().splitlines()] if path.exists() else []


def dead(line: Bench, name: str) -> list[Any]:
    """The messages that were set aside."""
    found: list[Any] = asked(line, f"{name}-dead")
    return found


def log(line: Bench) -> str:
    return line.log("functions.a")


def test_a_handler_that_never_ends_is_ended_and_costs_no_other_message_an_attempt(line: Bench) -> None:
    sent(line, "hangs", *({"n": n, "hangs": 1} for n in range(3)), {"n": 3})
    assert eventually(lambda: [each["n"] for each in noted(line, "hangs.txt")] == [0, 1, 2, 3]), log(line)
    assert {each["attempt"] for each in noted(line, "hangs.txt")} == {1}
    assert eventually(lambda: len(dead(line, "hangs")) == 3), log(line)
    gone = {each["pid"] for each in noted(line, "hangs.txt")[:3]}
    assert len(gone) == 3 and not any(alive(pid) for pid in gone)


def test_a_dead_letter_holds_the_whole_message(line: Bench) -> None:
    sent(line, "crashes", {"n": 1, "kill": 1}, {"n": 2})
    assert eventually(lambda: len(dead(line, "crashes")) == 1), log(line)
    (letter,) = dead(line, "crashes")
    assert json.loads(letter["data"]) == {"n": 1, "kill": 1} and letter["From"] == "sender"
    assert letter["Tierline-Attempts"] == "2" and letter["Tierline-Function"] == "crasher"
    assert letter["Tierline-Error"] == "its process was ended by SIGSEGV"
    assert datetime.fromisoformat(letter["Tierline-Enqueued-At"]).tzinfo is not None
    assert Counter(each["n"] for each in noted(line, "crashes.txt")) == {1: 2, 2: 1}


def test_what_waits_longer_than_its_visibility_runs_once(line: Bench) -> None:
    sent(line, "slow", *({"n": n} for n in range(4)))
    assert eventually(lambda: len(noted(line, "slow.txt")) == 4), log(line)
    # The last one waited 4.5 s, with a visibility of 2 s.
    sent(line, "slow", {"n": 4})
    assert eventually(lambda: len(noted(line, "slow.txt")) == 5)
    assert [(each["n"], each["attempt"]) for each in noted(line, "slow.txt")] == [(n, 1) for n in range(5)]


def test_a_batch_is_one_call_and_only_what_failed_of_it_comes_again(line: Bench) -> None:
    sent(line, "lots", *({"n": n} for n in range(25)))
    assert eventually(lambda: len(noted(line, "lots.txt")) >= 26), log(line)
    assert Counter(each["n"] for each in noted(line, "lots.txt")) == {**dict.fromkeys(range(25), 1), 3: 2}


def test_a_handler_discards_and_says_when_to_try_again(line: Bench) -> None:
    sent(line, "ends", {"n": 0}, {"n": 1})
    assert eventually(lambda: len(noted(line, "ends.txt")) == 3), log(line)
    assert [(each["n"], each["attempt"]) for each in noted(line, "ends.txt")] == [(0, 1), (1, 1), (1, 2)]
    assert not dead(line, "ends")


def test_a_handler_that_takes_more_than_its_memory_fails_alone(line: Bench) -> None:
    sent(line, "grows", {"n": 0, "much": 1}, {"n": 1})
    assert eventually(lambda: [each["n"] for each in noted(line, "grows.txt")] == [0, 1]), log(line)
    assert eventually(lambda: len(dead(line, "grows")) == 1)
    assert "MemoryError" in dead(line, "grows")[0]["Tierline-Error"]


def test_a_topic_keeps_what_is_sent_before_its_functions_ever_ran(line: Bench) -> None:
    for file in ("read.txt", "other.txt"):
        assert eventually(lambda file=file: len(noted(line, file)) >= 20), log(line)  # type: ignore[misc]
        assert [each["n"] for each in noted(line, file)[:20]] == list(range(20)), "in order"


def test_what_one_subscriber_fails_on_is_set_aside_for_it_alone(line: Bench) -> None:
    sent(line, "news", {"n": 100, "poison": 1}, {"n": 101})
    assert eventually(lambda: len(dead(line, "news-reader")) == 1), log(line)
    assert dead(line, "news-reader")[0]["Tierline-Error"] == "ValueError: it can't be read"
    assert eventually(lambda: 101 in [each["n"] for each in noted(line, "other.txt")])
    assert not dead(line, "news-other")
