"""Streams and consumers: `python -m tierline.engines.nats.provision CONFIG.json`.

Runs at every start. What is there and as wanted is left alone; what differs is updated in place with its
messages kept. A stream that the stack no longer has stays: its messages are not ours to delete.
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


def _same(there: Any, wanted: Any) -> bool:
    if isinstance(wanted, float):
        return bool(abs((there or 0.0) - wanted) < 1e-6)
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
