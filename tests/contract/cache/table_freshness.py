"""RFC 9111, section 4.2 and 5: freshness, age, directives."""

from __future__ import annotations

import time

from cache_lab import Answer, Trial, cc, date, may, must


@must("fresh-max-age", "5.2.2.1", "A response is reused while younger than max-age.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=60"))
    assert await t.reused()


@must("fresh-s-maxage", "5.2.2.10", "In a shared cache s-maxage comes before max-age.")
async def _(t: Trial) -> None:
    t.script(cc("s-maxage=60, max-age=0"))
    assert await t.reused()


@must("fresh-expires", "5.3", "Without max-age, Expires says how long.")
async def _(t: Trial) -> None:
    t.script(cc(expires=date(60)))
    assert await t.reused()


@must(
    "fresh-max-age-over-expires", "5.3", "With max-age, Expires is ignored: it is past, and doesn't matter."
)
async def _(t: Trial) -> None:
    t.script(cc("max-age=60", expires=date(-60)))
    assert await t.reused()


@must("fresh-s-maxage-over-expires", "5.3", "With s-maxage, Expires is ignored.")
async def _(t: Trial) -> None:
    t.script(cc("s-maxage=60", expires=date(-60)))
    assert await t.reused()


@must("stale-max-age", "4.2", "Older than max-age is not reused without asking.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=1"))
    assert not await t.reused(wait=2.2)


@must("stale-s-maxage", "5.2.2.10", "s-maxage makes stale though max-age is longer.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=60, s-maxage=1"))
    assert not await t.reused(wait=2.2)


@must("stale-expires", "5.3", "Not reused after Expires.")
async def _(t: Trial) -> None:
    t.script(lambda _: cc(expires=date(1)))
    assert not await t.reused(wait=2.4)


@must("stale-max-age-over-expires", "5.3", "max-age makes stale though Expires is in the future.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=1", expires=date(60)))
    assert not await t.reused(wait=2.2)


@must("expires-past", "5.3", "Expires in the past: stale at once.")
async def _(t: Trial) -> None:
    t.script(cc(expires=date(-1)))
    assert not await t.reused()


@must("expires-zero", "5.3", "An invalid date, 0 above all, is in the past.")
async def _(t: Trial) -> None:
    t.script(cc(expires="0", last_modified=date(-1e6)))
    assert not await t.reused()


@must("expires-invalid", "5.3", "An invalid date is in the past.")
async def _(t: Trial) -> None:
    t.script(cc(expires="tomorrow", last_modified=date(-1e6)))
    assert not await t.reused()


@must("expires-rfc850", "9110 5.6.7", "The RFC 850 form of a date is understood.")
async def _(t: Trial) -> None:
    t.script(cc(expires=time.strftime("%A, %d-%b-%y %H:%M:%S GMT", time.gmtime(time.time() + 60))))
    assert await t.reused()


@must("expires-asctime", "9110 5.6.7", "The asctime form of a date is understood.")
async def _(t: Trial) -> None:
    moment = time.gmtime(time.time() + 60)
    t.script(cc(expires=time.strftime(f"%a %b {moment.tm_mday:2d} %H:%M:%S %Y", moment)))
    assert await t.reused()


@must("max-age-zero", "5.2.2.1", "max-age=0 is stale at once.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=0"))
    assert not await t.reused()


@must("max-age-words", "4.2.1", "A max-age that is no number makes stale.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=soon", last_modified=date(-1e6)))
    assert not await t.reused()


@must("max-age-negative", "4.2.1", "A negative max-age makes stale.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=-60", last_modified=date(-1e6)))
    assert not await t.reused()


@must("max-age-huge", "1.2.2", "A number too large to hold is as large as can be held.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=99999999999"))
    assert await t.reused()


@may("max-age-quoted", "5.2", "Arguments may be quoted.")
async def _(t: Trial) -> None:
    t.script(cc('max-age="60"'))
    assert await t.reused()


@must("directive-case", "5.2", "Directives are case-insensitive.")
async def _(t: Trial) -> None:
    t.script(cc("MaX-aGe=60"))
    assert await t.reused()


@must("directive-unknown", "5.2.3", "Unknown directives are ignored.")
async def _(t: Trial) -> None:
    t.script(cc('colour="no-store, private", max-age=60, shape'))
    assert await t.reused()


@must("directive-alike", "5.2.3", "A directive whose name ends in max-age is another one.")
async def _(t: Trial) -> None:
    t.script(cc("x-max-age=60", expires=date(-60)))
    assert not await t.reused()


@must("directive-lines", "9110 5.3", "Several Cache-Control lines are one list.")
async def _(t: Trial) -> None:
    t.script(Answer(headers=[("Cache-Control", "max-age=60"), ("Cache-Control", "no-store")]))
    assert not await t.reused()


@must("directive-lines-reused", "9110 5.3", "Several Cache-Control lines are one list, and it allows.")
async def _(t: Trial) -> None:
    t.script(Answer(headers=[("Cache-Control", "public"), ("Cache-Control", "max-age=60")]))
    assert await t.reused()


@must("directive-spaces", "9110 5.6.1", "Spaces and empty elements in the list don't matter.")
async def _(t: Trial) -> None:
    t.script(cc(" public ,,  max-age=60\t, "))
    assert await t.reused()


@must("age-received", "4.2.3", "The Age that a response came with counts.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=60", age="100"))
    assert not await t.reused()


@must("age-received-part", "4.2.3", "Freshness ends after max-age less the Age received.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=10", age="8"))
    assert not await t.reused(wait=3.2)


@must("age-from-date", "4.2.3", "A Date in the past counts as age.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=60", date=date(-100)))
    assert not await t.reused()


@must("age-generated", "5.1", "A response from the cache carries its Age.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=60"))
    _, two = await t.twice(1.2)
    assert t.asked == 1 and 1 <= two.age <= t.took + 2, f"Age {two.age}"


@must("age-added", "4.2.3", "Age is what was received and the time spent here.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=60", age="20"))
    _, two = await t.twice(1.2)
    assert t.asked == 1 and 21 <= two.age <= t.took + 23, f"Age {two.age}"


@must("age-with-date", "4.2.3", "Age is at least the time since Date.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=60", date=date(-20)))
    _, two = await t.twice(0)
    assert t.asked == 1 and 20 <= two.age <= t.took + 23, f"Age {two.age}"


@may("age-passed-on", "4.2.3", "The first response, too, carries the Age that it came with.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=60", age="20"))
    one, _ = await t.twice(0)
    assert 20 <= one.age <= t.took + 22


@may("age-invalid", "5.1", "An Age that is no number is ignored.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=60", age="old"))
    assert await t.reused()


@may(
    "heuristic-last-modified",
    "4.2.2",
    "Without explicit freshness, a response that is long unmodified is reused.",
)
async def _(t: Trial) -> None:
    t.script(cc(last_modified=date(-1e7)))
    assert await t.reused()


@must("heuristic-status", "4.2.2", "No heuristic freshness for a status that isn't cacheable by default.")
async def _(t: Trial) -> None:
    t.script(cc(status=403, last_modified=date(-1e7)))
    assert not await t.reused()


@must("heuristic-redirect", "4.2.2", "No heuristic freshness for 302.")
async def _(t: Trial) -> None:
    t.script(cc(status=302, last_modified=date(-1e7), location="/elsewhere"))
    assert not await t.reused()


@must("heuristic-error", "4.2.2", "No heuristic freshness for 500.")
async def _(t: Trial) -> None:
    t.script(cc(status=500, last_modified=date(-1e7)))
    assert not await t.reused()


@may("ask-no-cache", "5.2.1.4", "A request's no-cache: the origin is asked.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=60"))
    assert not await t.reused(then={"Cache-Control": "no-cache"})


@may("ask-no-cache-stores", "5.2.1.4", "What a request's no-cache fetched is stored.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=60"))
    await t.get()
    two = await t.get(headers={"Cache-Control": "no-cache"})
    three = await t.get()
    assert t.asked == 2 and three.body == two.body


@may("ask-pragma", "5.4", "Pragma: no-cache without Cache-Control is no-cache.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=60"))
    assert not await t.reused(then={"Pragma": "no-cache"})


@may("ask-max-age-zero", "5.2.1.1", "A request's max-age=0: the origin is asked.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=60"))
    assert not await t.reused(then={"Cache-Control": "max-age=0"})


@may("ask-max-age", "5.2.1.1", "A request's max-age is younger than what is stored: the origin is asked.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=60", age="30"))
    assert not await t.reused(then={"Cache-Control": "max-age=10"})


@may("ask-min-fresh", "5.2.1.3", "A request's min-fresh asks for more than is left.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=60", age="30"))
    assert not await t.reused(then={"Cache-Control": "min-fresh=45"})


@may("ask-max-stale", "5.2.1.2", "A request's max-stale accepts what is stale.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=1"))
    assert await t.reused(then={"Cache-Control": "max-stale=60"}, wait=2.2)


@may("ask-only-if-cached-miss", "5.2.1.7", "only-if-cached and nothing stored: 504, the origin isn't asked.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=60"))
    answer = await t.get(headers={"Cache-Control": "only-if-cached"})
    assert (answer.status, t.asked) == (504, 0), f"{answer.status}, asked {t.asked}"


@must("ask-only-if-cached-hit", "5.2.1.7", "only-if-cached and something fresh stored: that.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=60"))
    assert await t.reused(then={"Cache-Control": "only-if-cached"})


@may("ask-no-store", "5.2.1.5", "A request's no-store: its response is not stored.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=60"))
    assert not await t.reused(first={"Cache-Control": "no-store"})
