"""Members: log in by name, who am I, my watchlist.

Sessions live in Valkey, members and watchlists in PostgreSQL.
"""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cinema import valkey
from cinema.postgres import Database
from cinema.web import Problem, application, body, film_id, integer, invalid, json, not_found

COOKIE = "member"
SESSION = 30 * 24 * 3600
TOKEN = 12 * 3600


class Login(msgspec.Struct):
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=40)]


class Member(msgspec.Struct):
    id: int
    name: str


class Tokens:
    """Mints and checks ES256 tokens; the gateway checks them with the public half."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.key: EllipticCurvePrivateKey | None = None
        self.issuer = environment.get("JWT_ISSUER", "cinema")
        self.audience = environment.get("JWT_AUDIENCE", "cinema")
        self.id = environment.get("JWT_KEY_ID")
        path = environment.get("JWT_SIGNING_KEY_FILE")
        if path:
            key = load_pem_private_key(Path(path).read_bytes(), None)
            if not isinstance(key, EllipticCurvePrivateKey) or not isinstance(key.curve, SECP256R1):
                raise RuntimeError("JWT_SIGNING_KEY_FILE must hold an EC key on the curve P-256")
            self.key = key

    def mint(self, member: Member) -> str | None:
        if self.key is None:
            return None
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": self.audience,
            "sub": str(member.id),
            "name": member.name,
            "iat": now,
            "exp": now + TOKEN,
        }
        return jwt.encode(claims, self.key, "ES256", {"kid": self.id} if self.id else None)

    def member(self, token: str) -> Member | None:
        if self.key is None:
            return None
        try:
            claims = jwt.decode(
                token, self.key.public_key(), ["ES256"], audience=self.audience, issuer=self.issuer
            )
            return Member(int(claims["sub"]), str(claims["name"]))
        except (jwt.InvalidTokenError, KeyError, ValueError):
            return None

    def keys(self) -> list[dict[str, str]]:
        if self.key is None:
            return []
        numbers = self.key.public_key().public_numbers()
        x, y = (_base64(number.to_bytes(32, "big")) for number in (numbers.x, numbers.y))
        thumbprint = f'{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}'.encode()
        kid = self.id or _base64(hashlib.sha256(thumbprint).digest())
        return [{"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": kid, "x": x, "y": y}]


def create(environment: Mapping[str, str]) -> Starlette:
    url = environment.get("DATABASE_URL")
    sessions_url = environment.get("SESSION_REDIS_URL") or environment.get("REDIS_URL")
    tokens = Tokens(environment)
    database: Database
    sessions: Any

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        nonlocal database, sessions
        if not sessions_url:
            raise RuntimeError("members needs SESSION_REDIS_URL or REDIS_URL")
        sessions = valkey.connect(sessions_url)
        async with Database(url, name="members") as database:
            yield
        await sessions.aclose()

    async def current(request: Request) -> Member:
        """Whose request this is: by the session cookie, or by a bearer token."""
        session = request.cookies.get(COOKIE)
        if session:
            try:
                kept = await sessions.get(_key(session))
            except valkey.Unavailable:
                raise Problem(503, "Unavailable", "sessions are away", headers={"retry-after": "1"}) from None
            if kept is not None:
                return msgspec.json.decode(kept, type=Member)
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        member = tokens.member(token) if scheme.lower() == "bearer" else None
        if member is None:
            raise Problem(
                401, "Not logged in", "log in with POST /login", headers={"www-authenticate": "Bearer"}
            )
        return member

    async def login(request: Request) -> Response:
        name = " ".join((await body(request, Login)).name.split())
        if not name or not name.isprintable():
            raise invalid("name", "must be a name that can be read")
        row = await database.row(
            "insert into members (name) values ($1)"
            " on conflict (lower(name)) do update set name = members.name returning id, name",
            name,
        )
        assert row is not None
        member = Member(row["id"], row["name"])
        session = secrets.token_urlsafe(24)
        try:
            await sessions.set(_key(session), msgspec.json.encode(member), ex=SESSION)
        except valkey.Unavailable:
            raise Problem(503, "Unavailable", "sessions are away", headers={"retry-after": "1"}) from None
        answer = json({"member": member, "token": tokens.mint(member), "expires_in": TOKEN})
        answer.set_cookie(
            COOKIE,
            session,
            max_age=SESSION,
            httponly=True,
            samesite="lax",
            secure=request.headers.get("x-forwarded-proto", request.url.scheme) == "https",
        )
        return answer

    async def logout(request: Request) -> Response:
        session = request.cookies.get(COOKIE)
        if session:
            await sessions.delete(_key(session))
        answer = Response(status_code=204, headers={"cache-control": "no-store"})
        answer.delete_cookie(COOKIE, httponly=True, samesite="lax")
        return answer

    async def me(request: Request) -> Response:
        member = await current(request)
        watched = await database.row(
            "select count(*) as films from watchlist where member_id = $1", member.id
        )
        assert watched is not None
        # A fresh token too: who has a session need not keep one.
        token = {"token": tokens.mint(member), "expires_in": TOKEN}
        return json({"id": member.id, "name": member.name, "watchlist": watched["films"], **token})

    async def watchlist(request: Request) -> Response:
        member = await current(request)
        limit = integer(request.query_params, "limit", low=1, high=500, default=100)
        rows = await database.fetch(
            "select film_id, added_at from watchlist where member_id = $1"
            " order by added_at desc, film_id limit $2",
            member.id, limit,
        )  # fmt: skip
        return json({"films": [dict(row) for row in rows]})

    async def watch(request: Request) -> Response:
        member, id = await current(request), film_id(request)
        if request.method == "PUT":
            row = await database.row(
                "insert into watchlist (member_id, film_id) values ($1, $2)"
                " on conflict (member_id, film_id) do update set film_id = excluded.film_id"
                " returning film_id, added_at",
                member.id, id,
            )  # fmt: skip
        elif request.method == "DELETE":
            await database.execute(
                "delete from watchlist where member_id = $1 and film_id = $2", member.id, id
            )
            return Response(status_code=204, headers={"cache-control": "no-store"})
        else:
            row = await database.row(
                "select film_id, added_at from watchlist where member_id = $1 and film_id = $2", member.id, id
            )
        if row is None:
            problem = not_found(f"film {id} is not on the watchlist")
            problem.headers["cache-control"] = "no-store"
            raise problem
        return json(dict(row))

    async def keys(_: Request) -> Response:
        return json({"keys": tokens.keys()}, headers={"cache-control": "public, max-age=300"})

    return application(
        [
            Route("/login", login, methods=["POST"]),
            Route("/logout", logout, methods=["POST"]),
            Route("/me", me),
            Route("/watchlist", watchlist),
            Route("/watchlist/{film_id}", watch, methods=["GET", "PUT", "DELETE"]),
            Route("/.well-known/jwks.json", keys),
        ],
        lifespan,
        lambda: database.check(),
    )


def _key(session: str) -> str:
    # Hashed: who can read the store still cannot log in as somebody.
    return f"member:{hashlib.sha256(session.encode()).hexdigest()}"


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


app = create(dict(os.environ))
