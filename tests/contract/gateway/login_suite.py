"""Browsers log in at a real OpenID provider, come back, and log out; everybody else is told that they must."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from edge import accepts
from feature_suite import Contract

from ports import free_port
from tierline import JWT, OIDC, Access, Gateway, LoadBalancer, RateLimit, Service, Stack
from waiting import PATIENCE, eventually, expires

CALLBACK = "/-/login/callback"


class Browser:
    """Keeps cookies whatever the scheme, as browsers do for this machine, and follows nothing by itself."""

    def __init__(self, base: str) -> None:
        self.base = base
        self.cookies: dict[str, str] = {}
        self._client = httpx.Client(trust_env=False, timeout=PATIENCE)

    def get(self, url: str, **headers: str) -> httpx.Response:
        mine = url.startswith("/") or url.startswith(self.base)
        if mine and self.cookies:
            headers["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        answer = self._client.get(
            self.base + url if url.startswith("/") else url,
            headers={"accept": "text/html,*/*", **headers},
        )
        if mine:
            self._keep(answer)
        return answer

    def choose(self, page: httpx.Response, user: str) -> str:
        """Presses a test user's button on the provider's page; where that leads."""
        form = dict(re.findall(r'<input type=hidden name="([^"]*)" value="([^"]*)">', page.text))
        form = {name: value.replace("&amp;", "&") for name, value in form.items()}
        at = f"{page.url.scheme}://{page.url.netloc.decode()}/authorize"
        answer = self._client.post(at, data={**form, "user": user})
        assert answer.status_code == 302, answer.text
        return answer.headers["location"]

    def login(self, path: str, user: str) -> httpx.Response:
        """All the way from a page that needs a login back to it."""
        sent = self.get(path)
        assert sent.status_code == 302, sent.text
        back = self.get(self.choose(self.get(sent.headers["location"]), user))
        assert back.status_code == 302, back.text
        return self.get(back.headers["location"])

    def _keep(self, answer: httpx.Response) -> None:
        for line in answer.headers.get_list("set-cookie"):
            pair, *attributes = (part.strip() for part in line.split(";"))
            name, _, value = pair.partition("=")
            words = {each.lower() for each in attributes}
            if "max-age=0" in words or value == "deleted" or any("1970" in word for word in words):
                self.cookies.pop(name, None)
            else:
                assert {"httponly", "secure", "samesite=lax"} <= words, line
                self.cookies[name] = value


class _AtAProvider(Contract):
    issuer: ClassVar[str]

    @classmethod
    def prepare(cls, root: Path) -> Callable[[], None]:
        """An identity provider of somebody else: RS256, found by its description."""
        port = free_port()
        cls.issuer = f"http://127.0.0.1:{port}"
        key = rsa.generate_private_key(65537, 2048)
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (root / "idp.key").write_bytes(pem)
        (root / "secret.txt").write_text("s3cret&more\n")
        told = {
            "host": "127.0.0.1", "port": port, "issuer": cls.issuer, "key": str(root / "idp.key"), "key_id": "idp",
            "client_id": "films", "client_secret": "s3cret&more", "callback": CALLBACK, "hosts": [], "session": 6,
            "users": {"ann": {"role": "admin", "email": "ann@example.test"}, "bob": {"role": "guest"}},
        }  # fmt: skip
        (root / "idp.json").write_text(json.dumps(told))
        argv = [sys.executable, "-m", "tierline.engines.identity", str(root / "idp.json")]
        popen = subprocess.Popen(argv)
        assert eventually(lambda: accepts("127.0.0.1", port) or popen.poll() is not None)
        assert popen.poll() is None
        cls.key = key

        def end() -> None:
            popen.terminate()
            popen.wait(PATIENCE)

        return end

    key: ClassVar[rsa.RSAPrivateKey]

    def browser(self) -> Browser:
        return Browser(self.line.url())


class LoginContract(_AtAProvider):
    """Inherit it and name the system."""

    @classmethod
    def stack(cls) -> Stack:
        return Stack(
            "edge",
            gateway=Gateway(
                auth=JWT(issuer="api", audience="us", paths=["/api"]),
                login=OIDC(
                    paths=["/account"], issuer=cls.issuer, client_id="films", client_secret="secret.txt",
                ),
                access=[Access(paths=["/account/admin"], claims={"role": "admin"})],
                limits=[RateLimit(3, per="60s", by="consumer", paths=["/account/limited"])],
            ),
            services=[Service("echo", "app:app", expose=["/account", "/open", "/api"])],
            zones=["a"],
        )  # fmt: skip

    def test_a_browser_is_sent_to_the_provider_and_comes_back_logged_in(self) -> None:
        self.asks("login")
        browser = self.browser()
        before = len(self.line.upstreams.seen)
        sent = browser.get("/account/orders?page=2")
        assert sent.status_code == 302
        there = urlsplit(sent.headers["location"])
        asked = {name: values[0] for name, values in parse_qs(there.query).items()}
        assert f"{there.scheme}://{there.netloc}{there.path}" == f"{self.issuer}/authorize"
        assert asked["response_type"] == "code" and asked["client_id"] == "films"
        assert asked["code_challenge_method"] == "S256" and len(asked["code_challenge"]) == 43
        assert "openid" in asked["scope"].split() and asked["state"]
        assert asked["redirect_uri"] == self.line.url() + CALLBACK
        assert len(self.line.upstreams.seen) == before

        back = browser.get(browser.choose(browser.get(sent.headers["location"]), "ann"))
        assert back.status_code == 302
        assert back.headers["location"].endswith("/account/orders?page=2")
        found = self.arrived(browser.get(back.headers["location"]))
        assert found["path"] == "/account/orders?page=2"
        assert found["headers"]["x-tierline-subject"] == "ann"
        # The service learns who it is, not the tokens.
        assert "x-tierline-id-token" not in found["headers"]
        assert not [value for value in browser.cookies.values() if value.startswith("ey")]
        assert "ann" in self.arrived(browser.get("/account"))["headers"]["x-tierline-subject"]

    def test_what_needs_a_login_is_open_to_nobody_without_one(self) -> None:
        # Of a system that knows no logins, too.
        for path in ("/account", "/account/admin"):
            answer = self.get(path, accept="application/json")
            self.refused(answer, 401)
        assert self.get("/open").status_code == 200

    def test_who_is_logged_in_is_known_to_every_policy(self) -> None:
        self.asks("login")
        ann, bob = self.browser(), self.browser()
        self.arrived(ann.login("/account", "ann"))
        self.arrived(bob.login("/account", "bob"))
        self.arrived(ann.get("/account/admin"))
        self.refused(bob.get("/account/admin"), 403)
        statuses = [bob.get("/account/limited").status_code for _ in range(4)]
        assert statuses == [200, 200, 200, 429]
        assert ann.get("/account/limited").status_code == 200

    def test_only_a_browser_that_reads_a_page_is_sent_away(self) -> None:
        self.asks("login")
        before = len(self.line.upstreams.seen)
        self.refused(self.get("/account", accept="application/json"), 401)
        self.refused(self.get("/account"), 401)
        self.refused(self.client.post("/account", headers={"accept": "text/html"}, content=b"x=1"), 401)
        assert len(self.line.upstreams.seen) == before
        assert self.get("/open", accept="text/html").status_code == 200

    def test_answers_behind_a_login_are_kept_by_nobody_in_front(self) -> None:
        self.asks("login")
        browser = self.browser()
        browser.login("/account", "ann")
        answer = browser.get("/account", **{"x-test-header": "cache-control: public, max-age=600"})
        assert answer.headers["cache-control"] == "private, no-store"
        open_ = self.get("/open", x_test_header="cache-control: public, max-age=600")
        assert open_.headers["cache-control"] == "public, max-age=600"

    def test_logging_out_ends_the_session(self) -> None:
        self.asks("login")
        browser = self.browser()
        self.arrived(browser.login("/account", "ann"))
        gone = browser.get("/-/logout")
        assert gone.status_code == 302
        assert gone.headers["location"].startswith(f"{self.issuer}/logout?")
        back = browser.get(gone.headers["location"])
        assert back.status_code == 302 and back.headers["location"].startswith(self.line.url())
        assert browser.get("/account").headers["location"].startswith(f"{self.issuer}/authorize")

    def test_a_session_goes_on_when_its_token_has_expired(self) -> None:
        self.asks("login")
        browser = self.browser()
        self.arrived(browser.login("/account", "ann"))
        expires(7)  # the provider's tokens are good for six seconds
        assert self.arrived(browser.get("/account"))["headers"]["x-tierline-subject"] == "ann"

    def test_nobody_gets_in_by_making_something_up(self) -> None:
        self.asks("login")
        before = len(self.line.upstreams.seen)
        forged = self.forged()
        browser = self.browser()
        browser.login("/account", "bob")
        seen = len(self.line.upstreams.seen)
        html = {"accept": "text/html"}
        attempts: list[dict[str, str]] = [
            {"x-tierline-id-token": forged},
            {"x-tierline-subject": "ann", "x-tierline-claims": "e30"},
            {"cookie": f"tierline-id={forged}; tierline-access={forged}; tierline-expires=9999999999; tierline-hmac=x"},
            {"authorization": "Bearer x"},
            {"authorization": f"Bearer {forged}"},
            # Another's cookies, put together anew.
            {"cookie": "; ".join(f"{n}={v if n != 'tierline-hmac' else 'AAAA'}" for n, v in browser.cookies.items())},
        ]  # fmt: skip
        for headers in attempts:
            answer = self.client.get("/account/admin", headers={**html, **headers})
            assert answer.status_code in (302, 401, 403), headers
        assert len(self.line.upstreams.seen) == seen > before

    def forged(self) -> str:
        stranger = rsa.generate_private_key(65537, 2048)
        body = {
            "iss": self.issuer,
            "aud": "films",
            "sub": "ann",
            "role": "admin",
            "exp": int(time.time()) + 600,
        }
        return jwt.encode(body, stranger, "RS256", headers={"kid": "idp"})

    def test_an_answer_that_was_not_asked_for_is_refused(self) -> None:
        self.asks("login")
        # Somebody else's code, or one without a state of ours: the classic attacks on a login.
        browser, other = self.browser(), self.browser()
        sent = browser.get("/account")
        back = browser.choose(browser.get(sent.headers["location"]), "ann")
        assert other.get(back).status_code == 401
        assert self.browser().get(f"{CALLBACK}?code=x&state=y").status_code in (401, 400)
        assert not other.cookies.get("tierline-id")

    def test_an_api_client_is_not_bothered(self) -> None:
        self.asks("login")
        body = {"iss": "api", "aud": "us", "sub": "robot"}
        token = self.line.context.sign(body)
        self.arrived(self.get("/api", authorization=f"Bearer {token}"))
        self.refused(self.get("/api"), 401)
        # A token of one issuer is no login at another.
        self.refused(self.get("/account", authorization=f"Bearer {token}"), 401)
        self.refused(self.get("/open", authorization=f"Bearer {self.forged()}"), 401)

    def test_the_hop_says_who_is_logged_in(self) -> None:
        self.asks("login")
        browser = self.browser()
        browser.login("/account", "ann")
        trace = "8" * 32
        browser.get("/account", traceparent=f"00-{trace}-00f067aa0ba902b7-01")
        (hop,) = self.line.hops(trace)
        assert (hop.verdict, hop.attributes["enduser.id"]) == ("allowed", "ann")
        other: dict[str, Any] = {"traceparent": f"00-{trace[::-1].replace('8', '9')}-00f067aa0ba902b7-01"}
        self.browser().get("/account", **other)
        (hop,) = self.line.hops("9" * 32)
        assert (hop.status, hop.verdict) == (302, "sent to log in")


class HostCookiesContract(_AtAProvider):
    """By https the cookies are the host's own: no sibling's domain can plant one (login CSRF). Inherit it and name the
    system. The tier in front says how a browser came."""

    @classmethod
    def stack(cls) -> Stack:
        login = OIDC(paths=["/account"], issuer=cls.issuer, client_id="films", client_secret="secret.txt")
        return Stack(
            "edge",
            lb=LoadBalancer(),
            gateway=Gateway(login=login),
            services=[Service("echo", "app:app", expose=["/account"])],
            zones=["a"],
        )

    def logged_in(self, user: str, scheme: str) -> Browser:
        """With the cookies that it is given by that scheme."""
        browser = self.browser()
        by = {"x-forwarded-proto": scheme}
        sent = browser.get("/account", **by)
        assert [name.startswith("__Host-") for name in browser.cookies] == [scheme == "https"]
        back = urlsplit(browser.choose(browser.get(sent.headers["location"]), user))
        assert back.scheme == scheme and back.path == CALLBACK
        answer = browser.get(f"{back.path}?{back.query}", **by)
        assert answer.status_code == 302, answer.text
        assert self.arrived(browser.get("/account", **by))["headers"]["x-tierline-subject"] == user
        return browser

    def test_by_https_every_cookie_is_the_hosts_own(self) -> None:
        browser = self.logged_in("ann", "https")
        assert browser.cookies and all(name.startswith("__Host-tierline-") for name in browser.cookies)
        lines = browser.get("/-/logout", **{"x-forwarded-proto": "https"}).headers.get_list("set-cookie")
        # Browsers take such a name with these alone (RFC 6265bis, section 4.1.3.2), at its end too.
        for line in lines:
            words = [each.strip().lower() for each in line.split(";")]
            assert words[0].startswith("__host-tierline-") and {"secure", "path=/"} <= set(words), line
            assert not [each for each in words if each.startswith("domain")]
        assert lines and not browser.cookies

    def test_by_plain_http_logins_work_and_names_are_plain(self) -> None:
        browser = self.logged_in("ann", "http")
        assert browser.cookies and all(name.startswith("tierline-") for name in browser.cookies)
        browser.get("/-/logout", **{"x-forwarded-proto": "http"})
        assert not browser.cookies

    def test_a_session_that_a_siblings_domain_plants_is_none(self) -> None:
        # What a sibling can set is any name without the prefix: the attacker's own session among them.
        eve = self.logged_in("bob", "https")
        planted = {name.removeprefix("__Host-"): value for name, value in eve.cookies.items()}
        victim = self.browser()
        victim.cookies = dict(planted)
        before = len(self.line.upstreams.seen)
        assert victim.get("/account", **{"x-forwarded-proto": "https"}).status_code == 302
        assert len(self.line.upstreams.seen) == before
        # Nor does it take the place of the victim's own, whichever comes first.
        ann = self.logged_in("ann", "https")
        for cookies in ({**planted, **ann.cookies}, {**ann.cookies, **planted}):
            ann.cookies = cookies
            found = self.arrived(ann.get("/account", **{"x-forwarded-proto": "https"}))["headers"]
            assert found["x-tierline-subject"] == "ann"

    def test_a_login_that_a_siblings_domain_began_is_none(self) -> None:
        eve, by = self.browser(), {"x-forwarded-proto": "https"}
        sent = eve.get("/account", **by)
        back = urlsplit(eve.choose(eve.get(sent.headers["location"]), "bob"))
        victim = self.browser()
        victim.cookies = {name.removeprefix("__Host-"): value for name, value in eve.cookies.items()}
        self.refused(victim.get(f"{back.path}?{back.query}", **by), 401)
