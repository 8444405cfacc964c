"""An application whose requests fail is seen in `status`: how many, what with, and what its health says."""

from __future__ import annotations

from collections.abc import Callable

import httpx

from waiting import eventually
from workbench import Bench

STACK = """
from tierline import Service, Stack
stack = Stack("bad", services=[Service("bad", "bad:app", expose=["/"])], zones=["a"])
"""
BAD = """
import pathlib
async def app(scope, receive, send):
    assert scope["type"] == "http"
    if scope["path"] == "/health":
        status = 200 if pathlib.Path("well").exists() else 503
        await send({"type": "http.response.start", "status": status, "headers": []})
        return await send({"type": "http.response.body", "body": b""})
    if scope["path"] == "/quiet":
        await send({"type": "http.response.start", "status": 502, "headers": []})
        return await send({"type": "http.response.body", "body": b""})
    raise LookupError("no table films\\nand more")
"""


def test_errors_and_health_stand_in_status(bench: Callable[..., Bench]) -> None:
    line = bench(STACK, bad=BAD)
    line.up()
    url = line.status()["urls"]["http"].rstrip("/")

    def told() -> dict[str, object]:
        return dict(line.process("bad.a")["errors"])

    assert eventually(lambda: told()["health"] == "bad: GET /health answers 503"), told()
    assert line.process("bad.a")["phase"] == "ready"
    for _ in range(3):
        assert httpx.get(f"{url}/films").status_code == 500
    assert eventually(lambda: told()["count"] == 3), told()
    assert told()["by"] == {"bad": 3}
    assert told()["last"] == "GET /films: LookupError: no table films"
    shown = line.run("status").stdout
    assert "errors" in shown and "last error: GET /films: LookupError: no table films" in shown
    assert httpx.get(f"{url}/quiet").status_code == 502
    assert eventually(lambda: told()["last"] == "GET /quiet: answered 502"), told()
    (line.folder / "well").touch()
    assert eventually(lambda: told()["health"] == ""), told()
