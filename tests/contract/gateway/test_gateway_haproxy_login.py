"""What gateway.haproxy's login believes of a provider, and what it gives browsers to keep: its checks and its cookies are
its own (engines/haproxy/login.lua), so they are held against a provider that lies."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import ssl
import struct
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from feature_suite import Contract
from login_suite import CALLBACK, Browser, HostCookiesContract

from tierline import OIDC, Gateway, Service, Stack
from tierline.run.authority import Authority
from waiting import expires

KEY, STRANGER = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
RSA = rsa.generate_private_key(65537, 2048)
PUBLIC = KEY.public_key().public_bytes(
    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
)


class Provider(ThreadingHTTPServer):
    """Says what a test wants it to say."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
            self.url = f"https://localhost:{self.server_port}"
        self.answer: Callable[[dict[str, str]], tuple[int, bytes]] = lambda asked: (500, b"")
        self.asked: list[dict[str, str]] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Handler(BaseHTTPRequestHandler):
    server: Provider

    def do_GET(self) -> None:
        at = self.server.url
        if self.path == "/.well-known/openid-configuration":
            said = {"issuer": at, "jwks_uri": f"{at}/keys"}
            said |= {f"{name}_endpoint": f"{at}/{name}" for name in ("authorization", "token")}
            return self._say(200, json.dumps(said).encode())
        keys = []
        for key, algorithm in ((KEY, jwt.algorithms.ECAlgorithm), (RSA, jwt.algorithms.RSAAlgorithm)):
            public = algorithm.to_jwk(key.public_key(), as_dict=True)  # type: ignore[attr-defined]
            keys.append({**public, "kid": "ec" if key is KEY else "rsa", "use": "sig"})
        return self._say(200, json.dumps({"keys": keys}).encode())

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        asked = {name: values[0] for name, values in parse_qs(body).items()}
        asked["authorization"] = self.headers["authorization"]
        self.server.asked.append(asked)
        self._say(*self.server.answer(asked))

    def _say(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Nothing."""


class TestHAProxyHostCookies(HostCookiesContract):
    system = "haproxy"

    def test_services_see_neither_name(self) -> None:
        browser = self.logged_in("ann", "https")
        mine = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
        for cookie in (
            f"a=1; {mine}; tierline-session=x; b=2,3",
            f"{mine}; a=1; b=2,3; __Host-tierline-login-x=1",
        ):
            seen = self.arrived(self.get("/account", cookie=cookie, x_forwarded_proto="https"))["headers"]
            assert seen["cookie"] == "a=1; b=2,3"


class TestHAProxyLoginChecks(Contract):
    system = "haproxy"
    provider: ClassVar[Provider]

    @classmethod
    def prepare(cls, root: Path) -> Callable[[], None]:
        cls.provider = Provider()
        (root / "secret.txt").write_text("s%3&+=:é")
        return cls.provider.shutdown

    @classmethod
    def stack(cls) -> Stack:
        return Stack(
            "edge",
            gateway=Gateway(
                login=OIDC(paths=["/account"], issuer=cls.provider.url, client_id="films", client_secret="secret.txt"),
            ),
            services=[Service("echo", "app:app", expose=["/account"])],
            zones=["a"],
        )  # fmt: skip

    def claims(self, nonce: str, /, **more: Any) -> dict[str, Any]:
        body = {"iss": self.provider.url, "aud": "films", "sub": "ann", "exp": int(time.time()) + 600}
        body = {**body, "nonce": nonce, **more}
        return {name: value for name, value in body.items() if value is not None}

    def login(self, made: Callable[[str], Any]) -> tuple[Browser, httpx.Response]:
        """As far as the gateway's answer to the provider's; `made` gives the token endpoint's for a nonce."""
        browser = Browser(self.line.url())
        sent = browser.get("/account?x=1")
        asked = {
            name: values[0] for name, values in parse_qs(urlsplit(sent.headers["location"]).query).items()
        }
        said = made(asked["nonce"])
        self.provider.answer = lambda _: said if isinstance(said, tuple) else (200, json.dumps(said).encode())
        answer = browser.get(f"{CALLBACK}?code=c%2B1&state={asked['state']}")
        verifier = self.provider.asked[-1]["code_verifier"]
        digest = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
        assert digest == asked["code_challenge"] and self.provider.asked[-1]["code"] == "c+1"
        # Each part encoded as a form's (RFC 6749, section 2.3.1).
        basic = base64.b64decode(self.provider.asked[-1]["authorization"].removeprefix("Basic "))
        assert basic == b"films:s%253%26%2B%3D%3A%C3%A9"
        return browser, answer

    def signed(self, body: dict[str, Any], key: Any = KEY, algorithm: str = "ES256", kid: str = "ec") -> str:
        return jwt.encode(body, key, algorithm, headers={"kid": kid})

    @pytest.mark.parametrize(
        "more",
        [
            {},
            {"aud": ["films"]},
            {"aud": ["other", "films"], "azp": "films"},
            {"azp": "films"},
            {"exp": time.time() + 86400.5},  # collected long before it runs
        ],
        ids=["plain", "list", "party", "alone", "fraction"],
    )
    def test_a_good_id_token_logs_in(self, more: dict[str, Any]) -> None:
        browser, answer = self.login(lambda nonce: {"id_token": self.signed(self.claims(nonce, **more))})
        assert answer.status_code == 302, answer.text
        assert answer.headers["location"] == self.line.url() + "/account?x=1"
        assert self.arrived(browser.get("/account"))["headers"]["x-tierline-subject"] == "ann"
        by_rsa = lambda nonce: {"id_token": self.signed(self.claims(nonce), RSA, "RS256", "rsa")}  # noqa: E731
        assert self.login(by_rsa)[1].status_code == 302

    @pytest.mark.parametrize(
        "more",
        [
            {"nonce": "another"}, {"nonce": None}, {"iss": "http://other"}, {"aud": "other"}, {"aud": ["other"]},
            {"aud": [["films"]]}, {"aud": None}, {"azp": "other"},
            {"aud": ["films", "other"]}, {"aud": ["films", "other"], "azp": "other"}, {"azp": 7},
            {"exp": 1_600_000_000}, {"exp": None}, {"exp": "soon"},
            {"nbf": 9_999_999_999}, {"sub": None},
        ],
        ids=repr,
    )  # fmt: skip
    def test_an_id_token_for_another_purpose_is_refused(self, more: dict[str, Any]) -> None:
        browser, answer = self.login(lambda nonce: {"id_token": _raw(self.claims(nonce, **more))})
        self.refused(answer, 401)
        assert not browser.cookies

    @pytest.mark.parametrize("how", ["stranger", "none", "secret", "cut", "kid", "swapped"])
    def test_an_id_token_of_somebody_else_is_refused(self, how: str) -> None:
        def made(nonce: str) -> dict[str, str]:
            body = self.claims(nonce)
            good = self.signed(body)
            head = base64.urlsafe_b64encode(b'{"alg":"HS256","kid":"ec"}').decode().rstrip("=")
            mac = hmac.digest(PUBLIC, f"{head}.{good.split('.')[1]}".encode(), "sha256")
            tokens = {
                "stranger": self.signed(body, STRANGER), "none": jwt.encode(body, None, "none", headers={"kid": "ec"}),
                "secret": f"{head}.{good.split('.')[1]}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}",
                "cut": good.rpartition(".")[0] + ".", "kid": self.signed(body, kid="rsa"),
                "swapped": ".".join([*self.signed({**body, "sub": "eve"}).split(".")[:2], good.split(".")[2]]),
            }  # fmt: skip
            return {"id_token": tokens[how]}

        browser, answer = self.login(made)
        self.refused(answer, 401)
        assert not browser.cookies

    @pytest.mark.parametrize(
        "said",
        [(400, b"{}"), (500, b""), (200, b"{"), (200, b"{}"), (200, b'{"id_token":7}'), (200, b"[]")],
        ids=repr,
    )
    def test_a_provider_that_gives_no_token_is_told(self, said: tuple[int, bytes]) -> None:
        browser, answer = self.login(lambda nonce: said)
        self.refused(answer, 401)
        assert not browser.cookies

    def test_cookies_hold_what_is_sealed_and_nothing_else_opens(self) -> None:
        browser, _ = self.login(
            lambda nonce: {
                "id_token": self.signed(self.claims(nonce)),
                "refresh_token": "again",
                "expires_in": 600,
            }
        )
        (name,) = browser.cookies
        sealed = browser.cookies[name]
        secret = self.line.context.secret("login.hmac")
        _, till, size = struct.unpack("<BQI", _opened(sealed, secret, b"session")[:13])
        assert abs(till - time.time() - 600) < 5 and size > 100
        before = len(self.line.upstreams.seen)
        raw = base64.urlsafe_b64decode(sealed + "=" * (-len(sealed) % 4))
        begun = Browser(self.line.url())
        begun.get("/account")
        (other,) = begun.cookies.values()
        for bad in (
            raw[:-1] + bytes([raw[-1] ^ 1]), raw[:20] + bytes([raw[20] ^ 1]) + raw[21:], raw[:-40], raw + b"x", b"", raw[:40],
            base64.urlsafe_b64decode(other + "=" * (-len(other) % 4)),  # good, for another purpose
        ):  # fmt: skip
            text = base64.urlsafe_b64encode(bad).decode().rstrip("=")
            self.refused(self.get("/account", cookie=f"{name}={text}"), 401)
        assert len(self.line.upstreams.seen) == before

    def test_a_session_lasts_no_longer_than_its_id_token(self) -> None:
        browsers, until = [], 0
        for said in ({"expires_in": 3600}, {}, {"expires_in": 1e300}):
            until = int(time.time()) + 6
            claims = {"exp": until}
            browser, _ = self.login(
                lambda nonce: {"id_token": self.signed(self.claims(nonce, **claims)), **said}  # noqa: B023
            )
            self.arrived(browser.get("/account"))
            browsers.append(browser)
        expires(max(0, until + 0.3 - time.time()))
        before = len(self.line.upstreams.seen)
        assert [browser.get("/account").status_code for browser in browsers] == [302] * 3
        assert len(self.line.upstreams.seen) == before

    def test_what_one_cookie_cannot_hold_is_in_several(self) -> None:
        groups = [f"group-{number}" for number in range(300)]
        browser, answer = self.login(
            lambda nonce: {
                "id_token": self.signed(self.claims(nonce, groups=groups)),
                "refresh_token": "r" * 900,
            }
        )
        assert answer.status_code == 302 and len(browser.cookies) > 1
        assert all(len(f"{name}={value}") < 4096 for name, value in browser.cookies.items())
        seen = self.arrived(browser.get("/account", cookie2="x"))["headers"]
        claims = seen["x-tierline-claims"]
        assert json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["groups"] == groups
        assert "cookie" not in seen  # the gateway's own go no further
        browser.get("/-/logout")
        assert not browser.cookies
        huge = {"groups": groups * 4}
        browser, answer = self.login(lambda nonce: {"id_token": self.signed(self.claims(nonce, **huge))})
        self.refused(answer, 401)

    def test_other_cookies_go_on(self) -> None:
        browser, _ = self.login(lambda nonce: {"id_token": self.signed(self.claims(nonce))})
        mine = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
        for cookie in (f"a=1; {mine}; b=2,3", f"{mine}; a=1; b=2,3", f"a=1; b=2,3; {mine}"):
            seen = self.arrived(self.get("/account", cookie=cookie))["headers"]
            assert seen["cookie"] == "a=1; b=2,3"

    def test_requests_that_come_together_renew_once(self) -> None:
        nonces: list[str] = []

        def made(nonce: str) -> dict[str, Any]:
            nonces.append(nonce)
            return {"id_token": self.signed(self.claims(nonce)), "refresh_token": "one", "expires_in": 1}

        browser, _ = self.login(made)
        good = {"one"}

        def again(asked: dict[str, str]) -> tuple[int, bytes]:
            time.sleep(0.2)  # slow: the others come meanwhile
            if asked["refresh_token"] not in good:
                return 400, b'{"error":"invalid_grant"}'
            good.clear()
            return 200, json.dumps({"refresh_token": "two", "expires_in": 600}).encode()

        self.provider.answer = again
        expires(1.2)
        cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
        with ThreadPoolExecutor(6) as pool:
            found = list(pool.map(lambda _: self.get("/account", cookie=cookie), range(6)))
        assert [answer.status_code for answer in found] == [200] * 6
        assert all("tierline-session" in answer.headers["set-cookie"] for answer in found)
        assert self.arrived(browser.get("/account"))["headers"]["x-tierline-subject"] == "ann"

    @pytest.mark.parametrize("how", ["refused", "away", "another", "forged"])
    def test_a_session_that_cannot_be_renewed_is_over(self, how: str) -> None:
        browser, _ = self.login(
            lambda nonce: {
                "id_token": self.signed(self.claims(nonce)),
                "refresh_token": f"old-{how}",
                "expires_in": 1,
            }
        )
        expires(1.2)
        eve = self.claims("n", sub="eve")
        self.provider.answer = lambda asked: {
            "refused": (400, b'{"error":"invalid_grant"}'), "away": (503, b""),
            "another": (200, json.dumps({"id_token": self.signed(eve)}).encode()),
            "forged": (200, json.dumps({"id_token": self.signed(eve, STRANGER)}).encode()),
        }[how]  # fmt: skip
        before = len(self.line.upstreams.seen)
        answer = browser.get("/account")
        assert answer.status_code == 302 and answer.headers["location"].startswith(self.provider.url)
        assert len(self.line.upstreams.seen) == before
        # One that is only away may know it again later.
        assert ("tierline-session" in browser.cookies) == (how == "away")

    def test_logins_that_are_never_ended_do_not_pile_up(self) -> None:
        browser = Browser(self.line.url())
        for _ in range(12):
            assert browser.get("/account").status_code == 302
        assert len(browser.cookies) <= 6
        long = browser.get("/account?" + "x" * 3000)
        assert long.status_code == 302 and len(long.headers["set-cookie"]) < 4096


class TestHAProxyLoginOverTLS(Contract):
    """The provider is asked by its name, and its certificate is checked."""

    system = "haproxy"
    provider: ClassVar[Provider]
    tls: ClassVar[ssl.SSLContext]

    @classmethod
    def prepare(cls, root: Path) -> Callable[[], None]:
        (root / "idp").mkdir()
        authority = Authority(root / "idp")
        chain, key = authority.issue("localhost")
        cls.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        cls.tls.load_cert_chain(chain, key)
        cls.provider = Provider(cls.tls)
        (root / "secret.txt").write_text("s3cret")
        (root / "idp.pem").write_bytes(authority.certificate.read_bytes())
        return cls.provider.shutdown

    @classmethod
    def stack(cls) -> Stack:
        login = OIDC(
            paths=["/account"], issuer=cls.provider.url, client_id="films", client_secret="secret.txt", ca="idp.pem"
        )  # fmt: skip
        return Stack(
            "edge",
            gateway=Gateway(login=login),
            services=[Service("echo", "app:app", expose=["/account"])],
            zones=["a"],
        )

    def login(self) -> int:
        browser = Browser(self.line.url())
        sent = browser.get("/account")
        asked = {
            name: values[0] for name, values in parse_qs(urlsplit(sent.headers["location"]).query).items()
        }
        body = {"iss": self.provider.url, "aud": "films", "sub": "ann", "exp": int(time.time()) + 600}
        token = jwt.encode({**body, "nonce": asked["nonce"]}, KEY, "ES256", headers={"kid": "ec"})
        self.provider.answer = lambda _: (200, json.dumps({"id_token": token}).encode())
        return browser.get(f"{CALLBACK}?code=c&state={asked['state']}").status_code

    def test_a_provider_is_trusted_for_its_certificate(self, tmp_path: Path) -> None:
        assert self.login() == 302
        self.tls.load_cert_chain(*Authority(tmp_path).issue("localhost"))
        asked = len(self.provider.asked)
        assert self.login() == 401
        assert len(self.provider.asked) == asked  # it has learned no secret


def _raw(body: dict[str, Any]) -> str:
    """Signed whatever it says: the library checks some claims itself."""
    return jwt.api_jws.PyJWS().encode(json.dumps(body).encode(), KEY, "ES256", headers={"kid": "ec"})


def _opened(sealed: str, secret: str, purpose: bytes) -> bytes:
    """The cookie's seal as sealing.lua describes it, by another's means."""
    raw = base64.urlsafe_b64decode(sealed + "=" * (-len(sealed) % 4))
    stream, tag = (
        hmac.digest(secret.encode(), purpose + b"\0" + use, "sha512") for use in (b"stream", b"tag")
    )
    body, nonce = raw[:-32], raw[:16]
    assert hmac.compare_digest(hmac.digest(tag, body, "sha256"), raw[-32:])
    blocks = (hmac.digest(stream, struct.pack("<I", n) + nonce, "sha512") for n in range(len(body) // 64 + 1))
    return bytes(a ^ b for a, b in zip(body[16:], b"".join(blocks), strict=False))
