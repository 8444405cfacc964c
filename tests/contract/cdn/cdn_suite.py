"""The suite that every system of the `cdn` tier inherits."""

from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from cache_lab import TABLE, Answer, Origin, Trial, cc, try_all
from cache_line import Line
from purge_suite import TRYINGS
from table_abuse import ABUSE

from tierline.tiers.base import system
from tierline.tiers.cdn.tier import SIGNING_KEY, CDNRule, sign

PLACES = ("eu-west-1", "us-east-1")
RULES = (
    CDNRule("/ttl/", ttl="1m"),
    CDNRule("/query/", query=("page",)),
    CDNRule("/noquery/", query=()),
    CDNRule("/device/", by=("device",)),
    CDNRule("/language/", by=("language",)),
    CDNRule("/client/", by=("client",)),
    CDNRule("/signed/", signed=True),
    CDNRule("/embedded/", sites=("friend.test",)),
    CDNRule("/inside/", networks=("192.0.2.0/24",)),
)
TRIED: dict[str, tuple[str, str, Callable[[Trial, Line], Awaitable[None]]]] = {}


def tried(name: str, feature: str, says: str) -> Callable[..., Any]:
    """Add a trial. The name's part before `-` is the first segment of its path, where a rule may be."""

    def add(run: Callable[[Trial, Line], Awaitable[None]]) -> Callable[[Trial, Line], Awaitable[None]]:
        TRIED[name] = (feature, says, run)
        return run

    return add


@tried("pull", "pull", "The second fetch is a hit, says so, and has an Age.")
async def _(t: Trial, _: Line) -> None:
    t.script(cc("max-age=60"))
    one, two = await t.twice(1.1)
    assert t.asked == 1 and one.body == two.body
    assert str(one.header("x-cache")).lower().startswith("miss")
    assert str(two.header("x-cache")).lower().startswith("hit") and two.age >= 1


@tried("keys", "pull", "The tags of copies are not told to clients.")
async def _(t: Trial, _: Line) -> None:
    t.script(cc("max-age=60", surrogate_key="secret"), cc("no-store", surrogate_key="secret"))
    for answer in (*await t.twice(0), await t.get("/other"), await t.get(method="POST")):
        assert answer.header("surrogate-key") is None


@tried("vary", "vary", "Clients that the origin tells apart by x-client have copies of their own.")
async def _(t: Trial, _: Line) -> None:
    t.script(lambda r: cc("max-age=60", vary="x-client", body=str(r.header("x-client")).encode()))
    for kind in ("web", "mobile", "affiliate") * 2:
        assert (await t.get(headers={"x-client": kind})).body == kind.encode()
    assert t.asked == 3


@tried("ttl", "ttl_rules", "A rule's ttl counts more than what the origin says, but private stays private.")
async def _(t: Trial, _: Line) -> None:
    t.script(cc("max-age=0"), cc("private"))
    assert (await t.get("/x")).body == (await t.get("/x")).body
    await t.get("/private")
    await t.get("/private")
    assert t.asked == 3


@tried(
    "query",
    "query_keys",
    "Only the parameters of the rule tell copies apart, and only they reach the origin.",
)
async def _(t: Trial, _: Line) -> None:
    t.script(cc("max-age=60"))
    one = await t.get("/?page=1&utm=a")
    assert (await t.get("/?utm=evil&page=1")).body == one.body
    assert (await t.get("/?page=2")).body != one.body
    assert not [request.target for request in t.seen if "utm" in request.target]


@tried("noquery", "query_keys", "Without parameters in the key none reaches the origin.")
async def _(t: Trial, _: Line) -> None:
    t.script(cc("max-age=60"))
    assert (await t.get("/x?a=1")).body == (await t.get("/x?b=2")).body
    assert t.seen[0].target == "/noquery/x"


_PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) Mobile/15E148"


@tried("device", "client_keys", "Phones and desktops have copies of their own; the origin is told which.")
async def _(t: Trial, _: Line) -> None:
    t.script(lambda r: cc("max-age=60", body=str(r.header("x-device")).encode()))
    assert (await t.get("/", headers={"User-Agent": _PHONE, "X-Device": "evil"})).body == b"mobile"
    assert (await t.get("/", headers={"User-Agent": "Mozilla/5.0 (X11; Linux)"})).body == b"desktop"
    assert (await t.get("/", headers={"User-Agent": "Other (Android 14; Mobile)"})).body == b"mobile"
    assert t.asked == 2


@tried("language", "client_keys", "The first language tells copies apart.")
async def _(t: Trial, _: Line) -> None:
    t.script(lambda r: cc("max-age=60", body=str(r.header("x-language")).encode()))
    assert (await t.get("/", headers={"Accept-Language": "de-AT,de;q=0.9"})).body == b"de"
    assert (await t.get("/", headers={"Accept-Language": "fr"})).body == b"fr"
    assert (await t.get("/", headers={"Accept-Language": "de"})).body == b"de" and t.asked == 2


@tried("client", "client_keys", "x-client tells copies apart though the origin doesn't say so.")
async def _(t: Trial, _: Line) -> None:
    t.script(lambda r: cc("max-age=60", body=str(r.header("x-client")).encode()))
    for kind in ("web", "mobile") * 2:
        assert (await t.get("/", headers={"x-client": kind})).body == kind.encode()
    assert t.asked == 2


@tried("signed", "signed_urls", "Only with a token that is right, in time and for this path.")
async def _(t: Trial, line: Line) -> None:
    t.script(cc("max-age=60"))
    key, soon = line.context.secret(SIGNING_KEY), int(time.time()) + 60
    right = sign(key, "/signed/film", soon)
    for token in (
        "", "x.y.z", right[:-1] + ("A" if right[-1] != "A" else "B"), sign(key, "/signed/other", soon),
        sign(key, "/signed/film", soon - 120), sign("another", "/signed/film", soon),
    ):  # fmt: skip
        assert (await t.get(f"/film?token={token}")).status == 403, token
    assert t.asked == 0
    assert (await t.get(f"/film?token={right}")).status == 200
    below = sign(key, "/signed/", soon)
    assert (await t.get("/film", headers={"Cookie": f"cdn_token={below}"})).status == 200
    assert t.asked == 1 and t.seen[0].target == "/signed/film"


@tried("embedded", "hotlinks", "Other sites may not embed it.")
async def _(t: Trial, _: Line) -> None:
    t.script(cc("max-age=60"))
    for site, status in (("thief.test", 403), ("friend.test", 200), ("cache.test", 200)):
        assert (await t.get("/", headers={"Referer": f"https://{site}/page"})).status == status, site
    assert (await t.get("/")).status == 200


@tried("inside", "networks", "Other networks may not have it, whatever they say of themselves.")
async def _(t: Trial, _: Line) -> None:
    t.script(cc("max-age=60"))
    assert (await t.get("/", headers={"X-Forwarded-For": "192.0.2.1"})).status == 403


@tried("gzip", "gzip", "Text is compressed for who accepts it, and is itself for who doesn't.")
async def _(t: Trial, _: Line) -> None:
    text = b'{"words": "' + b"many words " * 500 + b'"}'
    t.script(cc("max-age=60", body=text, content_type="application/json"))
    for _ in range(2):
        answer = await t.get(headers={"Accept-Encoding": "gzip"})
        assert answer.header("content-encoding") == "gzip" and gzip.decompress(answer.body) == text
        assert "accept-encoding" in str(answer.header("vary")).lower()
        plain = await t.get()
        assert plain.header("content-encoding") is None and plain.body == text
    assert t.asked == 1


@tried("part-first", "ranges", "A part of a film, then another: one fetch.")
async def _(t: Trial, _: Line) -> None:
    film = bytes(range(256)) * 4000
    t.script(cc("max-age=60", body=film, content_type="video/mp4", etag='"film"'))
    for begin, end in ((0, 99), (500_000, 600_000), (1_000_000, 1_023_999)):
        answer = await t.get(headers={"Range": f"bytes={begin}-{end}"})
        assert (answer.status, answer.body) == (206, film[begin : end + 1])
        assert answer.header("content-range") == f"bytes {begin}-{end}/{len(film)}"
    assert t.asked == 1


@tried("host", "pull", "A name that isn't the stack's is misdirected.")
async def _(t: Trial, _: Line) -> None:
    t.script(cc("max-age=60"))
    assert (await t.get(host="evil.test")).status == 421 and t.asked == 0


@tried(
    "shield",
    "shield",
    "Another place pulls through the shield: the origin is asked once, of the true client.",
)
async def _(t: Trial, line: Line) -> None:
    t.script(lambda r: cc("max-age=60", body=str(r.header("x-forwarded-for")).encode()))
    far = Trial(t.origin, line.context.address(f"cdn.{PLACES[1]}", "http"), t.key)
    one = await far.get(headers={"X-Forwarded-For": "192.0.2.1", "X-Tierline-Place": "guess"})
    assert one.body == b"127.0.0.1"
    assert (await t.get()).body == one.body and t.asked == 1


@tried("private", "pull", "An answer to credentials is for nobody else.")
async def _(t: Trial, _: Line) -> None:
    t.script(cc("max-age=60"))
    assert not await t.reused(first={"Authorization": "Bearer alice"}, then={"Authorization": "Bearer bob"})


@tried("stale", "stale_if_error", "While the origin fails, places go on with what they have.")
async def _(t: Trial, _: Line) -> None:
    t.script(cc("max-age=1", etag='"1"'), Answer(503))
    one, two = await t.twice(2.2)
    assert (two.status, two.body) == (200, one.body)


class CDNSuite:
    """A subclass names its system."""

    system: ClassVar[str]

    @pytest.fixture(scope="class")
    def results(self, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
        """What went wrong by trial, all tried at once on one running line of two places."""
        plays = system("cdn", self.system)

        async def measure(root: Path) -> dict[str, str]:
            origin = Origin()
            await origin.start()
            given: dict[str, Any] = {"places": PLACES, "rules": RULES}
            if "shield" in plays.supports:
                given["shield"] = PLACES[0]
            line = Line("cdn", self.system, origin.port, root, **given)
            try:
                await asyncio.to_thread(line.start)

                async def one(name: str, run: Callable[[Trial, Line], Awaitable[None]]) -> tuple[str, str]:
                    try:
                        await run(Trial(origin, line.address, name), line)
                    except Exception as wrong:
                        return name, repr(wrong)
                    return name, ""

                runs = [one(n, run) for n, (feature, _, run) in TRIED.items() if feature in plays.supports]
                found = dict(await asyncio.gather(*runs))
                for name, (feature, trying) in TRYINGS.items():
                    if not feature or feature in plays.supports:
                        found.update([await one(name, trying)])
                found.update(await try_all(origin, line.address, ABUSE))
                return found
            finally:
                await asyncio.to_thread(line.stop)
                await origin.stop()

        yield asyncio.run(measure(tmp_path_factory.mktemp(self.system)))

    @pytest.mark.parametrize("name", sorted([*TRIED, *TRYINGS]))
    def test_feature(self, results: dict[str, str], name: str) -> None:
        feature, plays = (TRIED.get(name) or TRYINGS[name])[0], system("cdn", self.system)
        if name not in results:
            assert plays.lacks[feature], f"cdn.{self.system} neither supports {feature} nor says why not"
            pytest.xfail(plays.lacks[feature])
        if name in plays.lacks:
            assert results[name], f"{name} holds now: take it out of `lacks` of cdn.{self.system}"
            pytest.xfail(plays.lacks[name])
        assert not results[name], f"{TRIED[name][1] if name in TRIED else name}: {results[name]}"

    @pytest.mark.parametrize("name", ABUSE)
    def test_abuse(self, results: dict[str, str], name: str) -> None:
        declared = system("cdn", self.system).lacks
        if name in declared:
            assert results[name], f"{name} holds now: take it out of `lacks` of cdn.{self.system}"
            pytest.xfail(declared[name])
        assert not results[name], f"RFC {TABLE[name].section}: {TABLE[name].says} {results[name]}"
