"""What strangers send: smuggled, malformed and oversized requests, poisoned keys. RFC 9112 unless said."""

from __future__ import annotations

import asyncio
from functools import partial

from cache_lab import HOST, TABLE, Answer, Request, Trial, cc, may, must

from tierline.engines.unkeyed import UNKEYED

_BEFORE = set(TABLE)


def _refused(statuses: list[int]) -> bool:
    """One refusal and the end, or the end at once: nothing after it was taken for a second request."""
    return not statuses or (len(statuses) == 1 and 400 <= statuses[0] < 600)


async def _smuggle(t: Trial, head: str, body: str) -> None:
    t.script(cc("no-store"))
    sent = f"POST /{t.key} HTTP/1.1\r\nHost: {HOST}\r\n{head}\r\n{body}".format(t=t)
    answers = await t.raw(sent.encode())
    smuggled = [request.target for request in t.seen if "smuggled" in request.target]
    assert not smuggled, f"the origin saw {smuggled}"
    assert len(answers) <= 1, [answer.status for answer in answers]


_HIDDEN = "GET /{t.key}/smuggled HTTP/1.1\r\nHost: cache.test\r\n\r\n"


@must("smuggle-cl-te", "9112 6.1", "Content-Length and chunked: nothing is smuggled behind the chunks' end.")
async def _(t: Trial) -> None:
    body = "0\r\n\r\n" + _HIDDEN.format(t=t)
    await _smuggle(t, f"Content-Length: {len(body)}\r\nTransfer-Encoding: chunked\r\n", body)


@must("smuggle-te-cl", "9112 6.1", "… nor behind the length's end.")
async def _(t: Trial) -> None:
    hidden = _HIDDEN.format(t=t)
    body = f"{len(hidden):x}\r\n{hidden}\r\n0\r\n\r\n"
    await _smuggle(t, "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", body)


@must("smuggle-te-te", "9112 6.1", "A transfer coding that is not understood is refused.")
async def _(t: Trial) -> None:
    body = "0\r\n\r\n" + _HIDDEN.format(t=t)
    await _smuggle(t, f"Content-Length: {len(body)}\r\nTransfer-Encoding: xchunked\r\n", body)


@must("smuggle-te-space", "9112 5.1", "Space before the colon hides no transfer coding.")
async def _(t: Trial) -> None:
    body = "0\r\n\r\n" + _HIDDEN.format(t=t)
    await _smuggle(t, f"Content-Length: {len(body)}\r\nTransfer-Encoding : chunked\r\n", body)


@must("smuggle-te-tab", "9112 6.1", "Nor do tabs and folds.")
async def _(t: Trial) -> None:
    body = "0\r\n\r\n" + _HIDDEN.format(t=t)
    await _smuggle(t, f"Content-Length: {len(body)}\r\nTransfer-Encoding:\r\n chunked\r\n", body)


@must("smuggle-lengths", "9112 6.3", "Two lengths that differ are refused.")
async def _(t: Trial) -> None:
    body = _HIDDEN.format(t=t)
    await _smuggle(t, f"Content-Length: 0\r\nContent-Length: {len(body)}\r\n", body)


async def _malformed(t: Trial, sent: str) -> None:
    t.script(cc("max-age=60"))
    answers = await t.raw(sent.format(t=t).encode("latin-1"))
    assert _refused([answer.status for answer in answers]), [answer.status for answer in answers]
    assert t.asked == 0, "the origin was asked"


_GET = "GET /{t.key} HTTP/1.1\r\nHost: cache.test\r\nConnection: close\r\n"
for name, section, says, sent in (
    ("bad-length-sign", "9112 6.3", "A length with a sign is refused.", _GET + "Content-Length: +5\r\n\r\n"),
    ("bad-length-words", "9112 6.3", "A length that is no number is refused.", _GET + "Content-Length: x\r\n\r\n"),
    ("bad-colon-space", "9112 5.1", "Space between name and colon is refused.", _GET + "X-A : 1\r\n\r\n"),
    ("bad-no-host", "9112 3.2", "A request without Host is refused.",
     "GET /{t.key} HTTP/1.1\r\nConnection: close\r\n\r\n"),
    ("bad-two-hosts", "9112 3.2", "A request with two Hosts is refused.", _GET + "Host: other.test\r\n\r\n"),
    ("bad-host", "9112 3.2", "A Host that is none is refused.",
     "GET /{t.key} HTTP/1.1\r\nHost: a b/c\r\nConnection: close\r\n\r\n"),
    ("bad-nul", "9110 5.5", "A NUL in a field is refused.", _GET + "X-A: a\0b\r\n\r\n"),
    ("bad-version", "9112 2.3", "Another major version is refused.", "GET /{t.key} HTTP/7.1\r\nHost: cache.test\r\n\r\n"),
    ("bad-chunk", "9112 7.1", "A chunk size that is no number is refused.",
     "POST /{t.key} HTTP/1.1\r\nHost: cache.test\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n\r\n"),
    ("flood-fields", "6585 5", "Ten thousand fields are refused.",
     _GET + "".join(f"X-Flood-{n}: {n}\r\n" for n in range(10000)) + "\r\n"),
    ("flood-field", "6585 5", "A field of 200 kB is refused.", _GET + f"X-Flood: {'x' * 200_000}\r\n\r\n"),
    ("flood-target", "9110 4.1", "A target of 200 kB is refused.",
     f"GET /{{t.key}}{'x' * 200_000} HTTP/1.1\r\nHost: cache.test\r\n\r\n"),
):  # fmt: skip
    must(name, section, says)(partial(_malformed, sent=sent))


@must("bad-fold", "9112 5.2", "A folded field is refused, or passed on in one line.")
async def _(t: Trial) -> None:
    t.script(cc("no-store"))
    answers = await t.raw((_GET.format(t=t) + "X-A: one\r\n two\r\n\r\n").encode())
    if answers and answers[0].status == 200:
        assert str(t.seen[0].header("x-a")).split() == ["one", "two"], t.seen[0].headers
    else:
        assert t.asked == 0


@must("bad-bare-lf", "9112 2.2", "Bare line feeds are refused, or are line ends in all that goes on.")
async def _(t: Trial) -> None:
    t.script(cc("no-store"))
    answers = await t.raw(_GET.format(t=t).encode() + b"X-A: one\nX-B: two\r\n\r\n")
    if answers and answers[0].status == 200:
        assert (t.seen[0].header("x-a"), t.seen[0].header("x-b")) == ("one", "two"), t.seen[0].headers
    else:
        assert t.asked == 0


@must("absolute-form", "9112 3.2.2", "A target in absolute form is understood.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=60"))
    sent = f"GET http://{HOST}/{t.key} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n"
    (answer,) = await t.raw(sent.encode())
    assert answer.status == 200 and t.seen[0].target == f"/{t.key}"


@must("traversal", "9110 4.2.4", "Dots in a path lead nowhere else.")
async def _(t: Trial) -> None:
    t.script(cc("no-store"))
    for path in (
        "/../../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/..%2f..%2fetc/passwd",
        "/..\\..\\etc\\passwd",
    ):
        answer = await t.get(path)
        assert b"root:" not in answer.body


@may("slow-fields", "9110 15.5.9", "Who sends fields for too long is cut off, and nobody else waits.")
async def _(t: Trial) -> None:
    t.script(cc("max-age=60"))
    reader, writer = await asyncio.open_connection(*t.address)
    writer.write(f"GET /{t.key} HTTP/1.1\r\nHost: {HOST}\r\n".encode())
    assert (await t.get()).status == 200
    try:
        await asyncio.wait_for(reader.read(), 40)
    finally:
        writer.close()


def _reflects(field: str) -> Answer:
    def answer(request: Request) -> Answer:
        return cc("max-age=60", body=f"<script src=//{request.header(field)}>".encode())

    return answer  # type: ignore[return-value]


async def _poison(t: Trial, field: str) -> None:
    t.script(_reflects(field))
    await t.get(headers={field: "evil.test"})
    assert b"evil.test" not in (await t.get()).body, "the next client got what the stranger sent"


_USUAL = ("X-Forwarded-Host", "X-Host", "X-Original-URL", "X-Rewrite-URL", "X-HTTP-Method-Override", "Forwarded",
          "X-Forwarded-Prefix", "X-Forwarded-Port")  # fmt: skip
for field in _USUAL:
    must(f"poison-{field.lower()}", "7.1", f"{field} of a stranger is not part of what others get.")(
        partial(_poison, field=field)
    )


@must("poison-others", "7.1", "Nor is any other field that frameworks obey and no key holds.")
async def _(t: Trial) -> None:
    others = [name for name in UNKEYED if name not in _USUAL]
    t.script(lambda r: cc("max-age=60", body=" ".join(name for name in others if r.header(name)).encode()))
    await t.get(headers=dict.fromkeys(others, "evil.test"))
    assert not (told := (await t.get()).body), f"the next client got what the stranger sent: {told.decode()}"


@must("poison-body", "9110 9.3.1", "The body of a GET is not part of what others get.")
async def _(t: Trial) -> None:
    t.script(lambda request: cc("max-age=60", body=b"<" + request.body + b">"))
    sent = f"GET /{t.key} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\nContent-Length: 4\r\n\r\nevil"
    await t.raw(sent.encode())
    assert b"evil" not in (await t.get()).body


ABUSE = sorted(set(TABLE) - _BEFORE)
"""The names of these behaviours: every entry of a line must have them, whatever it keeps."""
