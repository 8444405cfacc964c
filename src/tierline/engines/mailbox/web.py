"""The HTTP side: a JSON API and one page.

    GET    /                        the page
    GET    /api/mails               {"mails": […]}, the newest first; ?limit=50 ?recipient=ada@example.com
    GET    /api/mails/ID            one with its texts;  ID.eml: as it came
    DELETE /api/mails/ID            one;  /api/mails: all
    GET    /health                  needs no token

A request whose `Host` is another than this server's own, or localhost, is refused, whatever token it has.
The token comes as `Authorization: Bearer …` or as `?token=…`, which the page passes on.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import time
from contextlib import suppress
from html import escape
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from tierline.engines.mailbox.store import Store, detail
from tierline.engines.web_origin import foreign_host

_REASONS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
}
_LIMIT = 16_384
_JSON, _HTML, _EML = "application/json", "text/html; charset=utf-8", "message/rfc822"

Answer = tuple[int, str, bytes]


async def serve(store: Store, config: dict[str, Any]) -> asyncio.Server:
    host, port = config["http"]
    token: str = config["token"]

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
            async with asyncio.timeout(10):
                head = await reader.readuntil(b"\r\n\r\n")
                text = head.decode("latin-1")
                hosts = [value for name, _, value in (each.partition(":") for each in text.split("\r\n")[1:])
                         if name.strip().lower() == "host"]  # fmt: skip
                if foreign_host(hosts, host, port):
                    status, kind, body = _told(403, "this is not the host that was asked for")
                else:
                    # Off the loop, which takes mail meanwhile: a list may be long, a mail large.
                    status, kind, body = await asyncio.to_thread(answer, store, token, text)
                writer.write(
                    f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: {kind}\r\n"
                    f"Content-Length: {len(body)}\r\nConnection: close\r\nCache-Control: no-store\r\n"
                    "X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n"
                    "Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'\r\n\r\n".encode()
                    + body
                )
                await writer.drain()
        writer.close()

    return await asyncio.start_server(connected, host, port, limit=_LIMIT)


def answer(store: Store, token: str, head: str) -> Answer:
    """Status, type and body for one request."""
    line, *rest = head.split("\r\n")
    words = line.split(" ")
    if len(words) != 3:
        return _told(400, "not an HTTP request")
    method, target, _ = words
    try:
        url = urlsplit(target)
    except ValueError:
        return _told(400, "not a URL")
    path, query = unquote(url.path), {key: values[-1] for key, values in parse_qs(url.query).items()}
    if path == "/health":
        return 200, _JSON, b'{"status":"ok"}'
    headers = {name.strip().lower(): value.strip() for name, _, value in (one.partition(":") for one in rest)}
    given = headers.get("authorization", "").removeprefix("Bearer ") or query.get("token", "")
    if not hmac.compare_digest(given.encode(), token.encode()):
        return _told(401, "the inbox needs its token: Authorization: Bearer …")
    if path == "/" and method == "GET":
        return 200, _HTML, page(store, token).encode()
    collection, _, name = path.removeprefix("/api/").partition("/")
    if not path.startswith("/api/") or collection != "mails":
        return _told(404, "there is /, /api/mails and /api/mails/ID")
    if method == "GET":
        return one(store, name) if name else many(store, query)
    if method == "DELETE":
        if not name:
            return _json({"removed": store.clear()})
        return _json({"removed": 1}) if store.remove(name) else _told(404, "no such mail")
    return _told(405, "GET and DELETE")


def many(store: Store, query: dict[str, str]) -> Answer:
    limit = query.get("limit", "50")
    if not limit.isdecimal() or len(limit) > 6:
        return _told(400, f"limit {limit!r} is not a number")
    return _json({"mails": list(store.newest(int(limit), query.get("recipient", "")))})


def one(store: Store, name: str) -> Answer:
    raw = store.read(name.removesuffix(".eml"))
    if raw is None:
        return _told(404, "no such mail")
    return (200, _EML, raw) if name.endswith(".eml") else _json(detail(name, raw))


def page(store: Store, token: str) -> str:
    """The list, as plain as can be: no script, and nothing of a mail is trusted."""
    rows = "".join(
        f"<tr><td>{time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime(mail['received']))}</td>"
        f"<td>{escape(mail['from'] or mail['sender'])}</td><td>{escape(', '.join(mail['recipients']))}</td>"
        f'<td><a href="/api/mails/{mail["id"]}.eml?token={quote(token)}">'
        f"{escape(mail['subject'] or '(no subject)')}</a></td><td>{mail['size']}</td></tr>"
        for mail in store.newest(200)
    )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Inbox</title><style>'
        "body{font:16px/1.5 system-ui,sans-serif;margin:2rem}table{border-collapse:collapse;width:100%}"
        "th,td{text-align:left;padding:.4rem .8rem;border-bottom:1px solid #ddd}</style>"
        "<h1>Inbox</h1><table><thead><tr><th>Received (UTC)<th>From<th>For<th>Subject<th>Bytes</thead>"
        f"<tbody>{rows or '<tr><td colspan=5>No mail yet.</td></tr>'}</tbody></table></html>"
    )


def _json(value: Any) -> Answer:
    return 200, _JSON, json.dumps(value).encode()


def _told(status: int, error: str) -> Answer:
    return status, _JSON, json.dumps({"error": error}).encode()
