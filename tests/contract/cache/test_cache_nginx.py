"""cache.nginx against the table."""

from __future__ import annotations

import asyncio
from pathlib import Path

from cache_lab import Origin, Trial, cc
from cache_line import Line
from cache_suite import CacheSuite

from waiting import becomes


class TestNginx(CacheSuite):
    system = "nginx"
    required = 0.85


def test_what_was_never_to_be_kept_is_kept_once_its_origin_says_so(tmp_path: Path) -> None:
    """nginx stops looking at such answers for two seconds at a time, not for longer; and then doesn't mix them up."""

    async def trial() -> None:
        origin = Origin()
        await origin.start()
        line = Line("cache", "nginx", origin.port, tmp_path)
        try:
            await asyncio.to_thread(line.start)
            t = Trial(origin, line.address, "changing")
            t.script(cc("no-store", surrogate_key="k"))
            for number in range(1, 9):
                answer = await t.get()
                assert answer.status == 200 and t.asked == number
                assert "surrogate-key" not in {name.lower() for name, _ in answer.headers}
            assert (await t.get(method="HEAD")).body == b""
            never = {"Cache-Control": "only-if-cached"}
            assert (await t.get(headers=never)).status == 504
            t.script(cc("max-age=60"))

            async def hit() -> bool:
                before = t.asked
                return (await t.get()).status == 200 and t.asked == before

            assert await becomes(hit, every=0.2)
        finally:
            await asyncio.to_thread(line.stop)
            await origin.stop()

    asyncio.run(trial())
