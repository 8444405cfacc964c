"""Streams and consumers: `python -m tierline.engines.nats.provision CONFIG.json`.

Runs at every start. What is there and as wanted is left alone; what differs is updated in place with its
messages kept. A stream that the stack no longer has stays: its messages are not ours to delete. The consumer of a
function that the stack no longer has goes; others are their makers'.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import nats
from nats.errors import Error
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, RetentionPolicy, StreamConfig
from nats.js.errors import APIError, NotFoundError

from tierline.engines.nats.layout import FUNCTION


async def stream(js: JetStreamContext, wanted: dict[str, Any]) -> None:
    fields = {key: value for key, value in wanted.items() if key != "consumers"}
    fields["retention"] = RetentionPolicy(fields["retention"])
    name = wanted["name"]
    try:
        there = (await js.stream_info(name)).config
    except NotFoundError:
        await js.add_stream(StreamConfig(**fields))
        print(f"made stream {name}")
    else:
        if differing := [key for key, value in fields.items() if not _same(getattr(there, key), value)]:
            await js.update_stream(there.evolve(**fields))
            print(f"updated stream {name}: {', '.join(differing)}")
    for one in wanted["consumers"]:
        await consumer(js, name, one)
    await _gone(js, name, {one["durable_name"] for one in wanted["consumers"]})


async def consumer(js: JetStreamContext, name: str, wanted: dict[str, Any]) -> None:
    durable = wanted["durable_name"]
    try:
        there = (await js.consumer_info(name, durable)).config
    except NotFoundError:
        await js.add_consumer(name, ConsumerConfig(**wanted))
        print(f"made consumer {durable}")
        return
    if differing := [key for key, value in wanted.items() if not _same(getattr(there, key), value)]:
        await js.add_consumer(name, there.evolve(**wanted))
        print(f"updated consumer {durable}: {', '.join(differing)}")


async def _gone(js: JetStreamContext, name: str, wanted: set[str]) -> None:
    """The consumers of functions that the stack no longer has: what waits for them would be kept for nobody."""
    for info in await js.consumers_info(name):
        function = (info.config.metadata or {}).get(FUNCTION)
        if function is not None and info.name not in wanted:
            waits = (info.num_pending or 0) + (info.num_ack_pending or 0)
            await js.delete_consumer(name, info.name)
            print(
                f"removed consumer {info.name}: there is no function {function}; {waits} messages waited for it"
            )


def _same(there: Any, wanted: Any) -> bool:
    if isinstance(wanted, float):
        return bool(abs((there or 0.0) - wanted) < 1e-6)
    if isinstance(wanted, dict):  # the server adds keys of its own
        return all((there or {}).get(key) == value for key, value in wanted.items())
    return bool(there == wanted)


async def provision(config: dict[str, Any]) -> None:
    client = await nats.connect(
        config["url"], user=config["user"], password=config["password"], connect_timeout=5
    )
    try:
        js = client.jetstream(timeout=10)
        for wanted in config["streams"]:
            try:
                await stream(js, wanted)
            except APIError as problem:
                raise SystemExit(
                    f"{wanted['name']}: {problem.description or problem}. What the server can't change in"
                    " place needs a new name, or a fresh start with `tierline down --volumes`."
                ) from problem
    finally:
        await client.close()


def main(path: str) -> None:
    try:
        asyncio.run(provision(json.loads(Path(path).read_text())))
    except (Error, OSError) as problem:
        raise SystemExit(f"nats: {problem}") from problem


if __name__ == "__main__":
    main(sys.argv[1])
