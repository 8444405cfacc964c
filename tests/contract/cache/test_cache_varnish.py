"""cache.varnish against the table, and Varnish by its own defaults, which cache.nginx must not fall behind."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
from cache_lab import TABLE, Origin, Trial, cc, try_all
from cache_line import Line
from cache_suite import CacheSuite
from table_abuse import ABUSE

from ports import free_port
from tierline.engines.varnish.engine import ENGINE as VARNISH
from tierline.tiers.base import system
from waiting import becomes

needs_varnish = pytest.mark.skipif(
    shutil.which("varnishd", path="/usr/sbin:/usr/local/sbin") is None, reason="varnish is not installed"
)


class TestVarnish(CacheSuite):
    system = "varnish"
    timing = {
        "bad-chunk": "Varnish asks its origin as soon as it has the headers: the origin may see a body that breaks off"
    }
    required = 0.95


@needs_varnish
def test_fragments(tmp_path: Path) -> None:
    """A page whose fragments are kept for as long as each of them says (ESI)."""

    async def trial() -> None:
        origin = Origin()
        await origin.start()
        line = Line("cache", "varnish", origin.port, tmp_path)
        try:
            await asyncio.to_thread(line.start)
            page, part = Trial(origin, line.address, "page"), Trial(origin, line.address, "part")
            page.script(
                cc(
                    "max-age=60",
                    body=b'<b><esi:include src="/part"/></b>',
                    surrogate_control='content="ESI/1.0"',
                )
            )
            part.script(cc("no-store", body=b"one"), cc("no-store", body=b"two"))
            assert (await page.get()).body == b"<b>one</b>"
            assert (await page.get()).body == b"<b>two</b>"
            assert (page.asked, part.asked) == (1, 2)
        finally:
            await asyncio.to_thread(line.stop)
            await origin.stop()

    asyncio.run(trial())


@needs_varnish
def test_the_embedded_cache_is_at_least_as_correct_as_varnish_by_default(tmp_path: Path) -> None:
    """By the RFC's required behaviours alone: what a stranger's odd requests do is not Varnish's promise."""
    required = [name for name, each in TABLE.items() if each.required and name not in ABUSE]

    async def measure() -> dict[str, str]:
        origin = Origin()
        await origin.start()
        port = free_port()
        varnish = subprocess.Popen(  # noqa: ASYNC220  it lives as long as the test
            [VARNISH.binary().path, "-F", "-j", "none", "-n", str(tmp_path / "v"), "-a", f"127.0.0.1:{port}",
             "-b", f"127.0.0.1:{origin.port}", "-s", "malloc,64m"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:

            def listens() -> bool:
                with socket.socket() as probe:
                    return probe.connect_ex(("127.0.0.1", port)) == 0

            assert await becomes(listens)
            return await try_all(origin, ("127.0.0.1", port), required)
        finally:
            varnish.terminate()
            varnish.wait(10)
            await origin.stop()

    results = asyncio.run(measure())
    defaults = sum(not wrong for wrong in results.values())
    embedded = len([name for name in required if name not in system("cache", "nginx").lacks])
    print(f"required: cache.nginx {embedded}, Varnish's defaults {defaults}, of {len(required)}")
    assert embedded >= defaults > 60
