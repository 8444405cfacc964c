"""The suite that every system of the `cdn` tier inherits."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import ssl
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import brotli
import httpx
import pytest
from cache_lab import TABLE, Answer, Origin, Response, Trial, cc, date, read_response, try_all
from cache_line import Line
from purge_suite import TRYINGS, purge
from table_abuse import ABUSE
from table_live import stream, websocket
from table_storing import told_others

from tierline.engines.answers.networks import behind_loopback
from tierline.tiers.base import system
from tierline.tiers.cdn.tier import SIGNING_KEY, CDNRule, Countries, sign
from tierline.tiers.dns.common.places import client
from tierline.trips.normalise import hop
from waiting import becomes, has_expired

SCRIPT = b"export function words() { return 'many, many words'; }\n" * 200
PHOTO = b"\x89PNG\r\n\x1a\n" + random.Random(1).randbytes(20_000)
PLACES = ("eu-west-1", "us-east-1")
RULES = (
    CDNRule("/ttl/", ttl="1m"),
    CDNRule("/api/", ttl="1m"),
    CDNRule("/query/", query=("page",)),
    CDNRule("/noquery/", query=()),
    CDNRule("/device/", by=("device",)),
    CDNRule("/language/", by=("language",)),
    CDNRule("/client/", by=("client",)),
    CDNRule("/signed/", signed=True),
    CDNRule("/embedded/", sites=("friend.test",)),
    CDNRule("/inside/", networks=("192.0.2.0/24",)),
)
KINDS = {
    "avif": "image/avif", "heic": "image/heic", "jxl": "image/jxl", "webp": "image/webp", "svg": "image/svg+xml",
    "mp4": "video/mp4", "vtt": "text/vtt", "mpd": "application/dash+xml", "m3u8": "application/vnd.apple.mpegurl",
    "m4s": "video/iso.segment", "woff2": "font/woff2", "mjs": "text/javascript", "csv": "text/csv",
    "bin": "application/octet-stream",
}  # fmt: skip
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


@tried("told", "pull", "What a limit has left is told who asked, and nobody who gets the copy.")
async def _(t: Trial, _: Line) -> None:
    await told_others(t)


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


@tried("targeted", "targeted", "CDN-Cache-Control comes before Cache-Control and Expires, and is passed on.")
async def _(t: Trial, _: Line) -> None:
    past = date(-60)
    kept = (
        "max-age=60",
        "max-age=60;x=1, foo",
        "no-store=?0, max-age=60",
        'ext="no-store, x", max-age=60',
        "s-maxage=60",
    )
    for number, told in enumerate(kept):
        t.script(cc("no-store", cdn_cache_control=told, expires=past))
        first = await t.get(f"/kept/{number}")
        again = await t.get(f"/kept/{number}")
        assert first.body == again.body, told
        assert (again.header("cdn-cache-control"), again.header("cache-control")) == (told, "no-store"), told
    for number, told in enumerate(("no-store", "private", "max-age=0", "no-store, max-age=60")):
        t.script(cc("max-age=60", cdn_cache_control=told))
        assert (await t.get(f"/not/{number}")).body != (await t.get(f"/not/{number}")).body, told


@tried(
    "targeted-invalid",
    "targeted",
    "A field that is no dictionary is as none, and an argument of another kind, too.",
)
async def _(t: Trial, _: Line) -> None:
    for number, told in enumerate(
        ("", "Max-Age=0", "no-store max-age", "max-age=", "no-store,", 'no-store, x="', "&")
    ):
        t.script(cc("max-age=60", cdn_cache_control=told))
        assert (await t.get(f"/{number}")).body == (await t.get(f"/{number}")).body, told
    for number, told in enumerate(('max-age="60"', "max-age=60.0", "max-age")):
        t.script(cc("max-age=60", cdn_cache_control=told))
        assert (await t.get(f"/kind/{number}")).body != (await t.get(f"/kind/{number}")).body, told


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
    assert not [each for each in t.seen if "film" in each.target]
    assert (await t.get(f"/film?token={right}")).status == 200
    below = sign(key, "/signed/", soon)
    assert (await t.get("/film", headers={"Cookie": f"cdn_token={below}"})).status == 200
    assert [each.target for each in t.seen if "film" in each.target] == ["/signed/film"]


@tried("signed-spelling", "signed_urls", "A path written in another way doesn't walk around its rule.")
async def _(t: Trial, _: Line) -> None:
    t.origin.scripts["signed"] = [cc("max-age=60")]
    for path in (
        "/%73igned/film",
        "//signed/film",
        "/x/../signed/film",
        "/signed%2ffilm",
        "/./signed/film",
    ):
        sent = f"GET {path} HTTP/1.1\r\nHost: cache.test\r\nConnection: close\r\n\r\n"
        (answer,) = await t.raw(sent.encode())
        assert answer.status in (400, 403), (path, answer.status)


@tried(
    "signed-far", "shield", "What a far place has judged, the shield doesn't refuse for want of the token."
)
async def _(t: Trial, line: Line) -> None:
    t = Trial(t.origin, line.context.address(f"cdn.{PLACES[1]}", "http"), "signed")
    t.script(cc("max-age=60"))
    token = sign(line.context.secret(SIGNING_KEY), "/signed/far", int(time.time()) + 60)
    assert (await t.get("/far")).status == 403
    assert (await t.get(f"/far?token={token}")).status == 200


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


async def come_from(source: str, line: Line, path: str, **fields: str) -> Response:
    """One request from a loopback address of its own, as clients of another region come."""
    reader, writer = await asyncio.open_connection(*line.address, local_addr=(source, 0))
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    writer.write(f"GET {path} HTTP/1.1\r\nHost: cache.test\r\nConnection: close\r\n{lines}\r\n".encode())
    try:
        found = await read_response(reader, "GET")
    finally:
        writer.close()
    assert found is not None
    return found


@tried("countries", "countries", "Clients in a country that is denied are told so, and their trip shows it.")
async def _(t: Trial, line: Line) -> None:
    t.script(cc("max-age=60"))
    here, abroad = (behind_loopback(client(region)) for region in ("eu-central-1", "us-west-2"))
    assert (await come_from(here, line, "/countries")).status == 200
    trace = "c" * 32
    for path, fields in (
        ("/countries", {"traceparent": f"00-{trace}-{'1' * 16}-01"}), ("/static/app.js", {}), ("/other", {}),
        ("/countries", {"X_Forwarded_For": "192.0.2.1"}), ("/countries", {"X_Tierline_Place": "yes"}),
    ):  # fmt: skip
        refused = await come_from(abroad, line, path, **fields)
        assert refused.status == 403, path
        assert refused.header("content-type") == "application/problem+json"
        assert json.loads(refused.body)["detail"] == "country"
    assert t.asked == 1
    found = await becomes(lambda: line.hops(trace))
    assert [(each.tier, each.status, each.verdict) for each in found] == [("cdn", 403, "refused: country")]


@tried(
    "hops", "pull", "A place's hop is told once, at once, with its verdict, as part of the client's trace."
)
async def _(t: Trial, line: Line) -> None:
    t.script(cc("max-age=60"))
    for trace, verdict in (("d" * 32, "miss"), ("e" * 32, "hit")):
        await t.get(headers={"traceparent": f"00-{trace}-{'2' * 16}-01"})
        found = await becomes(lambda: line.hops(trace))  # noqa: B023
        assert [(each.verdict, each.status, each.parent, each.name) for each in found] == [
            (verdict, 200, "2" * 16, "GET /hops")
        ]
        plays = line.roles[0].system
        assert (found[0].tier, found[0].system, found[0].zone) == ("cdn", plays, PLACES[0])
    parent = str(t.seen[0].header("traceparent"))
    assert parent.startswith(f"00-{'d' * 32}-") and "2" * 16 not in parent and parent.endswith("-01")


@tried("secure", "tls", "HTTPS with the line's own authority, HTTP/2, and no copy of what is for plain HTTP.")
async def _(t: Trial, line: Line) -> None:
    t.script(lambda r: cc("max-age=60", body=str(r.header("x-forwarded-proto")).encode()))
    assert (await t.get()).body == b"http"
    host, port = line.context.address(f"cdn.{PLACES[0]}", "https")
    trust = ssl.create_default_context(cafile=str(line.context.authority))
    async with httpx.AsyncClient(http2=True, verify=trust, trust_env=False) as asking:
        for verdict in ("miss", "hit"):
            answer = await asking.get(
                f"https://{host}:{port}/secure",
                headers={"host": "cache.test"},
                extensions={"sni_hostname": "cache.test"},
            )
            assert (answer.http_version, answer.text) == ("HTTP/2", "https")
            assert answer.headers["x-cache"].lower().startswith(verdict)


@tried("static", "assets", "Files of the folder, with validators; nothing else of the machine.")
async def _(t: Trial, _: Line) -> None:
    page = await t.get("/app.js")
    assert (page.status, page.body) == (200, SCRIPT) and "javascript" in str(page.header("content-type"))
    assert "max-age=" in str(page.header("cache-control"))
    same = await t.get("/app.js", headers={"If-None-Match": str(page.header("etag"))})
    assert same.status == 304 and same.body == b""
    assert (await t.get("/missing.js")).status == 404 and (await t.get("/.hidden")).status == 404
    part = await t.get("/photo.png", headers={"Range": "bytes=10-19"})
    if part.status == 200:  # who asks first may get the whole
        part = await t.get("/photo.png", headers={"Range": "bytes=10-19"})
    assert (part.status, part.body) == (206, PHOTO[10:20])


@tried(
    "static-codings", "brotli", "Text comes in the best coding that a client accepts, pictures as they are."
)
async def _(t: Trial, _: Line) -> None:
    t = Trial(t.origin, t.address, "static")
    undo = {"br": brotli.decompress, "gzip": gzip.decompress}
    tags = set()
    for _again in range(2):
        for accepts, coding in (
            ("gzip, deflate, br, zstd", "br"), ("br", "br"), ("gzip", "gzip"), ("br;q=0, gzip", "gzip"), 
            ("gzip;q=0.5, br;q=0.1", "br"),
        ):  # fmt: skip
            answer = await t.get("/app.js", headers={"Accept-Encoding": accepts})
            assert answer.header("content-encoding") == coding, accepts
            assert undo[coding](answer.body) == SCRIPT
            assert str(answer.header("vary")).lower().count("accept-encoding") == 1, answer.header("vary")
            again = await t.get(
                "/app.js", headers={"Accept-Encoding": accepts, "If-None-Match": str(answer.header("etag"))}
            )
            assert again.status == 304, accepts
            tags.add((coding, answer.header("etag")))
        plain = await t.get("/app.js")
        assert plain.header("content-encoding") is None and plain.body == SCRIPT
        tags.add(("", plain.header("etag")))
        photo = await t.get("/photo.png", headers={"Accept-Encoding": "gzip, br"})
        assert photo.header("content-encoding") is None and photo.body == PHOTO
    assert len({tag for _, tag in tags}) == 3, tags


@tried("static-saved", "brotli", "A file that was saved since is never served in its old compressed form.")
async def _(t: Trial, line: Line) -> None:
    t = Trial(t.origin, t.address, "static")
    before = await t.get("/saved.js", headers={"Accept-Encoding": "br"})
    assert brotli.decompress(before.body) == SCRIPT
    (line.context.project / "web/static/saved.js").write_bytes(SCRIPT + b"// newer\n")
    await asyncio.to_thread(purge, line, paths=("/static/saved.js",))
    after = await t.get("/saved.js", headers={"Accept-Encoding": "br"})
    assert after.header("content-encoding") is None and after.body == SCRIPT + b"// newer\n"


@tried(
    "gzip-validators", "gzip", "Validators of what is compressed on its way are weak, and work; so do parts."
)
async def _(t: Trial, _: Line) -> None:
    text = b'{"words": "' + b"many words " * 500 + b'"}'
    t.script(cc("max-age=60", body=text, content_type="application/json", etag='"strong"'))
    for _again in range(2):
        answer = await t.get(headers={"Accept-Encoding": "gzip"})
        assert answer.header("etag") == 'W/"strong"' and gzip.decompress(answer.body) == text
        for tag in ('W/"strong"', '"strong"', '"other", W/"strong"'):
            again = await t.get(headers={"Accept-Encoding": "gzip", "If-None-Match": tag})
            assert (again.status, again.body) == (304, b""), tag
        part = await t.get(headers={"Accept-Encoding": "gzip", "Range": "bytes=0-9"})
        if part.status == 206 and part.header("content-encoding") is None:
            assert part.body == text[:10]
        elif part.status == 206:
            assert answer.body.startswith(part.body)
        else:
            assert gzip.decompress(part.body) == text
    assert t.asked == 1


@tried("gzip-never", "gzip", "Pictures and what is compressed already are left as they are.")
async def _(t: Trial, _: Line) -> None:
    long = b"many words " * 500
    for number, (kind, body, coding) in enumerate(
        (
            ("image/png", long, "identity"),
            ("video/mp4", long, "identity"),
            ("text/plain", gzip.compress(long), "gzip"),
        )
    ):
        t.script(
            Answer(
                200,
                [("Cache-Control", "max-age=60"), ("Content-Type", kind), ("Content-Encoding", coding)],
                body,
            )
        )
        for _again in range(2):
            assert (await t.get(f"/{number}", headers={"Accept-Encoding": "gzip"})).body == body, kind


@tried("gzip-short", "gzip", "What is short is not compressed: that would make it longer.")
async def _(t: Trial, _: Line) -> None:
    t.script(cc("max-age=60", body=b"{}", content_type="application/json"))
    assert (await t.get(headers={"Accept-Encoding": "gzip"})).body == b"{}"


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


@tried("together", "collapsing", "Many who ask at once for the same are one fetch.")
async def _(t: Trial, _: Line) -> None:
    slow = cc("max-age=60")
    slow.delay = 0.4
    t.script(slow)
    bodies = {answer.body for answer in await asyncio.gather(*(t.get() for _ in range(12)))}
    assert t.asked == 1 and len(bodies) == 1


@tried("refreshed", "stale_while_revalidate", "A stale copy is served at once while a fresh one is fetched.")
async def _(t: Trial, line: Line) -> None:
    slow = cc("max-age=1, stale-while-revalidate=600")
    served = asyncio.Event()
    slow.once = served.is_set
    t.script(cc("max-age=1, stale-while-revalidate=600"), slow)
    one = await t.get()
    await has_expired(2.2)  # it is stale then
    two = await come_from("127.0.0.1", line, "/refreshed")
    assert two.body == one.body
    served.set()

    async def fresh() -> bool:
        return (await t.get()).body != one.body

    assert await becomes(fresh) and t.asked >= 2


@tried("private", "pull", "An answer to credentials is for nobody else.")
async def _(t: Trial, _: Line) -> None:
    t.script(cc("max-age=60"))
    assert not await t.reused(first={"Authorization": "Bearer alice"}, then={"Authorization": "Bearer bob"})


@tried("stream", "pull", "What nobody keeps goes on as it comes.")
async def _(t: Trial, _: Line) -> None:
    await stream(t)


@tried(
    "counted",
    "pull",
    "Requests for strangers' names, and what is no request at all, are counted with the reason.",
)
async def _(t: Trial, line: Line) -> None:
    for sent in (
        b"GET / HTTP/1.1\r\nHost: evil.test\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : cache.test\r\n\r\n",
    ):
        (answer,) = await t.raw(sent)
        assert answer.status in (400, 421)

    def counted() -> set[str]:
        told = [
            each
            for path in line.state.folder("hops").glob("*.jsonl")
            for each in path.read_bytes().splitlines()
        ]
        return {found.verdict for each in told if (found := hop(each)) is not None and found.tier == "cdn"}

    assert await becomes(lambda: {"refused: not our name", "refused: malformed"} <= counted()), counted()


@tried("types", "assets", "Files say what they are: pictures, films with captions and manifests, fonts.")
async def _(t: Trial, _: Line) -> None:
    for name, kind in KINDS.items():
        sent = f"GET /kinds/a.{name} HTTP/1.1\r\nHost: cache.test\r\nConnection: close\r\n\r\n"
        (answer,) = await t.raw(sent.encode())
        assert (answer.status, str(answer.header("content-type")).split(";")[0]) == (200, kind), name


@tried("upgrade", "websocket", "A WebSocket goes through, to the place and through the shield.")
async def _(t: Trial, line: Line) -> None:
    await websocket(t)
    (other,) = [role for role in line.roles if role.region == PLACES[1]]
    await websocket(Trial(t.origin, line.context.address(other.id, "http"), t.key))


@tried(
    "api",
    "ttl_rules",
    "A rule for paths that aren't files holds beside files, and they are asked of the origin.",
)
async def _(t: Trial, _: Line) -> None:
    t.script(cc("max-age=0"))
    one, two = await t.get("/x"), await t.get("/x")
    assert one.status == 200 and one.body == two.body and t.asked == 1


@tried("page", "assets", "The folder's own page, whatever its files are called, and what .well-known has.")
async def _(t: Trial, _: Line) -> None:
    async def body(path: str) -> bytes:
        sent = f"GET {path} HTTP/1.1\r\nHost: cache.test\r\nConnection: close\r\n\r\n"
        (answer,) = await t.raw(sent.encode())
        return answer.body if answer.status == 200 else b"%d" % answer.status

    assert await body("/") == b"<title>page</title>"
    assert await body("/odd%20name%20%7B%22%27%7D%3B.txt") == b"odd"
    assert await body("/.well-known/security.txt") == b"Contact: mailto:a@cache.test"
    assert await body("/.env") == b"404" and await body("/static/.hidden") == b"404"


@tried(
    "plainly", "tls", "The origin is told that it was plain HTTP, and nobody is told then that it may not be."
)
async def _(t: Trial, line: Line) -> None:
    t.script(
        lambda r: cc(
            "no-store",
            strict_transport_security="max-age=60",
            body=str(r.header("x-forwarded-proto")).encode(),
        )
    )
    for role in [role for role in line.roles if role.part != "origin"]:
        host, port = line.context.address(role.id, "http")
        answer = await Trial(t.origin, (host, port), t.key).get(headers={"X-Forwarded-Proto": "https"})
        assert (answer.body, answer.header("strict-transport-security")) == (b"http", None), answer
        host, port = line.context.address(role.id, "https")
        async with httpx.AsyncClient(
            verify=ssl.create_default_context(cafile=line.context.authority)
        ) as client:
            asks = {"Host": "cache.test", "X-Forwarded-Proto": "http"}
            secure = await client.get(f"https://{host}:{port}/{t.key}", headers=asks)
        assert (secure.status_code, secure.text, secure.headers.get("strict-transport-security")) == (
            200,
            "https",
            "max-age=60",
        ), secure.headers


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
            static = root / "web" / "static"
            static.mkdir(parents=True)
            for name, data in (
                ("app.js", SCRIPT),
                ("saved.js", SCRIPT),
                ("photo.png", PHOTO),
                (".hidden", SCRIPT),
            ):
                (static / name).write_bytes(data)
            (root / "web" / "kinds").mkdir()
            for name in KINDS:
                (root / "web" / "kinds" / f"a.{name}").write_text("a")
            (root / "web" / ".well-known").mkdir()
            for name, text in (
                ("index.html", "<title>page</title>"),
                ("odd name {\"'};.txt", "odd"),
                (".well-known/security.txt", "Contact: mailto:a@cache.test"),
                (".env", "secret"),
            ):
                (root / "web" / name).write_text(text)
            given: dict[str, Any] = {"places": PLACES, "rules": RULES, "assets": "web"}
            if "countries" in plays.supports:
                given["countries"] = Countries(deny=("US",))
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
