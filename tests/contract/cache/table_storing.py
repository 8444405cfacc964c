"""RFC 9111, section 3 and 4: what may be stored, and for whom; keys and Vary; collapsing."""

from __future__ import annotations

import asyncio
import gzip
from functools import partial

from cache_lab import Answer, Request, Trial, cc, date, may, must

from waiting import has_expired


@must("no-store", "5.2.2.5", "no-store is not stored.")
async def _(t: Trial) -> None:
    t.script(cc("no-store, max-age=60"))
    assert not await t.reused()


@must("private", "5.2.2.7", "private is not stored by a shared cache.")
async def _(t: Trial) -> None:
    t.script(cc("private, max-age=60"))
    one, two = await t.twice(0)
    assert (one.status, two.status, t.asked) == (200, 200, 2)


@must("no-cache", "5.2.2.4", "no-cache is not reused without asking.")
async def _(t: Trial) -> None:
    t.script(cc("no-cache, max-age=60"))
    assert not await t.reused()


@must("private-field", "5.2.2.7", "A field named by private is not given to others.")
async def _(t: Trial) -> None:
    t.script(cc('private="x-secret", max-age=60', x_secret="mine"), cc("max-age=60"))
    _, two = await t.twice(0)
    assert two.header("x-secret") is None


@must("no-cache-field", "5.2.2.4", "A field named by no-cache is not reused without asking.")
async def _(t: Trial) -> None:
    t.script(cc('no-cache="x-secret", max-age=60', x_secret="mine"), cc("max-age=60"))
    _, two = await t.twice(0)
    assert two.header("x-secret") is None


TOLD = {
    "ratelimit": '"small";r=9;t=60', "ratelimit-policy": '"small";q=10;w=60', "ratelimit-limit": "10",
    "ratelimit-remaining": "9", "ratelimit-reset": "60", "x-tierline-policy": "small", "retry-after": "7",
}  # fmt: skip
"""What a gateway tells who asked."""


@may("told-others", "3.1", "What a limit has left is told who asked, and nobody who gets the copy.")
async def told_others(t: Trial) -> None:
    fields = {name.replace("-", "_"): value for name, value in TOLD.items()}

    def origin(request: Request) -> Answer:
        if request.target.endswith("/refused"):
            return cc("no-store", 429, **fields)
        if request.target.endswith("/own"):
            return cc("no-store", **fields)
        if request.header("if-none-match"):
            return cc("max-age=60", 304, etag='"1"', **fields)
        control = "max-age=1" if request.target.endswith("/renewed") else "max-age=60"
        return cc(control, body=b"same", etag='"1"', x_own="kept", **fields)

    t.script(origin)
    for path, wait in (("", 0), ("/renewed", 2.2)):
        first = await t.get(path)
        await has_expired(wait)
        if wait:
            assert (await t.get(path)).status == 200
        before, copy = t.asked, await t.get(path)
        assert t.asked == before and (first.body, copy.body) == (b"same", b"same")
        assert copy.header("x-own") == "kept"
        assert [name for name in TOLD if copy.header(name) is not None] == [], path
    for path, status in (("/own", 200), ("/refused", 429)):
        answer = await t.get(path)
        assert answer.status == status
        assert {name: answer.header(name) for name in TOLD} == TOLD, path


@may("no-cache-kept", "5.2.2.4", "no-cache is stored, and served after the origin said 304.")
async def _(t: Trial) -> None:
    t.script(cc("no-cache", etag='"1"'), cc("no-cache", status=304, etag='"1"'))
    one, two = await t.twice(0)
    assert t.seen[1].header("if-none-match") == '"1"' and (two.status, two.body) == (200, one.body)


@may("must-understand", "5.2.2.3", "must-understand lifts no-store for a status that is understood.")
async def _(t: Trial) -> None:
    t.script(cc("must-understand, no-store, max-age=60"))
    assert await t.reused()


_ALICE = {"Authorization": "Bearer alice"}


@must("authorization", "3.5", "An answer to credentials is not given to others.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=60"))
    assert not await t.reused(first=_ALICE)


@must("authorization-other", "3.5", "Nor to other credentials.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=60"))
    assert not await t.reused(first=_ALICE, then={"Authorization": "Bearer bob"})


@must("authorization-expires", "3.5", "Expires doesn't allow it either.")
async def _(t: Trial) -> None:
    t.script(cc(expires=date(60)))
    assert not await t.reused(first=_ALICE)


@may("authorization-public", "3.5", "public allows it.")
async def _(t: Trial) -> None:
    t.script(cc("public, max-age=60"))
    assert await t.reused(first=_ALICE, then=_ALICE)


@may("authorization-s-maxage", "3.5", "s-maxage allows it.")
async def _(t: Trial) -> None:
    t.script(cc("s-maxage=60"))
    assert await t.reused(first=_ALICE, then=_ALICE)


@may("authorization-must-revalidate", "3.5", "must-revalidate allows it.")
async def _(t: Trial) -> None:
    t.script(cc("must-revalidate, max-age=60"))
    assert await t.reused(first=_ALICE, then=_ALICE)


@may("set-cookie", "7.3", "A cookie that max-age alone would share is not given to another client.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=60", set_cookie="session=mine"), cc("max-age=60"))
    _, two = await t.twice(0)
    assert two.header("set-cookie") is None


@must("field-kept", "3.1", "Fields that are unknown are stored, too.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=60", x_colour="blue", content_language="de"))
    _, two = await t.twice(0)
    assert t.asked == 1 and (two.header("x-colour"), two.header("content-language")) == ("blue", "de")


@must("field-lines", "3.1", "All lines of a field are stored.")
async def _(t: Trial) -> None:
    t.script(Answer(headers=[("Cache-Control", "max-age=60"), ("Link", "</a>"), ("Link", "</b>")]))
    _, two = await t.twice(0)
    assert t.asked == 1 and two.header("link") == "</a>, </b>"


@must("field-coded", "3.1", "A coded body stays as it is.")
async def _(t: Trial) -> None:
    coded = gzip.compress(b"a body")
    t.script(cc("max-age=60", body=coded, content_encoding="gzip"))
    first, two = await t.twice(0, **{"Accept-Encoding": "gzip"})
    assert t.asked == 1 and first.body == two.body == coded
    assert two.header("content-encoding") == "gzip"


@must("hop-fields", "9110 7.6.1", "Fields of one connection are not passed on.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=60", keep_alive="timeout=77"))
    for answer in await t.twice(0):
        assert "timeout=77" not in str(answer.header("keep-alive"))


@must("hop-named", "9110 7.6.1", "Nor those that Connection names.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=60", connection="x-hop, keep-alive", x_hop="1"))
    for answer in await t.twice(0):
        assert answer.status == 200 and answer.header("x-hop") is None


@must("hop-request", "9110 7.6.1", "Nor those of a request.")
async def _(t: Trial) -> None:
    t.script(cc("no-store"))
    await t.get(headers={"TE": "gzip", "Keep-Alive": "timeout=77", "Proxy-Connection": "keep-alive"})
    sent = t.seen[0]
    assert "timeout=77" not in str(sent.header("keep-alive"))
    assert sent.header("proxy-connection") is None and "gzip" not in str(sent.header("te"))


@must("hop-request-named", "9110 7.6.1", "Nor those that a request's Connection names.")
async def _(t: Trial) -> None:
    t.script(cc("no-store"))
    await t.get(headers={"Connection": "close, x-hop", "X-Hop": "1"})
    assert t.seen[0].header("x-hop") is None


@must("via", "9110 7.6.3", "A gateway says in Via that it was there.")
async def _(t: Trial) -> None:
    t.script(cc("no-store"))
    await t.get(headers={"Via": "1.1 before"})
    assert len(str(t.seen[0].header("via")).split(",")) == 2


async def _status(t: Trial, status: int) -> None:
    more = {"location": "/elsewhere"} if status in (300, 301, 302, 307, 308) else {}
    t.script(cc("max-age=60", status=status, body=None if status != 204 else b"", **more))
    assert await t.reused()


for number in (200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501):
    must(f"status-{number}", "4.2.2", f"{number} with explicit freshness is reused.")(
        partial(_status, status=number)
    )
for number in (302, 307, 400, 403, 500, 503):
    may(f"status-{number}", "3", f"{number} with explicit freshness may be reused.")(
        partial(_status, status=number)
    )


@must("method-post", "9110 9.3.3", "POST is written through.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=60"))
    await t.get(method="POST")
    await t.get(method="POST")
    assert t.asked == 2


for name in ("OPTIONS", "PATCH", "PUT", "DELETE"):

    async def passed(t: Trial, method: str = name) -> None:
        t.script(cc(status=207))
        answer = await t.get(method=method, body=b"" if method in ("OPTIONS", "DELETE") else b"x")
        assert (answer.status, [request.method for request in t.seen]) == (207, [method])

    must(f"pass-{name.lower()}", "9110 9.2.3", f"{name} is passed on, and its answer back.")(passed)


@must("method-post-get", "9110 9.3.3", "A response to POST does not answer GET.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=60"))
    await t.get(method="POST")
    await t.get()
    assert t.asked == 2


@must("method-unknown", "3", "A response to a method that is not understood is not stored.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=60"))
    await t.get(method="SEARCHX")
    await t.get(method="SEARCHX")
    await t.get()
    assert len([r for r in t.seen if r.method == "GET"]) == 1, [r.method for r in t.seen]


@must("method-options", "9110 9.3.7", "OPTIONS is not answered with a stored response.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=60"))
    await t.get()
    await t.get(method="OPTIONS")
    assert t.asked in (1, 2) and (t.asked == 1 or t.seen[1].method == "OPTIONS")


@must("key-query", "2", "The query is part of the key.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=60"))
    assert (await t.get("?a=1")).body != (await t.get("?a=2")).body


@must("key-case", "2", "The case of a path is part of the key.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=60"))
    assert (await t.get("/a")).body != (await t.get("/A")).body


@must("key-host", "2", "The host is part of the key.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=60"))
    assert (await t.get()).body != (await t.get(host="www.cache.test")).body


@must("key-host-case", "9110 4.2.3", "The case of the host is not part of the key.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=60"))
    assert (await t.get()).body == (await t.get(host="CACHE.test")).body


@must("vary-same", "4.1", "The fields that Vary names are equal: reused.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=60", vary="x-client"))
    assert await t.reused(first={"X-Client": "web"}, then={"X-Client": "web"})


@must("vary-other", "4.1", "They differ: not reused.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=60", vary="x-client"))
    assert not await t.reused(first={"X-Client": "web"}, then={"X-Client": "mobile"})


@must("vary-absent", "4.1", "One is absent: not reused.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=60", vary="x-client"))
    assert not await t.reused(first={"X-Client": "web"})


@must("vary-appears", "4.1", "One was absent and is there now: not reused.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=60", vary="x-client"))
    assert not await t.reused(then={"X-Client": "web"})


@must("vary-star", "4.1", "Vary: * never matches.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=60", vary="*"))
    assert not await t.reused()


@must("vary-star-among", "4.1", "Nor does * in a list.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=60", vary="x-client, *"))
    assert not await t.reused()


@must("vary-two", "4.1", "All fields of Vary count.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=60", vary="x-client, accept-language"))
    assert not await t.reused(
        first={"X-Client": "web", "Accept-Language": "de"}, then={"X-Client": "web", "Accept-Language": "fr"}
    )


@must("vary-lines", "4.1", "Vary in several lines.")
async def _(t: Trial) -> None:
    t.script(Answer(headers=[("Cache-Control", "max-age=60"), ("Vary", "x-client"), ("Vary", "x-size")]))
    assert not await t.reused(
        first={"X-Client": "web", "X-Size": "1"}, then={"X-Client": "web", "X-Size": "2"}
    )


@must("vary-case", "4.1", "Names in Vary are case-insensitive.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=60", vary="X-CLIENT"))
    assert await t.reused(first={"x-client": "web"}, then={"X-Client": "web"})


@must("vary-coding", "4.1", "A coded answer is not given to who did not accept the coding.")
async def _(t: Trial) -> None:
    def answer(request: Request) -> Answer:
        coded = {"content_encoding": "gzip"} if "gzip" in str(request.header("accept-encoding")) else {}
        return cc("max-age=60", vary="accept-encoding", **coded)

    t.script(answer)
    await t.get(headers={"Accept-Encoding": "gzip"})
    assert (await t.get()).header("content-encoding") is None


@may("vary-several", "4.1", "Several variants are stored beside each other.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=60", vary="x-client"))
    for client in ("web", "mobile", "affiliate") * 2:
        await t.get(headers={"X-Client": client})
    assert t.asked == 3, f"asked {t.asked} times"


@may("vary-long", "4.1", "A Vary of many names is stored, too.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=60", vary=", ".join(f"x-a-rather-long-field-name-{n}" for n in range(8))))
    assert await t.reused()


@must("partial-not-whole", "3.3", "A part is never given out as the whole.")
async def _(t: Trial) -> None:
    whole = bytes(range(100))

    def answer(request: Request) -> Answer:
        if request.header("range") is None:
            return cc("max-age=60", body=whole, etag='"p"')
        part = cc("max-age=60", status=206, body=whole[:10], etag='"p"', content_range="bytes 0-9/100")
        return part

    t.script(answer)
    assert (await t.get(headers={"Range": "bytes=0-9"})).status in (200, 206)
    two = await t.get()
    assert (two.status, two.body) == (200, whole)


@must("cut-length", "3.3", "What was cut short is not reused.")
async def _(t: Trial) -> None:
    cut = cc("max-age=60", body=b"x" * 4000)
    cut.cut = 1000
    t.script(cut, cc("max-age=60", body=b"whole"))
    await t.get()
    assert (await t.get()).body == b"whole"


@must("cut-chunked", "3.3", "Nor when it was chunked.")
async def _(t: Trial) -> None:
    cut = Answer(headers=[("Cache-Control", "max-age=60")], body=b"x" * 4000, chunked=True, cut=1000)
    t.script(cut, cc("max-age=60", body=b"whole"))
    await t.get()
    assert (await t.get()).body == b"whole"


@must("chunked", "3", "A chunked response is stored and reused.")
async def _(t: Trial) -> None:
    t.script(Answer(headers=[("Cache-Control", "max-age=60")], chunked=True))
    assert await t.reused()


async def _crowd(t: Trial, number: int) -> list[bytes]:
    return [answer.body for answer in await asyncio.gather(*(t.get() for _ in range(number)))]


@may("collapsed", "4", "Requests that come together for one fresh response are one to the origin.")
async def _(t: Trial) -> None:
    answer = cc("max-age=60")
    answer.delay = 0.4
    t.script(answer)
    await _crowd(t, 8)
    assert t.asked == 1, f"asked {t.asked} times"


@must("collapsed-not-private", "4", "A private response that many wait for is given to one.")
async def _(t: Trial) -> None:
    answer = cc("private")
    answer.delay = 0.2
    t.script(answer)
    bodies = await _crowd(t, 8)
    assert len(set(bodies)) == 8


@may("collapsed-not-serial", "4", "Requests for what isn't stored don't wait for each other.")
async def _(t: Trial) -> None:
    answer = cc("private")
    t.script(answer)
    await t.get()
    # The first may be waited for, as nobody knows yet what it brings; the others come together.
    answer.once = lambda: t.asked in (2, 9)
    await asyncio.wait_for(_crowd(t, 8), 30)
