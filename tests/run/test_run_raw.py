"""Raw lines of the stack are checked by their engine, and a mistake is told with their line in the stack file."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tierline import CDN, DNS, Gateway, HTTPCache, LoadBalancer, Service, Stack
from tierline.errors import EngineError
from tierline.lineups import choose
from tierline.plan.resolve import resolve
from tierline.run.addresses import choose as addresses
from tierline.run.context import LocalContext
from tierline.run.line import engine, processes
from tierline.run.program import Program
from tierline.run.state import State

TEXT = "# ours\nnonsense on;"
FILTER = '[{"name": "tierline.nonsense",\n"typed_config": {"@type": "type.googleapis.com/nonsense"}}]'
USES = (
    ("dns=embedded", '{"nonsense": 1}'),
    ("dns=bind9", TEXT),
    ("dns=powerdns", "# ours\nnonsense=on"),
    ("cdn=nginx", TEXT),
    ("cdn=varnish", TEXT),
    ("lb=haproxy", TEXT),
    ("lb=nginx", TEXT),
    ("lb=envoy", FILTER),
    ("lb=envoy", "{nonsense"),
    ("cache=nginx", TEXT),
    ("cache=varnish", TEXT),
    ("cache=squid", TEXT),
    ("gateway=envoy", FILTER),
    ("gateway=haproxy", TEXT),
    ("gateway=nginx", TEXT),
)
INTENTS = {"dns": DNS, "cdn": CDN, "lb": LoadBalancer, "cache": HTTPCache, "gateway": Gateway}


async def checked(tmp_path: Path, tier: str, use: str, raw: str) -> None:
    """All that carries the lines is checked, as before a start. Raises EngineError with the first problem."""
    given = {"domain": "cinema.test"} if tier == "dns" else {}
    intents = {"dns": DNS("cinema.test"), tier: INTENTS[tier](**given, raw=raw)}
    stack = Stack("cinema", zones=["a"], services=[Service("web", "app:app", expose=["/"])], **intents)
    plan = resolve(stack, choose("embedded", [use]))
    state = State(tmp_path / "stack.py")
    state.folder()
    context = LocalContext(plan, state, addresses(plan, state))
    for process in processes(plan, context):
        if process.raw and process.check:
            program = Program(process, state, lambda: None)
            for folder in process.folders:
                program.make_folder(Path(folder))
            program.write(process.files)
            await program.check()


@pytest.mark.parametrize(("use", "raw"), USES, ids=[f"{use} {raw[:1]}" for use, raw in USES])
def test_a_mistake_is_told_with_its_line_in_the_stack(tmp_path: Path, use: str, raw: str) -> None:
    tier, _, system = use.partition("=")
    engine({"embedded": "answers"}.get(system, system)).binary()
    with pytest.raises(EngineError) as told:
        asyncio.run(checked(tmp_path, tier, use, raw))
    message = str(told.value)
    assert f"{INTENTS[tier].__name__}(raw=) at test_run_raw.py:" in message, message
    assert "nonsense" in message or raw.startswith(("[", "{")), message
    if raw.startswith("# ours"):
        assert "\n  line 2 of " in message and message.rstrip().endswith(raw.splitlines()[1]), message


@pytest.mark.parametrize(
    ("use", "raw"),
    [
        ("dns=embedded", '{"udp_size": 700}'),
        ("dns=bind9", "minimal-responses yes;"),
        ("dns=powerdns", "udp-truncation-threshold=700"),
        ("lb=haproxy", "http-response set-header x-ours yes"),
        ("cache=varnish", "if (req.url ~ \"^/ours\") { return (pass); }"),
        ("cache=squid", "reply_header_access X-Ours deny all"),
    ],
)  # fmt: skip
def test_what_is_right_is_taken(tmp_path: Path, use: str, raw: str) -> None:
    asyncio.run(checked(tmp_path, use.partition("=")[0], use, raw))


def test_a_system_that_takes_none_says_so_before_anything_starts() -> None:
    stack = Stack(
        "cinema", lb=LoadBalancer(raw="x"), services=[Service("web", "app:app", expose=["/"])], zones=["a"]
    )
    (loss,) = [
        each for each in resolve(stack, choose("embedded", ["lb=traefik"])).losses if each.feature == "raw"
    ]
    assert "no checker" in loss.why
