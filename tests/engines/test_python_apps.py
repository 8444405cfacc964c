"""Applications of a Python process: each with its own environment, started, traced, and told when they fail."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tierline.engines.python.apps import Loaded, load
from tierline.engines.python.config import App, Config
from tierline.engines.python.environment import agreed, environment
from tierline.engines.python.traced import Traced
from tierline.errors import EngineError
from tierline.trips import record

# Environments ------------------------------------------------------------------------------------------------


def test_an_application_sees_its_own_variables_while_it_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHARED", "before")
    monkeypatch.delenv("MINE", raising=False)
    with environment({"SHARED": "mine", "MINE": "1"}):
        assert (os.environ["SHARED"], os.environ["MINE"]) == ("mine", "1")
    assert os.environ["SHARED"] == "before"
    assert "MINE" not in os.environ


def test_the_environment_is_put_back_when_the_import_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MINE", raising=False)
    with pytest.raises(ImportError), environment({"MINE": "1"}):
        raise ImportError
    assert "MINE" not in os.environ


def test_only_what_nobody_contests_stays() -> None:
    first = {"DATABASE_URL": "one", "AWS_REGION": "eu-west-1", "ONLY": "first"}
    second = {"DATABASE_URL": "two", "AWS_REGION": "eu-west-1"}
    assert agreed([first, second]) == {"AWS_REGION": "eu-west-1", "ONLY": "first"}
    assert agreed([]) == {}


# Starting and stopping ---------------------------------------------------------------------------------------


def loaded(app: Any) -> Loaded:
    return Loaded(App(name="shop", kind="asgi", host="127.0.0.1", port=1), app, app)


def test_lifespan_is_started_and_stopped() -> None:
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "lifespan"
        for _ in range(2):
            message = await receive()
            seen.append(message["type"])
            await send({"type": f"{message['type']}.complete"})

    async def life() -> None:
        each = loaded(app)
        await each.start()
        assert seen == ["lifespan.startup"]
        await each.stop()

    asyncio.run(life())
    assert seen == ["lifespan.startup", "lifespan.shutdown"]


def test_an_application_without_lifespan_starts_all_the_same() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"

    asyncio.run(loaded(app).start())


def test_a_start_up_that_fails_is_told() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        raise ConnectionError("no database")

    with pytest.raises(RuntimeError, match=r"shop: start-up failed: ConnectionError\('no database'\)"):
        asyncio.run(loaded(app).start())


# Traces ------------------------------------------------------------------------------------------------------

TRACE, PARENT = "ab" * 16, "cd" * 8


def asked(app: Any, folder: Path, flags: str | None) -> list[dict[str, Any]]:
    """The lines that a request to a traced application leaves."""
    file = folder / "hops.jsonl"
    before, record.recorder = record.recorder, record.Recorder(file)
    headers = [(b"traceparent", f"00-{TRACE}-{PARENT}-{flags}".encode())] if flags else []
    scope = {"type": "http", "method": "GET", "path": "/x", "headers": headers}

    async def receive() -> Any:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        return None

    try:
        asyncio.run(Traced(app, "shop", "process")(scope, receive, send))
    except ValueError:
        pass
    finally:
        record.recorder.flush()
        record.recorder = before
    return [msgspec.json.decode(line) for line in file.read_bytes().splitlines()]


async def answers(scope: Any, receive: Any, send: Any) -> None:
    with record.hop("domain", "postgresql", name="select 1"):
        pass
    await send({"type": "http.response.start", "status": 201, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def fails(scope: Any, receive: Any, send: Any) -> None:
    raise ValueError


def test_a_sampled_request_leaves_a_hop_below_its_caller_and_what_it_calls_below_that(tmp_path: Path) -> None:
    inner, outer = asked(answers, tmp_path, "01")
    assert (outer["t"], outer["p"], outer["s"], outer["T"], outer["y"]) == (
        TRACE,
        PARENT,
        201,
        "feature",
        "shop",
    )
    assert outer["n"] == "GET /x"
    assert (inner["t"], inner["p"], inner["T"], inner["n"]) == (TRACE, outer["i"], "domain", "select 1")


@pytest.mark.parametrize("flags", ["00", None])
def test_a_request_that_is_not_sampled_is_only_counted(tmp_path: Path, flags: str | None) -> None:
    (line,) = asked(answers, tmp_path, flags)
    assert {key: line[key] for key in ("f", "s", "T", "y", "c")} == {
        "f": "00", "s": 201, "T": "feature", "y": "shop", "c": 1,
    }  # fmt: skip


@pytest.mark.parametrize("flags", ["01", "00"])
def test_an_application_that_raises_is_a_failed_hop(tmp_path: Path, flags: str) -> None:
    (line,) = asked(fails, tmp_path, flags)
    assert line["s"] == 500


def test_health_can_be_answered_for_an_application_that_has_none() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    app = Traced(fails, "experience", None, health="/health")
    asyncio.run(app({"type": "http", "path": "/health", "headers": []}, None, send))
    assert sent[0]["status"] == 200


def test_an_application_that_is_none_is_told_before_a_request_fails(tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "goods.py").write_text(
        "def wsgi(environ, start_response): ...\n"
        "def nothing(): ...\n"
        "number = 7\n"
        "class Application:\n"
        "    async def __call__(self, scope, receive, send): ...\n"
        "whole = Application()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)

    def loading(target: str) -> Loaded:
        told = App(name="goods", kind="asgi", host="127.0.0.1", port=1, target=target)
        return load(told, Config(unit="", region="", zone="", project="", stack="", hops="", apps=()), [])

    assert loading("goods:whole").told.target == "goods:whole"
    for target, why in {
        "goods:wsgi": r"say Service\('goods', interface='wsgi'\)",
        "goods:nothing": "it takes 0 values, not",
        "goods:number": "is a int, not an application",
        "goods:hole": "goods has no 'hole', did you mean 'whole'?",
        "good:whole": "no module 'good', did you mean 'goods'?",
    }.items():
        with pytest.raises(EngineError, match=why):
            loading(target)
