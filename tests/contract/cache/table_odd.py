"""RFC 9111, 3 to 5: ages, parts, validators and directives that don't fit."""

from __future__ import annotations

import gzip

from cache_lab import Answer, Request, Trial, cc, date, may, must

from waiting import has_expired


@must("must-understand-unknown", "5.2.2.3", "must-understand with a status that nobody knows isn't stored.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=60, must-understand, no-store", 299))
    assert not await t.reused()


@must("method-query", "9110 9.2.3", "An answer to QUERY is nobody's answer to GET, and no other QUERY's.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=60"))
    bodies = set()
    for number in range(2):
        asked = {"Content-Type": "text/plain"}
        answer = await t.get(method="QUERY", body=b"a" * (number + 1), headers=asked)
        if 400 <= answer.status < 600:
            return  # a method that isn't known is refused
        bodies.add(answer.body)
    bodies.add((await t.get()).body)
    assert len(bodies) == 3, bodies


@must("age-304", "5.1", "A 304 from the copy carries its Age, too.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=600", etag='"1"', age="50"))
    await t.get()
    answer = await t.get(headers={"If-None-Match": '"1"'})
    assert answer.status == 304 and t.asked == 1 and answer.age >= 50, (answer.status, t.asked, answer.age)


@must("age-part", "5.1", "… and so do a part of it, and its fields alone.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=600", etag='"1"', age="50", body=bytes(200), accept_ranges="bytes"))
    await t.get()
    for method, more in (("GET", {"Range": "bytes=0-4"}), ("HEAD", {})):
        answer = await t.get(method=method, headers=more)
        assert t.asked > 1 or answer.age >= 50, (method, answer.age)


@must("age-twice", "5.1", "Of several Ages the first counts, or the answer is stale.")
async def _(t: Trial) -> None:
    answer = cc("max-age=60")
    answer.headers += [("Age", "0"), ("Age", "100")]
    t.script(answer)
    one, two = await t.twice(0)
    for each in (one, two):
        assert (each.header("age") or "").count(",") == 0, each.header("age")


@must("age-negative", "5.1", "A negative Age makes nothing younger.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=1", age="-600"))
    assert not await t.reused(wait=2.2)


@must("validate-length", "3.2", "A 304's Content-Length isn't the copy's.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=1", etag='"1"'), cc("max-age=60", status=304, etag='"1"', content_length="4711"))
    one, two = await t.twice(2.2)
    three = await t.get()
    assert (two.body, three.body) == (one.body, one.body), (two.body, three.body)


@must("validate-other", "4.3.4", "A 304 with another strong tag updates no copy that isn't it.")
async def _(t: Trial) -> None:
    t.script(
        cc("max-age=1", etag='"1"'), cc("max-age=60", status=304, etag='"2"'), cc("max-age=60", etag='"2"')
    )
    one, two = await t.twice(2.2)
    assert not (two.body == one.body and two.header("etag") == '"2"'), two


@must("range-coding", "9110 14.2", "A part is cut from the variant that was asked for.")
async def _(t: Trial) -> None:
    packed = gzip.compress(bytes(range(200)))

    def answer(request: Request) -> Answer:
        coded = "gzip" in (request.header("accept-encoding") or "")
        more = {"content_encoding": "gzip"} if coded else {}
        body = packed if coded else bytes(range(200))
        return cc("max-age=60", body=body, etag='"c"' if coded else '"p"', vary="Accept-Encoding", **more)

    t.script(answer)
    for coding in ("gzip", "identity"):
        await t.get(headers={"Accept-Encoding": coding})
    for coding, whole, tag in (("gzip", packed, '"c"'), ("identity", bytes(range(200)), '"p"')):
        answered = await t.get(headers={"Accept-Encoding": coding, "Range": "bytes=0-4"})
        assert answered.body in (whole, whole[:5]), (coding, answered.body)
        said = answered.header("etag") or "W/"
        assert said == tag or said.startswith("W/"), (coding, answered.headers)


@must("partial-other", "3.4", "A part that came is never given out as another part.")
async def _(t: Trial) -> None:
    film = bytes(range(200))

    def answer(request: Request) -> Answer:
        asked = request.header("range")
        if asked is None:
            return cc("max-age=60", body=film, etag='"f"')
        first, last = (int(each) for each in asked.removeprefix("bytes=").split("-"))
        told = cc("max-age=60", 206, body=film[first : last + 1], etag='"f"')
        told.headers.append(("Content-Range", f"bytes {first}-{last}/200"))
        return told

    t.script(answer)
    for first, last in ((0, 4), (10, 19), (0, 9)):
        got = await t.get(headers={"Range": f"bytes={first}-{last}"})
        assert got.status in (200, 206)
        assert got.body == (film[first : last + 1] if got.status == 206 else film), (first, last, got.body)


@must("directive-quoted", "9110 5.6.4", "Words in a quoted argument are no directives.")
async def _(t: Trial) -> None:
    t.script(cc('max-age=1, x="a, max-age=600"'))
    assert not await t.reused(wait=2.2)


@may("directive-quoted-reused", "9110 5.6.4", "… not even those that forbid.")
async def _(t: Trial) -> None:
    t.script(cc('max-age=60, x="no-store, private"'))
    assert await t.reused()


@may("pragma-answer", "5.4", "Pragma of an answer means nothing.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=60", pragma="no-cache"))
    assert await t.reused()


@may("head-freshens", "4.3.5", "An answer to HEAD that differs makes the copy stale.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=1", etag='"1"'), cc("max-age=60", etag='"2"'), cc("max-age=60", etag='"2"'))
    one = await t.get()
    await has_expired(2.2)
    await t.get(method="HEAD")
    assert (await t.get()).body != one.body


@must(
    "expires-zone", "9110 5.6.7", "An Expires in another zone than GMT is no date, or is read as one of GMT."
)
async def _(t: Trial) -> None:
    t.script(cc(expires=date(-600).replace("GMT", "-0100")))
    assert not await t.reused()


@must("vary-empty-list", "4.1", "An empty Vary names nothing, and one with commas alone neither.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=60", vary=", x-client,,"))
    one = await t.get(headers={"X-Client": "web"})
    two = await t.get(headers={"X-Client": "mobile"})
    assert one.body != two.body


@must(
    "only-if-cached-stale",
    "5.2.1.7",
    "only-if-cached and nothing but stale: 504, and the origin isn't asked.",
)
async def _(t: Trial) -> None:
    t.script(cc("max-age=1"))
    await t.get()
    await has_expired(2.2)
    answer = await t.get(headers={"Cache-Control": "only-if-cached"})
    assert answer.status == 504 or t.asked == 2, (answer.status, t.asked)


@must("authorization-no-cache", "3.5", "no-cache alone doesn't give an answer to credentials to others.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=60, no-cache", etag='"1"'), cc("max-age=60", etag='"2"'))
    one = await t.get(headers={"Authorization": "Basic eDp5"})
    assert (await t.get()).body != one.body


@must("invalidate-elsewhere-content", "4.4", "Content-Location's target of another origin isn't invalidated.")
async def _(t: Trial) -> None:
    there = f"http://other.test/{t.key}/it"
    t.script(cc("max-age=60"), cc(status=201, content_location=there), cc("max-age=60"))
    one = await t.get("/it")
    await t.get("/other", method="POST", body=b"x")
    assert (await t.get("/it")).body == one.body
