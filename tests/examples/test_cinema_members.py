"""What a member notices: logging in, staying logged in, a watchlist."""

from __future__ import annotations

import asyncio
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from plain import serving

from cinema import members
from waiting import PATIENCE

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def environment(accounts: str, valkey: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    path: Path = tmp_path_factory.mktemp("keys") / "signing.pem"
    key = ec.generate_private_key(ec.SECP256R1())
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return {
        "DATABASE_URL": accounts,
        "SESSION_REDIS_URL": valkey,
        "JWT_SIGNING_KEY_FILE": str(path),
        "JWT_ISSUER": "https://cinema.test",
        "JWT_AUDIENCE": "cinema",
    }


def test_logging_in_and_out(environment: dict[str, str]) -> None:
    async def main() -> None:
        async with serving(members.create(environment)) as client:
            assert (await client.get("/me")).status_code == 401
            answer = await client.post("/login", json={"name": "  Ada   Lovelace "})
            assert answer.json()["member"]["name"] == "Ada Lovelace"
            cookie = answer.headers["set-cookie"]
            assert "HttpOnly" in cookie and "SameSite=lax" in cookie and "Path=/" in cookie
            assert answer.headers["cache-control"] == "no-store"
            me = (await client.get("/me")).json()
            assert me["name"] == "Ada Lovelace" and me["id"] == answer.json()["member"]["id"]

            same = await client.post("/login", json={"name": "ada lovelace"})
            assert same.json()["member"] == answer.json()["member"], "one person, however it is typed"

            assert (await client.post("/logout")).status_code == 204
            assert (await client.get("/me")).status_code == 401

    asyncio.run(main())


def test_the_token_is_one_that_a_gateway_accepts(environment: dict[str, str]) -> None:
    async def main() -> None:
        async with serving(members.create(environment)) as client:
            answer = (await client.post("/login", json={"name": "Grace"})).json()
            keys = (await client.get("/.well-known/jwks.json")).json()["keys"]
            claims = jwt.decode(
                answer["token"],
                jwt.PyJWK(keys[0]),
                ["ES256"],
                audience="cinema",
                issuer="https://cinema.test",
            )
            assert claims["sub"] == str(answer["member"]["id"]) and claims["name"] == "Grace"

            client.cookies.clear()
            bearer = {"authorization": f"Bearer {answer['token']}"}
            again = (await client.get("/me", headers=bearer)).json()
            assert again["name"] == "Grace" and again["token"].count(".") == 2
            head, payload, signature = answer["token"].split(".")
            for bad in (
                "x",
                f"{head}.{payload}.{signature[:-4]}AAAA",
                f"eyJhbGciOiJub25lIn0.{payload}.",
                "..",
                "",
            ):
                refused = await client.get("/me", headers={"authorization": f"Bearer {bad}"})
                assert refused.status_code == 401 and refused.headers["www-authenticate"] == "Bearer"

    asyncio.run(main())


def test_the_cookie_is_secure_behind_tls(environment: dict[str, str]) -> None:
    async def main() -> None:
        async with serving(members.create(environment)) as client:
            answer = await client.post(
                "/login", json={"name": "Edsger"}, headers={"x-forwarded-proto": "https"}
            )
            assert "Secure" in answer.headers["set-cookie"]

    asyncio.run(main())


@pytest.mark.parametrize(
    "body, field",
    [
        ("{}", "name"),
        ('{"name": ""}', "name"),
        ('{"name": "   "}', "name"),
        ('{"name": 7}', "name"),
        ('{"name": "\\u0000"}', "name"),
        ('{"name": "' + "x" * 41 + '"}', "name"),
        ("[]", "body"),
        ("nonsense", "body"),
        ("", "body"),
    ],
)
def test_a_name_that_is_none_is_refused(environment: dict[str, str], body: str, field: str) -> None:
    async def main() -> None:
        async with serving(members.create(environment)) as client:
            answer = await client.post("/login", content=body)
            assert answer.status_code == 422, answer.text
            assert answer.json()["errors"][0]["field"] == field

    asyncio.run(main())


def test_a_watchlist(environment: dict[str, str]) -> None:
    async def main() -> None:
        async with serving(members.create(environment)) as client:
            assert (await client.put("/watchlist/20545")).status_code == 401
            await client.post("/login", json={"name": "Barbara"})
            first = await client.put("/watchlist/20545")
            assert (await client.put("/watchlist/20545")).json() == first.json(), "twice is once"
            await client.put("/watchlist/48908")
            assert [film["film_id"] for film in (await client.get("/watchlist")).json()["films"]] == [
                48908,
                20545,
            ]
            assert (await client.get("/me")).json()["watchlist"] == 2
            assert (await client.get("/watchlist/20545")).status_code == 200
            assert (await client.delete("/watchlist/20545")).status_code == 204
            assert (await client.delete("/watchlist/20545")).status_code == 204
            assert (await client.get("/watchlist/20545")).status_code == 404
            assert (await client.put("/watchlist/zero")).status_code == 422
            await client.post("/login", json={"name": "Somebody Else"})
            assert (await client.get("/watchlist")).json() == {"films": []}

    asyncio.run(main())


def test_a_session_survives_a_restart_of_the_application(environment: dict[str, str]) -> None:
    async def main() -> None:
        async with serving(members.create(environment)) as client:
            await client.post("/login", json={"name": "Margaret"})
            cookies = client.cookies
        async with serving(members.create(environment)) as client:
            client.cookies = cookies
            assert (await client.get("/me")).json()["name"] == "Margaret"

    asyncio.run(main())


def test_without_sessions_nobody_waits(environment: dict[str, str]) -> None:
    async def main() -> None:
        async with serving(
            members.create({**environment, "SESSION_REDIS_URL": "redis://127.0.0.1:1"})
        ) as client:
            async with asyncio.timeout(PATIENCE):
                answer = await client.post("/login", json={"name": "Hedy"})
            assert answer.status_code == 503 and answer.headers["retry-after"] == "1"

    asyncio.run(main())
