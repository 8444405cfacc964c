"""What Envoy would refuse is refused before it is asked for: at the start, and while the line runs."""

from __future__ import annotations

import json
from collections.abc import Callable

from workbench import Bench

APP = """
async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"well"})
"""

STACK = """
from tierline import Gateway, Service, Stack
stack = Stack("checked", gateway=Gateway(RAW), services=[Service("one", "one:app", expose=["/"])])
"""

LUA = "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua"


def raw(source: str, kind: str = LUA) -> str:
    """The stack with a Lua filter added as raw configuration."""
    code = {"@type": kind, "default_source_code": {"inline_string": source}}
    text = json.dumps([{"name": "mine", "typed_config": code}])
    return STACK.replace("RAW", f"raw={text!r}")


def test_raw_configuration_that_envoy_refuses_does_not_start(bench: Callable[..., Bench]) -> None:
    line = bench(raw("function envoy_on_request(handle"), one=APP)
    refused = line.run("up", "--detach")
    assert refused.returncode == 2
    assert "gateway" in refused.stderr and "refuses its configuration" in refused.stderr, refused.stderr
    assert "script load error" in refused.stderr, refused.stderr
    assert not line.left()


def test_a_policy_that_envoy_refuses_leaves_the_running_line_as_it_was(bench: Callable[..., Bench]) -> None:
    good = raw("function envoy_on_response(handle) handle:headers():add('x-mine', '1') end")
    line = bench(good, one=APP)
    line.up()
    before = line.process("gateway.a")["pid"]
    (line.folder / "stack.py").write_text(raw("", "type.googleapis.com/no.such.Filter"))
    refused = line.run("reload")
    assert refused.returncode == 2 and "no.such.Filter" in refused.stderr, refused.stderr
    assert line.trip("/")["status"] == 200
    assert line.process("gateway.a")["pid"] == before, "it never went away"
    (line.folder / "stack.py").write_text(good.replace('"/"', '"/more", "/"'))
    assert line.run("reload").returncode == 0
