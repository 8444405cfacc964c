"""RFC 9111, section 4.2.4 to 4.4: validation, stale responses, HEAD, ranges, invalidation."""

from __future__ import annotations

import asyncio
from functools import partial

from cache_lab import Answer, Request, Trial, cc, date, may, must

from waiting import becomes

_OLD = date(-1e6)


@must("validate-etag", "4.3.1", "A stale response is validated with its entity tag.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=1", etag='"1"'))
    await t.twice(2.2)
    assert t.seen[1].header("if-none-match") == '"1"'


@must("validate-date", "4.3.1", "… or with its Last-Modified.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=1", last_modified=_OLD))
    await t.twice(2.2)
    assert t.seen[1].header("if-modified-since") == _OLD


@must("validate-serves", "4.3.3", "304: the stored response is served, whole.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=1", etag='"1"'), cc("max-age=60", status=304, etag='"1"'))
    one, two = await t.twice(2.2)
    assert t.asked == 2 and (two.status, two.body) == (200, one.body)


@must("validate-freshens", "4.3.4", "304: it is fresh again.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=1", etag='"1"'), cc("max-age=60", status=304, etag='"1"'))
    await t.twice(2.2)
    await t.get()
    assert t.asked == 2


@must("validate-freshens-silent", "4.3.4", "304 without Cache-Control: the stored one still counts.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=2", etag='"1"'), cc(status=304, etag='"1"'))
    await t.twice(3.2)
    await t.get()
    assert t.asked == 2, f"asked {t.asked} times"


@must("validate-updates", "3.2", "304: its fields replace the stored ones.")
async def _(t: Trial) -> None:
    t.script(
        cc("max-age=1", etag='"1"', x_colour="blue"),
        cc("max-age=60", status=304, etag='"1"', x_colour="red"),
    )
    _, two = await t.twice(2.2)
    three = await t.get()
    assert t.asked == 2 and two.header("x-colour") == three.header("x-colour") == "red"


@must("validate-updates-control", "3.2", "… and so does its Cache-Control.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=1", etag='"1"'), cc("max-age=60", status=304, etag='"1"'))
    await t.twice(2.2)
    three = await t.get()
    assert t.asked == 2 and three.header("cache-control") == "max-age=60", three.header("cache-control")


@must("validate-keeps", "3.2", "… and those that it doesn't have stay.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=1", etag='"1"', x_colour="blue"), cc("max-age=60", status=304, etag='"1"'))
    _, two = await t.twice(2.2)
    assert t.asked == 2 and two.header("x-colour") == "blue"


@must("validate-age", "4.2.3", "304: Age starts again.")
async def _(t: Trial) -> None:
    t.script(
        cc("max-age=51", age="50", etag='"1"'),
        lambda _: cc("max-age=60", status=304, etag='"1"', date=date()),
    )
    await t.twice(2.2)
    three = await t.get()
    assert t.asked == 2 and three.age < 10, f"Age {three.age}"


@must("validate-replaces", "4.3.3", "200: the new response is served and stored.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=1", etag='"1"'), cc("max-age=60", etag='"2"'))
    one, two = await t.twice(2.2)
    three = await t.get()
    assert t.asked == 2 and one.body != two.body == three.body and three.header("etag") == '"2"'


@must("client-etag", "4.3.2", "A client's If-None-Match that matches: 304 from the cache.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=60", etag='"1"'))
    await t.get()
    assert (await t.get(headers={"If-None-Match": '"1"'})).status == 304 and t.asked == 1


@must("client-etag-list", "4.3.2", "… one of a list.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=60", etag='"b"'))
    await t.get()
    assert (await t.get(headers={"If-None-Match": '"a", "b"'})).status == 304 and t.asked == 1


@must("client-etag-star", "9110 13.1.2", "… or *.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=60", etag='"1"'))
    await t.get()
    assert (await t.get(headers={"If-None-Match": "*"})).status == 304 and t.asked == 1


@must("client-etag-weak", "9110 13.1.2", "Weak entity tags match, too.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=60", etag='W/"1"'))
    await t.get()
    assert (await t.get(headers={"If-None-Match": '"1"'})).status == 304 and t.asked == 1


@must("client-etag-other", "4.3.2", "Another entity tag: the whole response.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=60", etag='"1"'))
    one = await t.get()
    two = await t.get(headers={"If-None-Match": '"2"'})
    assert (two.status, two.body) == (200, one.body) and t.asked == 1


@must("client-date", "4.3.2", "A client's If-Modified-Since: 304 from the cache.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=60", last_modified=_OLD))
    await t.get()
    assert (await t.get(headers={"If-Modified-Since": _OLD})).status == 304 and t.asked == 1


@must("client-date-later", "4.3.2", "… a later date, too.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=60", last_modified=_OLD))
    await t.get()
    assert (await t.get(headers={"If-Modified-Since": date(-100)})).status == 304 and t.asked == 1


@must("client-date-before", "4.3.2", "An earlier date: the whole response.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=60", last_modified=_OLD))
    one = await t.get()
    two = await t.get(headers={"If-Modified-Since": date(-2e6)})
    assert (two.status, two.body) == (200, one.body)


@must("client-etag-first", "9110 13.1.3", "If-None-Match comes before If-Modified-Since.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=60", etag='"1"', last_modified=_OLD))
    await t.get()
    assert (await t.get(headers={"If-None-Match": '"2"', "If-Modified-Since": _OLD})).status == 200


@must("client-304-fields", "9110 15.4.5", "A 304 carries the fields that a 200 would have.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=60", etag='"1"', vary="x-client", content_location="/here"))
    await t.get()
    answer = await t.get(headers={"If-None-Match": '"1"'})
    missing = [
        n for n in ("etag", "cache-control", "vary", "content-location", "date") if not answer.header(n)
    ]
    assert answer.status == 304 and not missing, missing


@may("client-if-match", "4.3.2", "If-Match is the origin's to judge.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=60", etag='"1"'), cc(status=412))
    await t.get()
    assert (await t.get(headers={"If-Match": '"2"'})).status == 412 and t.asked == 2


async def _no_stale(t: Trial, control: str) -> None:
    gone = Answer(hang_up=True)
    t.script(cc(control, etag='"1"'), gone)
    _, two = await t.twice(2.2)
    assert t.asked >= 2 and (two.status >= 500 or two.status == 0), f"{two.status}, asked {t.asked}"


must("stale-must-revalidate", "5.2.2.2", "must-revalidate: an error rather than what is stale.")(
    partial(_no_stale, control="max-age=1, must-revalidate")
)
must("stale-proxy-revalidate", "5.2.2.8", "proxy-revalidate: likewise in a shared cache.")(
    partial(_no_stale, control="max-age=1, proxy-revalidate")
)
must("stale-s-maxage-gone", "5.2.2.10", "s-maxage: likewise.")(partial(_no_stale, control="s-maxage=1"))
must("stale-no-cache-gone", "5.2.2.4", "no-cache: likewise.")(
    partial(_no_stale, control="no-cache, max-age=1")
)


@may("stale-if-error", "5861 4", "stale-if-error: what is stale rather than the origin's error.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=1, stale-if-error=60"), Answer(503))
    one, two = await t.twice(2.2)
    assert (two.status, two.body) == (200, one.body)


@may("stale-if-error-gone", "5861 4", "… or than no answer at all.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=1, stale-if-error=60"), Answer(hang_up=True))
    one, two = await t.twice(2.2)
    assert (two.status, two.body) == (200, one.body)


@must("stale-if-error-over", "4.2.4", "After its time the error is told.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=1, stale-if-error=1"), Answer(503))
    _, two = await t.twice(3.4)
    assert two.status >= 500


@may("stale-while-revalidate", "5861 3", "What is stale at once, while it is fetched anew.")
async def _(t: Trial) -> None:
    slow, stale = cc("max-age=60"), asyncio.Event()
    slow.once = stale.is_set
    t.script(cc("max-age=1, stale-while-revalidate=600"), slow)
    one, two = await t.twice(2.2)
    stale.set()
    assert one.body == two.body

    async def fresh() -> bool:
        return (await t.get()).body != one.body

    assert await becomes(fresh, 30) and t.asked == 2, f"asked {t.asked}"


@must("stale-while-revalidate-over", "4.2.4", "After its time clients wait for the fresh one.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=1, stale-while-revalidate=1"), cc("max-age=60"))
    one, two = await t.twice(3.4)
    assert one.body != two.body


@must("stale-unasked", "4.2.4", "Nothing allows stale: the origin's answer is waited for.")
async def _(t: Trial) -> None:
    slow = cc("max-age=60")
    slow.delay = 0.5
    t.script(cc("max-age=1"), slow)
    one, _ = await t.twice(2.2)
    answers = await asyncio.gather(*(t.get() for _ in range(4)))
    assert one.body not in [answer.body for answer in answers]


@may("head-from-get", "4", "HEAD is answered by a stored response to GET.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=60", x_colour="blue"))
    await t.get()
    answer = await t.get(method="HEAD")
    assert t.asked == 1 and answer.header("x-colour") == "blue"


@must("head-empty", "9110 9.3.2", "An answer to HEAD has no body and the length that GET's would have.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=60", body=b"12345"))
    await t.get()
    sent = f"HEAD /{t.key} HTTP/1.1\r\nHost: cache.test\r\nConnection: close\r\n\r\n".encode()
    reader, writer = await asyncio.open_connection(*t.address)
    writer.write(sent)
    answer = await asyncio.wait_for(reader.read(), 60)
    writer.close()
    assert answer.endswith(b"\r\n\r\n") and b"content-length: 5\r\n" in answer.lower()


@must(
    "head-as-sent",
    "9110 9.3.2",
    "HEAD without a copy reaches the service as HEAD, what its answer adds the client.",
)
async def _(t: Trial) -> None:
    t.script(cc("max-age=60", upload_offset="3"), cc("max-age=60", body=b"12345"))
    answer = await t.get(method="HEAD")
    assert [request.method for request in t.seen] == ["HEAD"] and answer.header("upload-offset") == "3"
    assert (await t.get()).body == b"12345" and t.asked == 2


@must("head-not-whole", "9110 9.3.2", "A response to HEAD does not answer GET.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=60", body=b"12345"))
    await t.get(method="HEAD")
    answer = await t.get()
    assert (answer.status, answer.body) == (200, b"12345")


_FILM = cc("max-age=60", body=bytes(range(200)), etag='"film"', accept_ranges="bytes")


async def _range(t: Trial, asked: str, begin: int, end: int) -> None:
    t.script(_FILM)
    await t.get()
    answer = await t.get(headers={"Range": asked})
    assert t.asked == 1, "the origin was asked"
    assert (answer.status, answer.body) == (206, bytes(range(begin, end))), answer.status
    assert answer.header("content-range") == f"bytes {begin}-{end - 1}/200"


may("range-part", "4", "A range is cut from what is stored.")(
    partial(_range, asked="bytes=10-19", begin=10, end=20)
)
may("range-tail", "4", "The last bytes, too.")(partial(_range, asked="bytes=-5", begin=195, end=200))
may("range-rest", "4", "From somewhere to the end, too.")(
    partial(_range, asked="bytes=150-", begin=150, end=200)
)


@may(
    "range-unkept", "9110 14.2", "Of what isn't kept, a part stays a part: a download goes on where it ended."
)
async def _(t: Trial) -> None:
    def film(request: Request) -> Answer:
        if request.header("range") is None:
            return cc("private", body=bytes(range(200)), etag='"film"', accept_ranges="bytes")
        return cc("private", 206, bytes(range(10, 20)), etag='"film"', content_range="bytes 10-19/200")

    t.script(film)
    who = {"Authorization": "Basic YTpi"}
    await t.get(headers=who)
    answer = await t.get(headers={**who, "Range": "bytes=10-19"})
    assert (answer.status, answer.body) == (206, bytes(range(10, 20))), answer.status


@may("range-outside", "9110 15.5.17", "A range outside what is stored: 416.")
async def _(t: Trial) -> None:
    t.script(_FILM)
    await t.get()
    assert (await t.get(headers={"Range": "bytes=500-600"})).status == 416


@must("range-unknown-unit", "9110 14.2", "A range in another unit is ignored.")
async def _(t: Trial) -> None:
    t.script(_FILM)
    await t.get()
    answer = await t.get(headers={"Range": "frames=1-2"})
    assert (answer.status, len(answer.body)) == (200, 200)


@may("range-if-same", "9110 13.1.5", "If-Range that matches: the part.")
async def _(t: Trial) -> None:
    t.script(_FILM)
    await t.get()
    answer = await t.get(headers={"Range": "bytes=0-4", "If-Range": '"film"'})
    assert t.asked == 1 and answer.status == 206


@must("range-if-other", "9110 13.1.5", "If-Range that doesn't match: the whole.")
async def _(t: Trial) -> None:
    t.script(_FILM)
    await t.get()
    answer = await t.get(headers={"Range": "bytes=0-4", "If-Range": '"another"'})
    assert (answer.status, len(answer.body)) == (200, 200)


async def _invalidates(t: Trial, method: str) -> None:
    t.script(cc("max-age=60"))
    one = await t.get()
    await t.get(method=method, body=b"x" if method != "DELETE" else b"")
    assert (await t.get()).body != one.body


for name in ("POST", "PUT", "DELETE", "PATCH"):
    must(f"invalidate-{name.lower()}", "4.4", f"{name} invalidates what is stored for its target.")(
        partial(_invalidates, method=name)
    )
must("invalidate-unknown", "4.4", "A method of unknown safety does, too.")(
    partial(_invalidates, method="FROB")
)


@must("invalidate-variants", "4.4", "All variants of the target are invalidated.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=60", vary="x-client"))
    before = [(await t.get(headers={"X-Client": client})).body for client in ("web", "mobile")]
    await t.get(method="POST", body=b"x", headers={"X-Client": "web"})
    after = [(await t.get(headers={"X-Client": client})).body for client in ("web", "mobile")]
    assert not set(before) & set(after)


async def _points(t: Trial, field: str, there: str, gone: bool) -> None:
    t.script(cc("max-age=60"), cc(status=201, **{field: there.format(t.key)}), cc("max-age=60"))
    one = await t.get("/it")
    await t.get("/other", method="POST", body=b"x")
    assert ((await t.get("/it")).body != one.body) == gone


may("invalidate-location", "4.4", "Location's target of the same origin is invalidated.")(
    partial(_points, field="location", there="/{}/it", gone=True)
)
may("invalidate-content-location", "4.4", "Content-Location's target of the same origin is invalidated.")(
    partial(_points, field="content_location", there="/{}/it", gone=True)
)
must("invalidate-elsewhere", "4.4", "Location's target of another origin is not.")(
    partial(_points, field="location", there="http://other.test/{}/it", gone=False)
)


@may("invalidate-not-failed", "4.4", "A failed POST invalidates nothing.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=60"), Answer(500), cc("max-age=60"))
    one = await t.get()
    await t.get(method="POST", body=b"x")
    assert (await t.get()).body == one.body


@may("invalidate-not-safe", "4.4", "A safe method invalidates nothing.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=60"))
    one = await t.get()
    await t.get(method="OPTIONS")
    assert (await t.get()).body == one.body
