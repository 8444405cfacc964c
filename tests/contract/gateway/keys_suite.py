"""Keys from a URL: fetched over TLS, fetched again while the gateway runs, and nobody let in without them."""

from __future__ import annotations

import base64
import hmac
import json
import ssl
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from feature_suite import Contract

from tierline import JWT, Access, Gateway, Service, Stack
from tierline.run.authority import Authority
from waiting import eventually

KEYS: dict[str, tuple[str, Any]] = {
    "elliptic": ("ES256", ec.generate_private_key(ec.SECP256R1())),
    "rsa": ("RS256", rsa.generate_private_key(65537, 2048)),
    "later": ("ES256", ec.generate_private_key(ec.SECP256R1())),
    "strong": ("RS512", rsa.generate_private_key(65537, 2048)),
}


class KeyServer:
    """An issuer's key set behind TLS. `names`: whose keys it gives; `broken`: what it answers instead."""

    def __init__(self, folder: Path) -> None:
        self.names: tuple[str, ...] = ("elliptic", "rsa", "strong")
        self.broken: bytes | None = None
        self.named = True
        self.asked = 0
        folder.mkdir(parents=True)
        authority = Authority(folder)
        chain, key = authority.issue("localhost")
        self.ca = authority.certificate
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked += 1
                body = outer.broken if outer.broken is not None else outer.jwks()
                self.send_response(200 if self.path == "/jwks.json" else 404)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain, key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://localhost:{self._server.server_address[1]}/jwks.json"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def jwks(self) -> bytes:
        keys = []
        for name in self.names:
            algorithm, private = KEYS[name]
            key = json.loads(jwt.get_algorithm_by_name(algorithm).to_jwk(private.public_key()))
            kid = {"kid": name} if self.named else {}
            keys.append({**key, **kid, "alg": algorithm, "use": "sig"})
        # What a set may also hold, and no gateway should stumble over.
        keys += [
            {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": "bent"},
            {"kty": "RSA", "kid": "bare"},
        ]
        keys.append(
            {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "kid": "ed"}
        )
        return json.dumps({"keys": keys}).encode()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def token(key: str = "elliptic", **claims: Any) -> dict[str, str]:
    body = {"iss": "https://issuer.test", "aud": "us", "sub": "u1", "exp": int(time.time()) + 600, **claims}
    algorithm, private = KEYS[key]
    signed = jwt.encode(
        {k: v for k, v in body.items() if v is not None}, private, algorithm, headers={"kid": key}
    )
    return {"authorization": f"Bearer {signed}"}


def base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


class KeysContract(Contract):
    """Inherit it and name the system."""

    server: ClassVar[KeyServer]

    @classmethod
    def prepare(cls, root: Path) -> Callable[[], None]:
        cls.server = KeyServer(root / "issuer")
        return cls.server.close

    @classmethod
    def stack(cls) -> Stack:
        return Stack(
            "edge",
            gateway=Gateway(
                auth=JWT(
                    issuer="https://issuer.test", audience="us", paths=["/private"], jwks=cls.server.url,
                    ca="issuer/ca.pem", refresh="1s", clock_skew="25s",
                ),
                access=[Access(paths=["/admin"], claims={"role": "admin"})],
            ),
            services=[Service("echo", "app:app", expose=["/private", "/admin", "/open"])],
            zones=["a"],
        )  # fmt: skip

    def until(self, status: int, key: str) -> None:
        """Until the gateway answers so, as its keys are fetched again by then."""

        def so() -> bool:
            self.line.refresh()
            return self.get("/private", **token(key)).status_code == status

        assert eventually(so, every=0.1), self.get("/private", **token(key)).text

    @pytest.mark.parametrize("key", ["elliptic", "rsa"])
    def test_tokens_are_checked_with_the_keys_of_the_url(self, key: str) -> None:
        self.asks("jwks_url")
        found = self.arrived(self.get("/private/x", **token(key)))
        assert found["headers"]["x-tierline-subject"] == "u1"
        admin = self.get("/admin", **token(key, role="admin"))
        self.arrived(admin)
        assert admin.headers["cache-control"] == "private, no-store", "no copy is for who may not have it"
        self.refused(self.get("/admin", **token(key, role="guest")), 403)

    @pytest.mark.parametrize(
        ("kind", "claims"),
        [
            ("audience", {"aud": "them"}),
            ("issuer", {"iss": "https://stranger.test"}),
            ("expired", {"exp": 1_700_000_000}),
            ("early", {"nbf": 4_000_000_000}),
            ("no expiry", {"exp": None}),
        ],
    )
    def test_a_bad_token_is_refused(self, kind: str, claims: dict[str, Any]) -> None:
        self.asks("jwks_url")
        before = len(self.line.upstreams.seen)
        answer = self.get("/private", **token(**claims))
        self.refused(answer, 403 if kind == "audience" and answer.status_code == 403 else 401)
        assert len(self.line.upstreams.seen) == before

    def test_the_clock_may_be_a_little_wrong(self) -> None:
        self.asks("jwks_url")
        now = int(time.time())
        self.arrived(self.get("/private", **token(exp=now - 2)))
        self.refused(self.get("/private", **token(exp=now - 60)), 401)

    def test_unsigned_tokens_and_borrowed_keys_are_refused(self) -> None:
        self.asks("jwks_url")
        good = token()["authorization"]
        head, body, _ = good.removeprefix("Bearer ").split(".")
        none = jwt.encode({"iss": "https://issuer.test", "aud": "us", "exp": 9_999_999_999}, None, "none")
        # The public key as a shared secret, which a careless checker would take it for.
        claims = b'{"iss":"https://issuer.test","aud":"us","exp":9999999999}'
        signed = b".".join(base64url(part) for part in (b'{"alg":"HS256","kid":"rsa"}', claims))
        public = KEYS["rsa"][1].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        borrowed = (signed + b"." + base64url(hmac.digest(public, signed, "sha256"))).decode()
        for bad in (f"{head}.{body}.", none, borrowed, "x", "a.b.c"):
            self.refused(self.get("/private", authorization=f"Bearer {bad}"), 401)

    def test_only_allowed_algorithms_are_good_enough(self) -> None:
        self.asks("jwt_algorithms")
        self.refused(self.get("/private", **token("strong")), 401)

    def test_refusals_are_told_in_the_trip(self) -> None:
        self.asks("jwks_url")
        trace = "5" * 32
        self.get("/private", **token(aud="them"), traceparent=f"00-{trace}-00f067aa0ba902b7-01")
        (hop,) = self.line.hops(trace)
        assert hop.verdict == "refused: token"

    def test_keys_change_while_it_runs(self) -> None:
        self.asks("jwks_url")
        self.refused(self.get("/private", **token("later")), 401)
        self.arrived(self.get("/private", **token("rsa")))
        self.server.names = ("elliptic", "later")
        self.until(200, "later")
        # A key that was taken back is no good any more, nor is a token that was seen while it was.
        self.until(401, "rsa")
        self.arrived(self.get("/private", **token("elliptic")))
        self.server.names = ("elliptic", "rsa", "strong")
        self.until(200, "rsa")

    def test_an_issuer_that_is_away_takes_nobodys_access_away(self) -> None:
        self.asks("jwks_url")
        self.server.broken = b"<html>no keys today</html>"
        try:
            asked = self.server.asked

            def asked_again() -> bool:
                self.line.refresh()
                return self.server.asked >= asked + 2

            assert eventually(asked_again, every=0.2)
            self.arrived(self.get("/private", **token("elliptic")))
        finally:
            self.server.broken = None

    def test_keys_without_ids_are_all_tried(self) -> None:
        self.asks("jwks_url")
        before = self.server.names
        self.server.named, self.server.names = False, ("elliptic", "later")
        try:
            self.until(200, "later")
            for name in self.server.names:
                algorithm, private = KEYS[name]
                claims = {"iss": "https://issuer.test", "aud": "us", "exp": int(time.time()) + 600}
                signed = jwt.encode(claims, private, algorithm)
                self.arrived(self.get("/private", authorization=f"Bearer {signed}"))
        finally:
            self.server.named, self.server.names = True, before
            self.until(200, "elliptic")
