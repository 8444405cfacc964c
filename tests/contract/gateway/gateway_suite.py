"""What every gateway must do, a test per feature. A system inherits it with an empty subclass; a feature that
it declares to lack is skipped by its name, and it is checked that the plan tells."""

from __future__ import annotations

import base64
import json
import re
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, ClassVar

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

sys.path.insert(0, str(Path(__file__).parents[1]))
from edge import Line, raw

from tierline import (
    JWT,
    Access,
    APIKeys,
    Canary,
    Gateway,
    Mirror,
    Quota,
    RateLimit,
    Route,
    Service,
    Stack,
    Version,
)  # fmt: skip
from tierline.engines.telemetry.reader import Reader
from tierline.plan.model import Role
from tierline.tiers.base import system
from tierline.tiers.gateway.common.routes import routes
from waiting import PATIENCE, eventually

EXPOSED = [
    "/echo", "/private", "/limited", "/shared", "/refilled", "/admin", "/scoped", "/inside", "/outside", "/keyed", "/person",
    "/slow", "/busy",
]  # fmt: skip
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
KEYS = {
    "one": ec.generate_private_key(ec.SECP256R1()),
    "two": rsa.generate_private_key(65537, 2048),
    "new": ec.generate_private_key(ec.SECP256R1()),
}


def stack() -> Stack:
    """Everything that a gateway can be asked for, on paths of its own."""
    return Stack(
        "edge",
        gateway=Gateway(
            auth=JWT(issuer="issuer", audience="us", paths=["/private"], jwks="keys.json", clock_skew="5s"),
            keys=APIKeys(
                consumers={"ann": "small", "bob": "large", "tom": ""},
                paths=["/keyed"],
                plans=[Quota("small", 3, "1h"), Quota("large", 1000, "1h")],
            ),
            limits=[
                RateLimit(5, per="60s", by="client", paths=["/limited"], burst=8),
                RateLimit(6, per="60s", by="all", paths=["/shared"]),
                RateLimit(4, per="60s", by="consumer", paths=["/person"]),
                RateLimit(1, per="2s", by="all", paths=["/refilled"]),
            ],
            access=[
                Access(paths=["/admin"], claims={"role": "admin"}),
                Access(paths=["/scoped"], methods=["POST"], scopes=["films:write"]),
                Access(paths=["/inside"], addresses=["127.0.0.0/8"]),
                Access(paths=["/outside"], addresses=["10.0.0.0/8"]),
            ],
            routes=[
                Route("/echo/exact", exact=True, request={"x-route": "exact"}),
                Route("/echo/films/{id}/cast", request={"x-route": "template"}),
                Route("/echo/films", request={"x-route": "films"}),
                Route("/echo/by", methods=["POST"], request={"x-route": "post"}),
                Route("/echo/by", hosts=["other.test"], request={"x-route": "host"}),
                Route("/echo/by", headers={"x-kind": "special"}, request={"x-route": "header"}),
                Route("/moved", to="echo", rewrite="/echo/new"),
                Route("/root", to="echo", rewrite="/"),
                Route(
                    "/changed",
                    to="echo",
                    request={"x-added": "a b", "x-gone": None},
                    response={"x-said": "so", "x-role": None},
                ),
                Route("/weighed", to="echo", canary=Canary("next", weight=30)),
                Route("/chosen", to="echo", canary=Canary("next", header="x-canary")),
                Route("/mirrored", to="echo", mirror=Mirror("shadow")),
                Route("/slow", timeout="300ms", retries=0),
            ],
            versions=[
                Version(
                    "v1", services={"echo": "old"}, deprecated="2026-01-31", sunset="2027-01-31",
                    link="https://edge.test/v2",
                ),
                Version("v2"),
            ],
            timeout="2s",
            concurrency=40,
            retry_budget=50,
            max_body="64KiB",
            cors=["https://app.test"],
            response={"x-content-type-options": "nosniff"},
        ),
        services=[
            Service("echo", "app:app", expose=EXPOSED),
            *(Service(name, "app:app") for name in ("next", "shadow", "old")),
        ],
        zones=["a", "b"],
    )  # fmt: skip


def jwks(*names: str) -> str:
    algorithms = {"one": "ES256", "two": "RS256", "new": "ES256"}
    keys = []
    for name in names:
        algorithm = jwt.get_algorithm_by_name(algorithms[name])
        key = json.loads(algorithm.to_jwk(KEYS[name].public_key()))
        keys.append({**key, "kid": name, "alg": algorithms[name], "use": "sig"})
    return json.dumps({"keys": keys})


def token(key: str = "one", **claims: Any) -> str:
    body = {"iss": "issuer", "aud": "us", "sub": "u1", "exp": int(time.time()) + 600, **claims}
    body = {name: value for name, value in body.items() if value is not None}
    algorithm = "RS256" if key == "two" else "ES256"
    return jwt.encode(body, KEYS[key], algorithm, headers={"kid": key})


def bearer(given: str) -> dict[str, str]:
    return {"authorization": f"Bearer {given}"}


class GatewayContract:
    """Inherit it and name the system."""

    system: ClassVar[str] = ""
    line: ClassVar[Line]
    client: ClassVar[httpx.Client]

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def running(cls) -> Iterator[None]:
        root = Path(tempfile.mkdtemp(prefix="tierline-edge-"))
        (root / "keys.json").write_text(jwks("one", "two"))
        line = Line(stack(), "gateway", {"gateway": cls.system}, root)
        cls.line = line
        try:
            line.start()
            with httpx.Client(base_url=line.url(), trust_env=False, timeout=PATIENCE) as client:
                cls.client = client
                yield
        finally:
            line.close()

    def asks(self, feature: str) -> None:
        """Skip a feature that the system declares to lack, by its name."""
        provider = system("gateway", self.system)
        if feature not in provider.supports:
            assert provider.lacks.get(feature), f"{provider.title} neither supports nor lacks {feature}"
            told = {loss.feature for loss in self.line.plan.losses}
            asked = set(stack().gateway.features())  # type: ignore[union-attr]
            assert feature in told or feature not in asked, f"the plan doesn't tell the loss of {feature}"
            pytest.xfail(f"gateway.{self.system} lacks {feature}: {provider.lacks[feature]}")

    def get(self, path: str, **headers: str) -> httpx.Response:
        return self.client.get(
            path, headers={name.replace("_", "-"): value for name, value in headers.items()}
        )

    def arrived(self, path: str, **headers: str) -> dict[str, Any]:
        answer = self.get(path, **headers)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def refused(self, answer: httpx.Response, status: int) -> dict[str, Any]:
        """A problem document (RFC 9457), and nothing reached a service."""
        assert answer.status_code == status, answer.text
        assert "x-role" not in answer.headers
        found: dict[str, Any] = {}
        if "problem_documents" in system("gateway", self.system).supports:
            assert answer.headers["content-type"].partition(";")[0] == "application/problem+json"
            found = answer.json()
            assert found["status"] == status
            assert found["title"] and found["type"]
            assert re.fullmatch("[0-9a-f]{32}", found["trace_id"]), found
        return found

    def settle(self) -> None:
        """Wait until the own zone's instance, left out for a failure before, is used again."""
        assert eventually(lambda: self.get("/echo").json().get("role") == "echo.a")

    # routing

    def test_routes_by_path_the_most_specific_first(self) -> None:
        self.asks("routing")
        kinds = {
            "/echo/exact": "exact", "/echo/exact/below": None, "/echo/films/7/cast": "template",
            "/echo/films/7/cast/more": "films", "/echo/films": "films", "/echo/films?x=1": "films",
            "/echo/filmsy": None, "/echo": None,
        }  # fmt: skip
        for path, kind in kinds.items():
            found = self.arrived(path)
            assert found["headers"].get("x-route") == kind, path
            assert found["path"] == path
        self.refused(self.get("/nowhere"), 404)
        self.refused(self.get("/echoes"), 404)

    def test_routes_by_method(self) -> None:
        self.asks("route_method")
        assert self.client.post("/echo/by").json()["headers"]["x-route"] == "post"
        assert "x-route" not in self.arrived("/echo/by")["headers"]

    def test_routes_by_host(self) -> None:
        self.asks("route_host")
        assert self.arrived("/echo/by", host="other.test")["headers"]["x-route"] == "host"
        assert "x-route" not in self.arrived("/echo/by", host="another.test")["headers"]

    def test_routes_by_header(self) -> None:
        self.asks("route_header")
        assert self.arrived("/echo/by", x_kind="special")["headers"]["x-route"] == "header"
        assert "x-route" not in self.arrived("/echo/by", x_kind="specially")["headers"]

    def test_paths_cannot_escape_their_route(self) -> None:
        for path in (b"/echo/../private", b"/echo/..%2fprivate", b"/echo/%2e%2e/private", b"//private"):
            before = len(self.line.upstreams.seen)
            head = b"GET " + path + b" HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
            status = int(raw(self.line.address(), head).split()[1])
            assert status in (400, 401, 404), path
            assert len(self.line.upstreams.seen) == before, path

    def test_rewrites_the_path(self) -> None:
        self.asks("rewrite")
        assert self.arrived("/moved/a?q=1")["path"] == "/echo/new/a?q=1"
        assert self.arrived("/moved")["path"] == "/echo/new"
        assert self.arrived("/root/a")["path"] == "/a"

    def test_changes_headers(self) -> None:
        self.asks("transform_headers")
        answer = self.get("/changed", x_gone="here", x_added="theirs")
        assert answer.json()["headers"]["x-added"] == "a b"
        assert "x-gone" not in answer.json()["headers"]
        assert answer.headers["x-said"] == "so"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "x-role" not in answer.headers

    # versions

    def test_versions_stand_side_by_side(self) -> None:
        self.asks("versions")
        first, second, plain = (self.arrived(f"{version}/echo/x") for version in ("/v1", "/v2", ""))
        assert (first["role"], second["role"], plain["role"]) == ("old.a", "echo.a", "echo.a")
        assert first["path"] == second["path"] == "/echo/x"
        assert self.arrived("/v1/echo/films/7/cast")["path"] == "/echo/films/7/cast"
        self.refused(self.get("/v3/echo"), 404)
        self.refused(self.get("/v1/private"), 401)

    def test_old_versions_say_so(self) -> None:
        self.asks("deprecation")
        old = self.get("/v1/echo").headers
        assert old["deprecation"] == "@1769817600"
        assert parsedate_to_datetime(old["sunset"]).date().isoformat() == "2027-01-31"
        assert old["link"] == '<https://edge.test/v2>; rel="deprecation"'
        assert "deprecation" not in self.get("/v2/echo").headers
        assert "sunset" not in self.get("/echo").headers

    # canaries and mirrors

    def test_a_canary_gets_its_weight(self) -> None:
        self.asks("canary_weight")
        roles = [self.arrived("/weighed")["role"] for _ in range(300)]
        assert set(roles) == {"echo.a", "next.a"}
        assert 50 <= roles.count("next.a") <= 130

    def test_a_canary_is_chosen_by_header(self) -> None:
        self.asks("canary_header")
        assert self.arrived("/chosen", x_canary="1")["role"] == "next.a"
        assert {self.arrived("/chosen")["role"] for _ in range(5)} == {"echo.a"}

    def test_a_mirror_sees_copies(self) -> None:
        self.asks("mirror")
        assert self.arrived("/mirrored/x")["role"] == "echo.a"
        (copy,) = eventually(lambda: self.line.upstreams.of("shadow.a", "shadow.b"))
        assert copy.path == "/mirrored/x"

    @pytest.mark.parametrize("how", ["small", "large", "chunks"])
    def test_a_mirror_sees_bodies_too(self, how: str) -> None:
        self.asks("mirror")
        body = b'{"a":1}' if how == "small" else b"x" * 60_000
        path, before = f"/mirrored/{how}?q=1", len(self.line.upstreams.seen)
        given = iter([body[:100], body[100:]]) if how == "chunks" else body
        answer = self.client.post(path, content=given, headers={"content-type": "text/x"})
        if how == "chunks" and answer.status_code == 411:
            return  # a system may ask for a length
        assert (answer.json()["role"], answer.json()["body"]) == ("echo.a", len(body))
        assert eventually(lambda: len(self.line.upstreams.seen) >= before + 2)
        seen = self.line.upstreams.seen[before:]
        assert sorted(each.role.partition(".")[0] for each in seen) == ["echo", "shadow"]
        assert all((each.path, each.body, each.method) == (path, body, "POST") for each in seen)
        assert all(each.header("content-type") == "text/x" for each in seen)

    def test_a_mirror_that_is_away_or_slow_is_no_matter(self) -> None:
        self.asks("mirror")
        servers, shadows = self.line.upstreams, ("shadow.a", "shadow.b")

        def answered() -> None:
            for content in (None, b"x" * 1000):
                answer = self.client.request("POST" if content else "GET", "/mirrored/gone", content=content)
                assert answer.status_code == 200

        servers.held.update(shadows)
        try:
            answered()  # as long as the shadow answers nothing
        finally:
            servers.held.clear()
        for each in shadows:
            servers.kill(each)
        try:
            answered()
        finally:
            for each in shadows:
                servers.heal(each)

    # who calls

    def test_a_valid_token_is_let_in_with_its_claims(self) -> None:
        self.asks("jwt")
        for key in ("one", "two"):
            found = self.arrived(
                "/private/x", **bearer(token(key, role="guest")), x_tierline_claims="spoofed"
            )
            claims = found["headers"]["x-tierline-claims"]
            said = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
            assert said["sub"] == "u1" and said["role"] == "guest"
        for several in (["them", "us"], ["us"], [f"them-{number}" for number in range(40)] + ["us", "more"]):
            assert self.arrived("/private", **bearer(token(aud=several)))

    @pytest.mark.parametrize(
        "claims",
        [
            {"aud": ["them"]}, {"aud": []}, {"aud": [["us"]]}, {"aud": [{"us": "us"}]}, {"aud": ["us "]}, {"aud": ["US"]},
            {"aud": {"0": "us"}}, {"aud": None, "more": {"aud": ["us"]}}, {"aud": "them", "more": {"aud": ["us"]}},
            {"aud": ["them"], "name": '"aud":["us"]'}, {"aud": ["them", 'x","us']}, {"aud": None, "aud[0]": "us"},
        ],
        ids=repr,
    )  # fmt: skip
    def test_a_token_for_others_is_refused_whatever_else_it_says(self, claims: dict[str, Any]) -> None:
        self.asks("jwt")
        answer = self.get("/private", **bearer(token(**claims)))
        self.refused(answer, 403 if answer.status_code == 403 else 401)

    def test_nobody_can_pretend_to_have_claims(self) -> None:
        found = self.arrived(
            "/echo", x_tierline_claims="e30", x_tierline_consumer="ann", x_tierline_subject="x"
        )
        assert not [name for name in found["headers"] if name.startswith("x-tierline")]

    @pytest.mark.parametrize("kind", ["missing", "expired", "none", "audience", "issuer", "unsigned", "forged",
                                      "tampered", "no-expiry", "confused", "nonsense", "early"])  # fmt: skip
    def test_a_bad_token_is_refused(self, kind: str) -> None:
        self.asks("jwt")
        good = token()
        head, body, _ = good.split(".")
        other = base64.urlsafe_b64encode(b'{"iss":"issuer","aud":"us","exp":9999999999}').decode().rstrip("=")
        none = base64.urlsafe_b64encode(b'{"alg":"none","kid":"one"}').decode().rstrip("=")
        hmac = jwt.api_jws.PyJWS().encode(b'{"iss":"issuer","aud":"us","exp":9999999999}', b"x" * 32, "HS256",
                                          headers={"kid": "one"})  # fmt: skip
        bad = {
            "missing": None,
            "expired": token(exp=int(time.time()) - 60),
            "early": token(nbf=int(time.time()) + 120),
            "none": f"{none}.{other}.",
            "audience": token(aud="them"),
            "issuer": token(iss="stranger"),
            "unsigned": f"{head}.{body}.",
            "forged": jwt.encode({"iss": "issuer", "aud": "us", "exp": 9999999999}, KEYS["new"], "ES256",
                                 headers={"kid": "one"}),
            "tampered": f"{head}.{other}.{good.rpartition('.')[2]}",
            "no-expiry": token(exp=None),
            "confused": hmac,
            "nonsense": "abc",
        }[kind]  # fmt: skip
        before = len(self.line.upstreams.seen)
        answer = self.get("/private/x", **(bearer(bad) if bad else {}))
        assert answer.status_code in (401, 403)
        self.refused(answer, answer.status_code)
        assert len(self.line.upstreams.seen) == before

    def test_a_bad_token_is_refused_where_none_is_needed(self) -> None:
        self.asks("jwt")
        self.refused(self.get("/echo", **bearer(token(iss="stranger"))), 401)

    def test_new_keys_apply_without_a_restart(self) -> None:
        self.asks("jwks_reload")
        self.refused(self.get("/private", **bearer(token("new"))), 401)
        (self.line.root / "keys.json").write_text(jwks("one", "two", "new"))
        self.line.reload()
        assert eventually(lambda: self.get("/private", **bearer(token("new"))).status_code == 200)
        assert self.get("/private", **bearer(token("one"))).status_code == 200

    def test_consumers_are_known_by_their_key(self) -> None:
        self.asks("api_keys")
        key = self.line.state.secret("apikey.tom")
        assert self.arrived("/keyed", x_api_key=key)["headers"]["x-tierline-consumer"] == "tom"
        self.refused(self.get("/keyed"), 401)
        self.refused(self.get("/keyed/below", x_api_key="wrong"), 401)
        self.refused(self.get("/keyed", x_tierline_consumer="tom"), 401)

    def test_answers_behind_a_key_are_kept_by_nobody_in_front(self) -> None:
        self.asks("api_keys")
        public = {"x-test-header": "cache-control: public, max-age=600"}
        key = self.line.state.secret("apikey.tom")
        answer = self.client.get("/keyed", headers={"x-api-key": key, **public})
        assert answer.headers["cache-control"] == "private, no-store"
        assert self.client.get("/echo", headers=public).headers["cache-control"] == "public, max-age=600"

    def test_answers_behind_a_token_are_kept_by_nobody_in_front(self) -> None:
        self.asks("jwt")
        public = {"x-test-header": "cache-control: public, s-maxage=600"}
        for path in ("/private/x", "/v1/private", "/admin"):
            answer = self.client.get(path, headers={**bearer(token(role="admin")), **public})
            assert (answer.status_code, answer.headers["cache-control"]) == (200, "private, no-store"), path
        # Where no token is needed, one changes nothing.
        answer = self.client.get("/echo", headers={**bearer(token()), **public})
        assert answer.headers["cache-control"] == "public, s-maxage=600"

    def test_quotas_by_plan(self) -> None:
        self.asks("quotas")
        small, large = (self.line.state.secret(f"apikey.{name}") for name in ("ann", "bob"))
        assert [self.get("/keyed", x_api_key=small).status_code for _ in range(5)] == [200] * 3 + [429] * 2
        assert [self.get("/keyed", x_api_key=large).status_code for _ in range(5)] == [200] * 5

    def test_access_by_claim(self) -> None:
        self.asks("access_claims")
        self.refused(self.get("/admin"), 401)
        self.refused(self.get("/admin", **bearer(token(role="guest"))), 403)
        assert self.get("/admin/x", **bearer(token(role="admin"))).status_code == 200

    def test_access_by_scope(self) -> None:
        self.asks("access_scopes")
        for scope, status in (("films:read films:write", 200), ("films:writer", 403), (None, 403)):
            answer = self.client.post("/scoped", headers=bearer(token(scope=scope)))
            assert answer.status_code == status, scope
        assert self.get("/scoped", **bearer(token(scope="films:read"))).status_code == 200

    def test_access_by_address(self) -> None:
        self.asks("access_addresses")
        assert self.get("/inside").status_code == 200
        self.refused(self.get("/outside"), 403)
        # At the entry an address is what the socket says.
        self.refused(self.get("/outside", x_forwarded_for="10.1.1.1"), 403)

    # how often

    def test_each_client_has_its_limit_with_a_burst(self) -> None:
        self.asks("rate_limit_client")
        allowed = 8 if "burst" in system("gateway", self.system).supports else 5
        answers = [self.get("/limited") for _ in range(allowed + 4)]
        statuses = [answer.status_code for answer in answers]
        assert statuses[:allowed] == [200] * allowed
        assert 429 in statuses[allowed:]
        self.refused(answers[-1], 429)

    def test_a_limit_fills_up_again(self) -> None:
        self.asks("rate_limit_all")
        with ThreadPoolExecutor(4) as pool:  # together faster than it fills up, however slow the machine

            def refused() -> bool:
                return 429 in pool.map(lambda _: self.get("/refilled").status_code, range(8))

            assert eventually(refused)
        assert eventually(lambda: self.get("/refilled").status_code == 200)

    def test_a_limit_for_everybody(self) -> None:
        self.asks("rate_limit_all")
        statuses = [self.get("/shared").status_code for _ in range(9)]
        assert statuses[:6] == [200] * 6 and 429 in statuses

    def test_a_limit_for_each_person(self) -> None:
        self.asks("rate_limit_consumer")
        ann, bob = bearer(token(sub="ann")), bearer(token(sub="bob"))
        assert [self.get("/person", **ann).status_code for _ in range(6)] == [200] * 4 + [429] * 2
        assert self.get("/person", **bob).status_code == 200

    def test_limits_say_what_is_left(self) -> None:
        self.asks("rate_limit_headers")
        who = bearer(token(sub="carl"))
        first, second = self.get("/person", **who), self.get("/person", **who)
        assert first.headers["ratelimit-limit"].split(",")[0] == "4"
        assert (int(first.headers["ratelimit-remaining"]), int(second.headers["ratelimit-remaining"])) == (
            3,
            2,
        )
        assert 0 <= int(first.headers["ratelimit-reset"]) <= 60
        while (last := self.get("/person", **who)).status_code == 200:
            pass
        assert 1 <= int(last.headers["retry-after"]) <= 60
        assert "ratelimit-limit" not in self.get("/echo").headers

    def test_too_large_a_body(self) -> None:
        self.asks("body_limit")
        assert self.client.post("/echo", content=b"x" * 60_000).json()["body"] == 60_000
        self.refused(self.client.post("/echo", content=b"x" * 70_000), 413)

        def trickle() -> Iterator[bytes]:
            yield from [b"x" * 7_000] * 10

        # Without a length: too large once it is, or refused for not saying.
        answer = self.client.post("/echo", content=trickle())
        self.refused(answer, 411 if answer.status_code == 411 else 413)

    # browsers

    def test_a_preflight_is_answered(self) -> None:
        self.asks("cors")
        asks = {"origin": "https://app.test", "access-control-request-method": "POST",
                "access-control-request-headers": "authorization"}  # fmt: skip
        answer = self.client.options("/private/x", headers=asks)
        assert answer.status_code in (200, 204)
        assert answer.headers["access-control-allow-origin"] == "https://app.test"
        assert "POST" in answer.headers["access-control-allow-methods"]
        assert "authorization" in answer.headers["access-control-allow-headers"]
        plain = self.get("/echo", origin="https://app.test")
        assert plain.headers["access-control-allow-origin"] == "https://app.test"
        stranger = self.get("/echo", origin="https://evil.test")
        assert "access-control-allow-origin" not in stranger.headers
        # A cache in front keeps the answers of origins apart, and that of none.
        for answer in (plain, stranger, self.get("/echo"), self.get("/echo", x_test_header="vary: accept")):
            assert "origin" in answer.headers["vary"].lower()
        assert "accept" in answer.headers["vary"].lower()

    # when something fails

    def test_a_slow_service_is_given_up(self) -> None:
        self.asks("timeouts")
        self.refused(self.get("/slow", x_test_hold="given-up"), 504)  # as long as the service says nothing
        self.line.upstreams.release("given-up")

    def test_the_other_zone_takes_over(self) -> None:
        self.asks("backup_zone")
        servers = self.line.upstreams
        self.settle()
        assert {self.arrived("/echo")["role"] for _ in range(5)} == {"echo.a"}
        before = len(servers.seen)
        with ThreadPoolExecutor(8) as pool:
            answers = pool.map(lambda _: self.get("/echo"), range(400))
            assert eventually(lambda: len(servers.seen) > before + 50, every=0.001)
            servers.kill("echo.a")
            failed = [answer.text for answer in answers if answer.status_code != 200]
        backup = self.get("/echo")
        servers.heal("echo.a")
        assert failed == []
        assert backup.json()["role"] == "echo.b"
        self.settle()

    def test_tries_again_only_what_nobody_has_seen(self) -> None:
        self.asks("retries")
        servers = self.line.upstreams
        before = len(servers.of("echo.a", "echo.b"))
        # A connection of its own: on one that was used before, HAProxy closes it and leaves it to the client.
        answer = httpx.post(self.line.url() + "/echo", headers={"x-test-drop": "1"}, trust_env=False)
        assert answer.status_code in (502, 503)
        assert len(servers.of("echo.a", "echo.b")) - before == 1
        self.settle()

    def test_at_most_so_many_at_once(self) -> None:
        self.asks("circuit_breaking")
        self.settle()
        ask = b"GET /busy HTTP/1.1\r\nhost: x\r\nx-test-hold: busy\r\nconnection: close\r\n\r\n"
        with ThreadPoolExecutor(80) as pool:
            asked = [pool.submit(raw, self.line.address(), ask) for _ in range(80)]
            # Until all are either refused or with the service.
            there = lambda: sum(each.done() for each in asked) + self.line.upstreams.waiting()  # noqa: E731
            assert eventually(lambda: there() >= 80), there()
            self.line.upstreams.release("busy")
            answers = [each.result().split()[1] for each in asked]
        assert 35 <= answers.count(b"200") <= 60
        assert answers.count(b"503") == 80 - answers.count(b"200")

    # trips and monitoring

    def test_a_trace_goes_on_and_a_hop_is_told(self) -> None:
        self.asks("trace_context")
        found = self.arrived("/echo", traceparent=f"00-{TRACE}-00f067aa0ba902b7-01")
        version, trace, parent, flags = found["headers"]["traceparent"].split("-")
        assert (version, trace, flags) == ("00", TRACE, "01")
        assert len(parent) == 16
        (hop,) = self.line.hops(TRACE)
        assert (hop.tier, hop.zone, hop.status, hop.parent) == ("gateway", "a", 200, "00f067aa0ba902b7")
        assert hop.verdict == "allowed"
        assert 0 <= hop.duration_us < 5_000_000
        assert abs(hop.start_us / 1e6 - time.time()) < 30

    def test_a_refusal_is_a_hop_too(self) -> None:
        self.asks("trace_context")
        other = TRACE[::-1]
        self.get("/private", traceparent=f"00-{other}-00f067aa0ba902b7-01")
        (hop,) = self.line.hops(other)
        assert hop.status == 401
        assert hop.verdict.startswith("refused")

    def test_a_request_without_a_trace_begins_one(self) -> None:
        self.asks("trace_context")
        for given in ({}, {"traceparent": "00-zz-1-01"}):
            version, trace, parent, _ = self.arrived("/echo", **given)["headers"]["traceparent"].split("-")
            assert version == "00" and len(trace) == 32 and len(parent) == 16
            assert int(trace, 16) and int(parent, 16)

    def callers(self, **wanted: str | int) -> int:
        """Requests that telemetry has counted so, by route, consumer, status and verdict."""
        found = 0
        for zone, route, consumer, status, verdict, number in self.counted():
            row = {"zone": zone, "route": route, "consumer": consumer, "status": status, "verdict": verdict}
            found += number if all(row[name] == value for name, value in wanted.items()) else 0
        return found

    def counted(self) -> list[tuple[str, str, str, int, str, int]]:
        reader = Reader(self.line.root / ".tierline" / "hops")
        reader.poll()
        reader.counts()
        return reader.callers()

    def telling(self, wanted: int, **what: str | int) -> None:
        assert eventually(lambda: self.callers(**what) >= wanted), (what, self.counted())

    def test_requests_are_counted_by_route_and_consumer(self) -> None:
        self.asks("caller_metrics")
        key = self.line.state.secret("apikey.tom")
        for _ in range(3):
            self.get("/keyed", x_api_key=key)
        for _ in range(2):
            self.get("/private", **bearer(token(sub="dora")))
        self.get("/private", **bearer(token(sub="dora", aud="them")))
        self.get("/echo/films")
        self.telling(3, consumer="tom", status=200)
        self.telling(2, consumer="dora", status=200, verdict="allowed")
        self.telling(1, consumer="", verdict="refused: token")
        route = next(each.name for each in routes(self.role(), self.line.plan) if each.path == "/echo/films")
        self.telling(1, route=route, status=200)

    def role(self) -> Role:
        return self.line.plan.roles["gateway.a"]

    def test_the_hop_says_who_asked_and_which_policy_refused(self) -> None:
        self.asks("caller_log")
        key = self.line.state.secret("apikey.tom")
        asked = {
            "1" * 32: ("/keyed", {"x-api-key": key}, "tom", ""),
            "2" * 32: ("/admin", bearer(token(sub="eve", role="guest")), "eve", "/admin"),
            "3" * 32: ("/outside", {}, None, "/outside"),
            "4" * 32: ("/keyed", {"x-api-key": "wrong"}, None, "key"),
        }
        for trace, (path, headers, consumer, policy) in asked.items():
            self.client.get(path, headers={**headers, "traceparent": f"00-{trace}-00f067aa0ba902b7-01"})
            (hop,) = self.line.hops(trace)
            assert hop.attributes.get("enduser.id") == consumer
            assert policy in hop.attributes.get("tierline.policy", "")
            assert hop.verdict == "allowed" if not policy else hop.verdict.startswith("refused: ")

    def test_the_hop_says_which_limit_refused(self) -> None:
        self.asks("caller_log")
        who = bearer(token(sub="gus"))
        small = self.line.state.secret("apikey.ann")
        for path, headers, policy in (
            ("/person", who, "limit-consumer-2:/person"),
            ("/keyed", {"x-api-key": small}, "quota:small"),
        ):
            while self.client.get(path, headers=headers).status_code == 200:
                pass
            trace = f"{len(path):032x}"
            traced = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
            assert self.client.get(path, headers={**headers, **traced}).status_code == 429
            (hop,) = self.line.hops(trace)
            assert (hop.verdict, hop.attributes["tierline.policy"]) == ("refused: rate limit", policy)

    @pytest.mark.parametrize("name", ['a","v":"forged', "a\\", "zoë", "a" * 300, '{"f":"01"}'])
    def test_a_name_in_a_token_cannot_forge_a_hop(self, name: str) -> None:
        self.asks("caller_log")
        before = len(self.counted())
        assert self.get("/private", **bearer(token(sub=name))).status_code == 200
        assert eventually(lambda: len(self.counted()) > before)
        named = {consumer for _, _, consumer, _, verdict, _ in self.counted() if verdict == "allowed"}
        plain = "".join(letter if 31 < ord(letter) < 127 else "?" for letter in name)
        assert named & {name[:80], plain[:80]}, named
        assert not [verdict for *_, verdict, _ in self.counted() if verdict == "forged"]

    # what bad input gets

    @pytest.mark.parametrize(
        "framing",
        [
            b"content-length: 4\r\ntransfer-encoding: chunked",
            b"transfer-encoding: chunked\r\ntransfer-encoding: identity",
            b"content-length: 0\r\ncontent-length: 44",
        ],
    )
    def test_smuggled_requests_reach_nobody(self, framing: bytes) -> None:
        end = b"" if framing.startswith(b"content-length: 0") else b"0\r\n\r\n"
        hidden = b"GET /private/smuggled HTTP/1.1\r\nhost: x\r\n\r\n"
        data = b"POST /echo HTTP/1.1\r\nhost: x\r\n" + framing + b"\r\n\r\n" + end + hidden
        raw(self.line.address(), data, timeout=1)
        assert not [seen for seen in self.line.upstreams.seen if "smuggled" in seen.path]

    def test_a_flood_of_headers_is_refused(self) -> None:
        many = b"".join(b"x-%d: y\r\n" % number for number in range(2000))
        status = raw(self.line.address(), b"GET /echo HTTP/1.1\r\nhost: x\r\n" + many + b"\r\n").split()[1]
        assert status in (b"400", b"431")

    def test_the_admin_socket_is_nobody_elses(self) -> None:
        for path in self.line.folder().glob("*.sock"):
            # nginx opens its sockets to everybody: then the folder is closed.
            closed = [each for each in (path, path.parent) if each.stat().st_mode & 0o077 == 0]
            assert closed, path
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(str(path))
