"""gateway.nginx checks what a provider says by itself: tokens that aren't for us are no login, whoever serves them."""

from __future__ import annotations

import base64
import json
import ssl
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, parse_qsl, urlsplit

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from feature_suite import Contract
from login_suite import CALLBACK, Browser, HostCookiesContract

from ports import free_port
from tierline import OIDC, Gateway, Service, Stack
from tierline.run.authority import Authority
from waiting import expires

GOOD = ec.generate_private_key(ec.SECP256R1())
LATER = rsa.generate_private_key(65537, 2048)
STRANGER = ec.generate_private_key(ec.SECP256R1())
HTML = {"accept": "text/html"}


class Provider:
    """A provider behind TLS that says what a test wants."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        authority = Authority(folder)
        chain, key = authority.issue("localhost")
        self.ca = authority.certificate
        self.port = free_port()
        self.url = f"https://localhost:{self.port}"
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(chain, key)
        self.normal()
        self.forms: list[dict[str, str]] = []
        self.keys_asked = 0
        self.start()

    def normal(self) -> None:
        self.key: Any = GOOD
        self.named = "one"
        self.algorithm = "ES256"
        self.claims: dict[str, Any] = {}
        self.lives = 3600
        self.keys: dict[str, Any] = {"one": GOOD}
        self.delay = 0.0

    def start(self) -> None:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/jwks.json":
                    outer.keys_asked += 1
                    self._say({"keys": [outer.jwk(*each) for each in outer.keys.items()]})
                else:
                    self._say(
                        {
                            "issuer": outer.url, "authorization_endpoint": f"{outer.url}/authorize?kind=1",
                            "token_endpoint": f"{outer.url}/token?kind=2", "jwks_uri": f"{outer.url}/jwks.json",
                        }
                    )  # fmt: skip

            def do_POST(self) -> None:
                form = dict(parse_qsl(self.rfile.read(int(self.headers["content-length"])).decode()))
                outer.forms.append(
                    {**form, "path": self.path, "authorization": self.headers["authorization"]}
                )
                time.sleep(outer.delay)  # slow: as the test asks
                self._say(outer.tokens(form))

            def _say(self, told: dict[str, Any]) -> None:
                body = json.dumps(told).encode()
                self.send_response(400 if "error" in told else 200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self.nonce = getattr(self, "nonce", "")
        self.spent: set[str] = set()
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.socket = self.tls.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def jwk(self, name: str, key: Any) -> dict[str, Any]:
        algorithm = "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256"
        return {
            **json.loads(jwt.get_algorithm_by_name(algorithm).to_jwk(key.public_key())),
            "kid": name,
            "use": "sig",
        }

    def tokens(self, form: dict[str, str]) -> dict[str, Any]:
        again = form.get("refresh_token", "")
        if again in self.spent:
            return {"error": "invalid_grant"}
        self.spent |= {again} - {""}
        now = int(time.time())
        told = {
            "iss": self.url, "aud": "films", "sub": "ann", "exp": now + self.lives, "iat": now, "nonce": self.nonce,
            **self.claims,
        }  # fmt: skip
        told = {name: value for name, value in told.items() if value is not None}
        token = jwt.encode(told, self.key, self.algorithm, headers={"kid": self.named})
        return {
            "id_token": token, "access_token": "x", "token_type": "Bearer", "expires_in": self.lives,
            "refresh_token": f"again-{time.time_ns()}",
        }  # fmt: skip


class TestNginxHostCookies(HostCookiesContract):
    system = "nginx"


class TestNginxStrictLogin(Contract):
    system = "nginx"
    provider: ClassVar[Provider]

    @classmethod
    def prepare(cls, root: Path) -> Callable[[], None]:
        cls.provider = Provider(root / "provider")
        (root / "ca.pem").write_bytes(cls.provider.ca.read_bytes())
        (root / "secret.txt").write_text("s%3&+=\n")
        return cls.provider.stop

    @classmethod
    def stack(cls) -> Stack:
        return Stack(
            "edge",
            gateway=Gateway(
                login=OIDC(
                    paths=["/account"], issuer=cls.provider.url, client_id="films", client_secret="secret.txt",
                    ca="ca.pem", refresh="1h",
                ),
            ),
            services=[Service("echo", "app:app", expose=["/account", "/open"])],
            zones=["a", "b"],
        )  # fmt: skip

    @pytest.fixture(autouse=True)
    def honest(self) -> None:
        self.provider.normal()

    def begun(self, path: str = "/account") -> tuple[Browser, str]:
        """A browser that has been sent away, and its state."""
        browser = Browser(self.line.url())
        there = urlsplit(browser.get(path).headers["location"])
        asked = {name: values[0] for name, values in parse_qs(there.query).items()}
        assert asked["kind"] == "1" and there.netloc == f"localhost:{self.provider.port}"
        self.provider.nonce = asked["nonce"]
        return browser, asked["state"]

    def back(self, path: str = "/account") -> tuple[Browser, httpx.Response]:
        browser, state = self.begun(path)
        return browser, browser.get(f"{CALLBACK}?code=c&state={state}")

    def test_a_provider_behind_tls_lets_people_in(self) -> None:
        browser, answer = self.back("/account/x?y=%2F&z")
        assert answer.status_code == 302, answer.text
        assert answer.headers["location"] == self.line.url() + "/account/x?y=%2F&z"
        assert self.arrived(browser.get("/account"))["headers"]["x-tierline-subject"] == "ann"
        form = self.provider.forms[-1]
        assert form["path"] == "/token?kind=2" and form["redirect_uri"] == self.line.url() + CALLBACK
        # It says no more than the standard's default: Basic, each part encoded as a form's (RFC 6749, section 2.3.1).
        assert base64.b64decode(form["authorization"].split()[1]) == b"films:s%253%26%2B%3D"
        assert "client_secret" not in form

    @pytest.mark.parametrize(
        "wrong",
        [
            {"claims": {"iss": "https://stranger.test"}},
            {"claims": {"aud": "others"}},
            {"claims": {"aud": ["films", "others"]}},
            {"claims": {"azp": "others"}},
            {"claims": {"exp": 1}},
            {"claims": {"exp": None}},
            {"claims": {"nbf": 9_999_999_999}},
            {"claims": {"nonce": "another"}},
            {"claims": {"nonce": None}},
            {"claims": {"sub": None}},
            {"key": STRANGER},
            {"key": None, "algorithm": "none"},
            {"key": "a secret that both could know, long enough", "algorithm": "HS256"},
        ],
        ids=lambda wrong: "-".join(f"{k}" for k in wrong.get("claims", wrong)),
    )
    def test_a_token_that_is_not_for_this_login_is_none(self, wrong: dict[str, Any]) -> None:
        for name, value in wrong.items():
            setattr(self.provider, name, value)
        before = len(self.line.upstreams.seen)
        browser, answer = self.back()
        self.refused(answer, 401)
        assert "tierline-session" not in browser.cookies
        assert browser.get("/account").status_code == 302
        assert len(self.line.upstreams.seen) == before

    def test_an_answer_is_good_once_and_in_its_own_browser(self) -> None:
        browser, state = self.begun()
        other, _ = self.begun()
        assert other.get(f"{CALLBACK}?code=c&state={state}").status_code == 401
        # Another's cookie under the right name, and a session's where a login's belongs.
        (name,) = browser.cookies
        other.cookies[name] = next(iter(other.cookies.values()))
        assert other.get(f"{CALLBACK}?code=c&state={state}").status_code == 401
        assert browser.get(f"{CALLBACK}?error=access_denied&state={state}").status_code == 401
        assert browser.get(f"{CALLBACK}?code=c&state={state}").status_code == 401
        for odd in ("", "?code=c", "?state=", "?code=c&code=d&state=" + state, "?state=" + "%00" * 22):
            assert other.get(CALLBACK + odd).status_code == 401

    def test_keys_that_change_are_taken_without_a_reload(self) -> None:
        self.back()
        expires(5)  # unknown keys are looked for once in that time, whoever asks
        self.provider.keys = {"one": GOOD, "two": LATER}
        self.provider.key, self.provider.named, self.provider.algorithm = LATER, "two", "RS256"
        browser, answer = self.back()
        assert answer.status_code == 302, answer.text
        assert browser.get("/account").status_code == 200
        asked = self.provider.keys_asked
        self.provider.named = "three"
        for _ in range(4):
            assert self.back()[1].status_code == 401
        assert self.provider.keys_asked <= asked + 1

    def test_requests_at_once_refresh_a_session_once(self) -> None:
        self.provider.lives, self.provider.delay = 1, 0.4
        browser, _ = self.back()
        expires(1.2)
        self.provider.lives = 3600
        asked = len(self.provider.forms)
        with ThreadPoolExecutor(6) as pool:
            headers = {**HTML, "cookie": f"tierline-session={browser.cookies['tierline-session']}"}
            jobs = [
                pool.submit(httpx.get, self.line.url() + "/account", headers=headers, trust_env=False)
                for _ in range(6)
            ]
            assert [job.result().status_code for job in jobs] == [200] * 6
        assert len(self.provider.forms) == asked + 1
        assert self.provider.forms[-1]["grant_type"] == "refresh_token"
        self.arrived(browser.get("/account"))
        # It has a new cookie now, and nobody need be asked any more.
        self.arrived(browser.get("/account"))
        assert len(self.provider.forms) == asked + 1

    def test_a_session_lasts_no_longer_than_its_id_token(self) -> None:
        until = int(time.time()) + 6
        self.provider.claims = {"exp": until}  # its access tokens are good for an hour
        browser, _ = self.back()
        self.arrived(browser.get("/account"))
        asked = len(self.provider.forms)
        expires(max(0, until + 0.3 - time.time()))
        self.provider.claims = {}
        self.arrived(browser.get("/account"))
        assert [form["grant_type"] for form in self.provider.forms[asked:]] == ["refresh_token"]

    def test_a_refresh_that_brings_somebody_else_ends_the_session(self) -> None:
        self.provider.lives = 1
        browser, _ = self.back()
        expires(1.2)
        self.provider.claims = {"sub": "bob"}
        assert browser.get("/account").status_code == 302

    def test_tokens_larger_than_a_cookie_are_kept_in_several(self) -> None:
        self.provider.claims = {"groups": [f"group-{number}" for number in range(400)]}
        browser, answer = self.back()
        assert answer.status_code == 302, answer.text
        pieces = [name for name in browser.cookies if name.startswith("tierline-session")]
        assert len(pieces) > 1 and all(len(browser.cookies[name]) < 3900 for name in pieces)
        self.arrived(browser.get("/account"))
        browser.get("/-/logout")
        assert not [name for name in browser.cookies if name.startswith("tierline-session")]

    def test_a_provider_that_is_away_takes_nobody_down(self) -> None:
        browser, _ = self.back()
        waiting, state = self.begun()
        pid = self.line.pid()
        self.provider.stop()
        try:
            self.refused(waiting.get(f"{CALLBACK}?code=c&state={state}"), 401)
            self.arrived(browser.get("/account"))
            assert self.get("/open").status_code == 200
        finally:
            self.provider.start()
        assert self.line.pid() == pid and "exited on signal" not in self.line.log("gateway.a")
        assert self.back()[1].status_code == 302

    def test_every_zone_opens_the_same_sessions(self) -> None:
        mine = self.line.rewrite("gateway.a")[0].files
        other = self.line.rewrite("gateway.b")[0].files
        keys = [
            json.loads(next(text for path, text in files.items() if path.endswith("login.json")))["cookies"]
            for files in (mine, other)
        ]
        assert keys[0] == keys[1]

    def test_secrets_stand_in_a_closed_file_alone(self) -> None:
        folder = self.line.folder()
        for path in folder.iterdir():
            if path.is_file() and path.name != "login.json":
                assert "s%3&+=" not in path.read_text(errors="replace"), path.name
        assert (folder / "login.json").stat().st_mode & 0o077 == 0
        assert "s%3&+=" not in " ".join(self.line.processes["gateway.a"].argv)
        browser, _ = self.back()
        hops = "".join(path.read_text() for path in (self.line.root / ".tierline" / "hops").iterdir())
        told = hops + self.line.log("gateway.a")
        assert browser.cookies["tierline-session"][2:60] not in told and "s%3&+=" not in told
