"""The provider's HTTP side.

GET  /.well-known/openid-configuration   what it offers
GET  /jwks.json                          the keys that its tokens are checked with
GET  /authorize                          the page on which a test user is chosen
POST /authorize                          the choice: back to the line, with a code
POST /token                              a code, or a refresh token, for tokens
GET  /logout                             back to the line
GET  /health
"""

from __future__ import annotations

import json
from html import escape
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tierline.engines.identity.provider import Provider, Refused
from tierline.engines.web_origin import foreign_host

_MOST = 64 << 10
_STYLE = """
:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:24rem;margin:4rem auto;padding:0 1rem}
h1{font-size:1.3rem}button{display:block;width:100%;padding:.7rem;margin:.5rem 0;font:inherit;text-align:left;
border:1px solid #8886;border-radius:.5rem;background:transparent;color:inherit;cursor:pointer}
button:hover,button:focus{border-color:currentColor}small{color:#777}
"""
_SAFE = [
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    # No form-action: the answer to the form leads to the line, which is another origin.
    (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
]
Answer = tuple[int, list[tuple[bytes, bytes]], bytes]


class Web:
    """The ASGI application."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body") or len(body) > _MOST:
                break
        try:
            status, headers, answer = self._answer(scope, body)
        except Refused as refused:
            status = 401 if refused.code == "invalid_client" else 400
            told = {"error": refused.code, "error_description": refused.about}
            status, headers, answer = _json(told, status)
        await send({"type": "http.response.start", "status": status, "headers": [*headers, *_SAFE]})
        await send({"type": "http.response.body", "body": answer})

    def _answer(self, scope: Any, body: bytes) -> Answer:
        method, path = scope["method"], scope["path"]
        here = urlsplit(self._provider.issuer)
        hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        if foreign_host(hosts, here.hostname or "", here.port or 0):
            return _json({"error": "foreign_host"}, 403)
        if len(body) > _MOST:
            raise Refused("invalid_request", "the request is too large")
        query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
        form = dict(parse_qsl(body.decode("latin-1"), keep_blank_values=True)) if method == "POST" else {}
        provider = self._provider
        match (method, path):
            case ("GET", "/health"):
                return 200, [(b"content-type", b"text/plain")], b"ok"
            case ("GET", "/.well-known/openid-configuration"):
                return _json(provider.discovery())
            case ("GET", "/jwks.json"):
                return _json(provider.jwks())
            case ("GET", "/authorize"):
                provider.asked(query)
                return 200, [(b"content-type", b"text/html; charset=utf-8")], _page(provider, query).encode()
            case ("POST", "/authorize"):
                return _to(provider.grant(provider.asked(form), form.get("user", "")))
            case ("POST", "/token"):
                headers = dict(scope["headers"])
                return _json(provider.token(form, headers.get(b"authorization", b"").decode("latin-1")))
            case ("GET", "/logout"):
                back = provider.leave(query)
                return _to(back) if back else (200, [(b"content-type", b"text/plain")], b"logged out")
        return _json({"error": "not_found"}, 404)


def _json(data: dict[str, Any], status: int = 200) -> Answer:
    return status, [(b"content-type", b"application/json")], json.dumps(data).encode()


def _to(uri: str) -> Answer:
    return 302, [(b"location", uri.encode())], b""


def _page(provider: Provider, asked: dict[str, str]) -> str:
    """Every test user as a button."""
    hidden = "".join(
        f'<input type=hidden name="{escape(name)}" value="{escape(value)}">' for name, value in asked.items()
    )
    buttons = "".join(
        f'<button name=user value="{escape(name)}">{escape(name)}<br><small>{escape(_claims(claims))}</small></button>'
        for name, claims in provider.users.items()
    )
    return f"""<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content="width=device-width">
<title>Log in · tierline</title><style>{_STYLE}</style><h1>Who are you?</h1>
<p><small>The line's own identity provider. Test users of the stack file; no passwords.</small>
<form method=post action=/authorize>{hidden}{buttons}</form></html>"""


def _claims(claims: dict[str, Any]) -> str:
    return ", ".join(f"{name}: {value}" for name, value in claims.items()) or "no claims"
