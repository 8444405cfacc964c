"""NATS, started for real."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import nats
import pytest
from harness import LocalContext, Runner, StepFailed, make_role, make_unit, memory
from nats.js import JetStreamContext

from tierline.engines.base import Engine
from tierline.engines.nats.engine import ENGINE, PASSWORD, USER
from tierline.errors import EngineError
from tierline.plan.model import Role, Unit


def role(kind: str, name: str, **settings: Any) -> Role:
    return make_role(name, f"feature.{kind}", "nats", ("nats",), settings=settings)


UNIT = make_unit(
    "nats",
    role("queue", "orders", dead_letter_after=2, visibility=0.2),
    role("stream", "ratings", retention=3600.0, key="film_id"),
    role("topic", "news"),
    role("bus", "events"),
)


def talk(context: LocalContext, run: Callable[[JetStreamContext], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        host, port = context.address("orders", "nats")
        client = await nats.connect(
            f"nats://{host}:{port}", user=USER, password=context.secret(PASSWORD), connect_timeout=30
        )
        try:
            return await run(client.jetstream())
        finally:
            await client.close()

    return asyncio.run(main())


def test_it_is_an_engine() -> None:
    engine: Engine = ENGINE
    assert engine.binary().source == "wheel"
    assert ENGINE.version().startswith("2.")


def test_messages_survive_a_crash_and_nothing_is_made_twice(line: Any) -> None:
    runner: Runner = line(UNIT)
    (process,) = runner.start(ENGINE, UNIT)
    print(runner.took, memory(runner.running["nats"].pid))

    async def publish(js: JetStreamContext) -> None:
        await js.publish("orders", b"one")
        await js.publish("ratings.42", b"5")

    talk(runner.context, publish)
    runner.kill("nats")
    runner.context.move()
    runner.ran.clear()
    runner.start(ENGINE, UNIT)
    assert runner.ran == ["streams and their consumers"]

    async def receive(js: JetStreamContext) -> tuple[bytes, int]:
        (message,) = await (await js.pull_subscribe_bind("orders", "orders")).fetch(1, timeout=30)
        await message.ack_sync()
        rating = await js.get_last_msg("ratings", "ratings.42")
        assert rating.data == b"5"
        return message.data, (await js.stream_info("orders")).state.messages

    assert talk(runner.context, receive) == (b"one", 0)
    assert memory(runner.running["nats"].pid) < 40
    assert runner.stop(process) < process.stop_timeout, "by force"


def test_a_message_that_is_given_up_is_noted(line: Any) -> None:
    runner: Runner = line(UNIT)
    runner.start(ENGINE, UNIT)

    async def give_up(js: JetStreamContext) -> tuple[int, bytes]:
        await js.publish("orders", b"poison")
        consumer = await js.pull_subscribe_bind("orders", "orders")
        for _ in range(2):
            await consumer.fetch(1, timeout=30)
        with pytest.raises(nats.errors.TimeoutError):
            await consumer.fetch(1, timeout=0.5)
        note = json.loads((await js.get_msg("orders-dead", seq=1)).data or b"")
        lost = await js.get_msg("orders", seq=note["stream_seq"])
        return note["deliveries"], lost.data or b""

    assert talk(runner.context, give_up) == (2, b"poison")


def test_changed_settings_are_applied_and_messages_kept(line: Any) -> None:
    runner: Runner = line(UNIT)
    runner.start(ENGINE, UNIT)

    async def publish(js: JetStreamContext) -> None:
        await js.publish("orders", b"kept")

    talk(runner.context, publish)
    runner.kill("nats")
    runner.ran.clear()
    changed: Unit = make_unit("nats", role("queue", "orders", dead_letter_after=7, retention=600.0))
    runner.start(ENGINE, changed)
    assert "updated consumer orders: ack_wait, max_deliver" in runner.ran
    assert "updated stream orders: max_age" in runner.ran

    async def look(js: JetStreamContext) -> tuple[int | None, int]:
        info = await js.consumer_info("orders", "orders")
        return info.config.max_deliver, (await js.stream_info("orders")).state.messages

    assert talk(runner.context, look) == (7, 1)
    runner.kill("nats")
    with pytest.raises(StepFailed, match=r"orders: .*retention policy.*tierline down --volumes"):
        runner.start(ENGINE, make_unit("nats", role("topic", "orders")))


def test_the_checker_refuses_raw_nonsense(line: Any) -> None:
    import subprocess

    unit = make_unit("nats", role("topic", "news", raw="jetstream ["))
    runner: Runner = line(unit)
    (process,) = ENGINE.processes(unit, runner.context)
    for name, text in process.files.items():
        with open(name, "w") as file:  # noqa: PTH123
            file.write(text)
    assert subprocess.run(process.check, capture_output=True, check=False).returncode != 0


def test_a_name_that_nats_cannot_have() -> None:
    with pytest.raises(EngineError, match="letters, digits"):
        from tierline.engines.nats.layout import layout

        layout(role("queue", "my.orders"))
