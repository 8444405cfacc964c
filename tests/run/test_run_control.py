"""The control socket: what a command tells a line that is up."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tierline.errors import RunError
from tierline.run import control
from waiting import PATIENCE


async def _asked(root: Path, request: dict[str, Any]) -> dict[str, Any]:
    async def handler(request: dict[str, Any]) -> dict[str, Any]:
        return {"length": len(request["plan"])}

    server = await control.serve(root, handler)
    async with server:
        return await asyncio.to_thread(control.ask, root, request, PATIENCE)


def test_a_plan_of_any_size_is_understood(tmp_path: Path) -> None:
    """`tierline reload` sends the whole plan: that of the cinema has 90 kB, of a large stack several MB."""
    assert asyncio.run(_asked(tmp_path, {"plan": "x" * 5_000_000})) == {"length": 5_000_000}


def test_a_request_that_makes_no_sense_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="bad request: KeyError"):
        asyncio.run(_asked(tmp_path, {"do": "nothing"}))
