"""cache.envoy against the table."""

from __future__ import annotations

import asyncio
from pathlib import Path

from cache_lab import Answer, Origin, Trial, cc
from cache_line import Line
from cache_suite import CacheSuite


class TestEnvoy(CacheSuite):
    system = "envoy"
    required = 0.95
    settle = 0.03


def test_the_stacks_own_windows_count_where_the_origin_is_silent(tmp_path: Path) -> None:
    """What is stale at once while it is fetched anew, and after that rather than an error."""

    async def trial() -> None:
        origin = Origin()
        await origin.start()
        line = Line(
            "cache", "envoy", origin.port, tmp_path, stale_while_revalidate="4s", stale_if_error="60s"
        )
        try:
            await asyncio.to_thread(line.start)
            t = Trial(origin, line.address, "windows", 0.03)
            t.script(cc("max-age=1", vary="x-client"), cc("max-age=1", vary="x-client"), Answer(503))
            headers = {"X-Client": "web"}
            one = await t.get(headers=headers)
            # Which of its variants an answer is, is known from the second one on.
            assert (await t.get(headers=headers)).body == one.body and t.asked == 1
            await asyncio.sleep(2.6)
            assert (await t.get(headers=headers)).body == one.body
            for _ in range(30):
                if t.asked == 1:
                    await asyncio.sleep(0.1)
            await asyncio.sleep(0.1)
            assert t.asked == 2
            two = await t.get(headers=headers)
            assert two.body != one.body
            await asyncio.sleep(7)
            stood_in = await t.get(headers=headers)
            assert (stood_in.status, stood_in.body) == (200, two.body) and t.asked == 3
            assert stood_in.age >= 5 and (await t.get(headers={"X-Client": "mobile"})).status == 503
        finally:
            await asyncio.to_thread(line.stop)
            await origin.stop()

    asyncio.run(trial())
