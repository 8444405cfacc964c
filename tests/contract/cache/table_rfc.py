"""RFC 9110, 8 to 15, and RFC 9111, 3 to 5, once more: sentences with MUST that no other table holds."""

from __future__ import annotations

from cache_lab import Answer, Request, Response, Trial, cc, date, may, must

_OLD, _OLDER = date(-1e6), date(-2e6)


@must("both-etag-matches", "9110 13.1.3", "An entity tag that matches wins over a date that doesn't: 304.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=60", etag='"1"', last_modified=_OLD))
    await t.get()
    answer = await t.get(headers={"If-None-Match": '"1"', "If-Modified-Since": _OLDER})
    assert (answer.status, t.asked) == (304, 1), f"{answer.status}, asked {t.asked}"


@must("both-etag-differs", "9110 13.1.3", "An entity tag that differs wins over a date that matches: 200.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=60", etag='"1"', last_modified=_OLD))
    await t.get()
    for then in (_OLD, date(-10)):
        answer = await t.get(headers={"If-None-Match": '"2", W/"3"', "If-Modified-Since": then})
        assert answer.status == 200, answer.status


@must(
    "client-etag-of-none", "9110 13.1.2", "A tag doesn't match a copy that has none, whatever the date says."
)
async def _(t: Trial) -> None:
    t.script(cc("max-age=60", last_modified=_OLD))
    await t.get()
    answer = await t.get(headers={"If-None-Match": '"1"', "If-Modified-Since": _OLD})
    assert answer.status == 200, answer.status


@must("client-etag-part", "9110 8.8.3.2", "A tag that only contains the copy's is another one.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=60", etag='"b"'))
    await t.get()
    for tags in ('"ab"', '"a b"', 'W/"bb"', '"B"'):
        assert (await t.get(headers={"If-None-Match": tags})).status == 200, tags


@must("client-etag-comma", "9110 8.8.3", "A tag may hold a comma.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=60", etag='"a,b"'))
    await t.get()
    assert (await t.get(headers={"If-None-Match": '"x", "a,b"'})).status == 304
    assert (await t.get(headers={"If-None-Match": '"a", "b"'})).status == 200


@must("client-date-invalid", "9110 13.1.3", "If-Modified-Since that is no date is ignored.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=60", last_modified=_OLD))
    await t.get()
    for then in ("0", "yesterday", "Tue, 99 Foo 2099 99:99:99 GMT"):
        assert (await t.get(headers={"If-Modified-Since": then})).status == 200, then


@must(
    "client-304-weak",
    "9110 15.4.5",
    "A 304 carries Date, ETag (weak as it is), Vary, Cache-Control and the others.",
)
async def _(t: Trial) -> None:
    told = {"vary": "x-client", "expires": date(600), "content_location": "/here"}
    t.script(cc("max-age=60", etag='W/"1"', **told))
    whole = await t.get()
    answer = await t.get(headers={"If-None-Match": 'W/"1"'})
    assert answer.status == 304 and t.asked == 1 and not answer.body
    assert answer.header("date"), "a 304 has a Date"
    for name in ("etag", "cache-control", "vary", "expires", "content-location"):
        assert answer.header(name) == whole.header(name), f"{name}: {answer.header(name)}"


@must("client-miss", "9111 4.3.1", "A condition that meets no copy keeps nobody else from the whole.")
async def _(t: Trial) -> None:
    def answer(request: Request) -> Answer:
        return cc("max-age=60", 304 if request.header("if-none-match") == '"1"' else 200, etag='"1"')

    t.script(answer)
    first = await t.get(headers={"If-None-Match": '"1"'})
    assert first.status == 304, first.status
    second = await t.get()
    assert second.status == 200 and second.body, second.status


@may("client-unmodified", "9110 13.1.4", "If-Unmodified-Since is the origin's to judge.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=60", last_modified=_OLD), cc(status=412))
    await t.get()
    assert (await t.get(headers={"If-Unmodified-Since": _OLDER})).status == 412 and t.asked == 2


def _film(**more: str) -> Answer:
    return cc("max-age=60", body=bytes(range(200)), accept_ranges="bytes", **more)


@must("range-if-weak", "9110 13.1.5", "A weak tag in If-Range never matches: the whole.")
async def _(t: Trial) -> None:
    t.script(_film(etag='W/"film"'))
    await t.get()
    answer = await t.get(headers={"Range": "bytes=0-4", "If-Range": 'W/"film"'})
    assert (answer.status, len(answer.body)) == (200, 200), answer.status


@must("range-if-date", "9110 13.1.5", "A date in If-Range that isn't exactly Last-Modified: the whole.")
async def _(t: Trial) -> None:
    t.script(_film(last_modified=_OLD))
    await t.get()
    for then in (_OLDER, date(-10)):
        answer = await t.get(headers={"Range": "bytes=0-4", "If-Range": then})
        assert (answer.status, len(answer.body)) == (200, 200), answer.status


@must(
    "range-outside-fields", "9110 15.5.17", "A 416 says each of its fields once, and how long the whole is."
)
async def _(t: Trial) -> None:
    t.script(_film(etag='"film"', content_type="video/mp4"))
    await t.get()
    answer = await t.get(headers={"Range": "bytes=500-600"})
    if answer.status == 416:
        names = [name.lower() for name, _ in answer.headers]
        assert len(set(names)) == len(names), sorted(names)
        assert answer.header("content-range") in (None, "bytes */200"), answer.header("content-range")
    else:
        assert (answer.status, len(answer.body)) == (200, 200), answer.status


@must("range-head", "9110 14.2", "Range means nothing for HEAD.")
async def _(t: Trial) -> None:
    t.script(_film(etag='"film"'))
    await t.get()
    answer = await t.get(method="HEAD", headers={"Range": "bytes=0-4"})
    assert (answer.status, answer.header("content-length")) == (200, "200"), answer


@must("range-several", "9110 15.3.7.2", "Several ranges: the whole, or parts that say what they are.")
async def _(t: Trial) -> None:
    t.script(_film(etag='"film"'))
    await t.get()
    answer = await t.get(headers={"Range": "bytes=0-1,100-101"})
    if answer.status == 206:
        kind = answer.header("content-type") or ""
        assert kind.startswith("multipart/byteranges") and answer.header("content-range") is None, (
            answer.headers
        )
        assert b"\x00\x01" in answer.body and b"de" in answer.body
    else:
        assert (answer.status, len(answer.body)) == (200, 200), answer.status


@must("range-condition", "9110 13.2.2", "If-None-Match that matches comes before Range: 304.")
async def _(t: Trial) -> None:
    t.script(_film(etag='"film"'))
    await t.get()
    answer = await t.get(headers={"Range": "bytes=0-4", "If-None-Match": '"film"'})
    assert answer.status == 304, answer.status


@must("range-fields", "9110 15.3.7", "A part carries Date, Cache-Control, ETag, Vary and Content-Location.")
async def _(t: Trial) -> None:
    t.script(_film(etag='"film"', vary="x-client", content_location="/here"))
    await t.get()
    answer = await t.get(headers={"Range": "bytes=0-4"})
    missing = [
        n for n in ("date", "cache-control", "etag", "vary", "content-location") if not answer.header(n)
    ]
    assert answer.status == 200 or not missing, missing


@must("interim", "9110 15.2", "Interim answers come before the final one, which alone is kept.")
async def _(t: Trial) -> None:
    answer = cc("max-age=60")
    answer.interim = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"
    t.script(answer)
    one, two = await t.twice(0)
    assert (one.status, two.status, one.body) == (200, 200, two.body), (one.status, two.status)


@must("date-absent", "9110 6.6.1", "An answer without Date gets the time when it was received.")
async def _(t: Trial) -> None:
    answer = cc("max-age=60")
    answer.dateless = True
    t.script(answer)
    for found in await t.twice(0):
        assert len(_lines(found, "date")) == 1, found.headers


@must("date-invalid", "4.2.3", "A Date that is none makes no age that is none.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=60", date="yesterday"))
    one, two = await t.twice(0)
    assert (one.status, two.status) == (200, 200) and -1 <= two.age < 60, two.age


@must("date-future", "4.2.3", "A Date in the future is age 0, and no longer life than max-age.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=1", date=date(600)))
    one, two = await t.twice(2.2)
    assert one.age in (-1, 0) and one.body != two.body, f"age {one.age}, asked {t.asked}"


@must("age-words", "5.1", "An Age that is no number is never passed on as the copy's.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=60", age="old"))
    _, two = await t.twice(0)
    value = two.header("age")
    assert two.status == 200 and (value is None or value.isdigit()), value


@must("max-age-twice", "4.2.1", "Of two max-ages the first counts, or the answer is stale.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=1, max-age=60"))
    assert not await t.reused(wait=2.2)


@must(
    "targeted-elsewhere", "9213 2.2", "CDN-Cache-Control isn't for this cache: it is ignored and passed on."
)
async def _(t: Trial) -> None:
    t.script(cc("max-age=60", cdn_cache_control="no-store"))
    one, two = await t.twice(0)
    assert t.asked == 1, f"asked {t.asked} times"
    assert one.header("cdn-cache-control") == two.header("cdn-cache-control") == "no-store"


@must("targeted-alone", "9213 2.2", "Nor does it keep what Cache-Control forbids.")
async def _(t: Trial) -> None:
    t.script(cc("no-store", cdn_cache_control="max-age=60"))
    one = await t.get()
    assert (await t.get()).body != one.body


def _lines(answer: Response, name: str) -> list[str]:
    return [value for key, value in answer.headers if key.lower() == name]
