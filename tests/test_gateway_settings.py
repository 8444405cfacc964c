"""What a gateway's settings refuse, and how they say so."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tierline import JWT, MTLS, OIDC, Access, Gateway, RateLimit, Route
from tierline.engines.keysets import usable
from tierline.errors import EngineError, StackError


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: JWT("i", "a", ["/"], jwks="http://issuer.test/keys"), "an https:// URL"),
        (lambda: JWT("i", "a", ["/"], jwks="ftp://issuer.test/keys"), "an https:// URL"),
        (lambda: JWT("i", "a", ["/"], jwks="https://user:word@issuer.test/keys"), "an https:// URL"),
        (lambda: JWT("i", "a", ["/"], jwks="http://127.0.0.1.evil.test/keys"), "an https:// URL"),
        (lambda: JWT("i", "a", ["/"], jwks="keys.json", ca="ca.pem"), "only beside jwks='https://"),
        (lambda: JWT("i", "a", ["/"], algorithms=["none"]), "one of ES256"),
        (lambda: JWT("i", "a", ["/"], algorithms=["HS256"]), "one of ES256"),
        (lambda: JWT("i", "a", ["/"], algorithms=[]), "at least one"),
        (lambda: OIDC(["/a"], issuer="https://i.test"), "a file with the secret"),
        (lambda: OIDC(["/a"], issuer="http://i.test", client_secret="s"), "an https:// URL"),
        (lambda: OIDC(["/a"], client_secret="s"), "the line makes one"),
        (lambda: OIDC(["/a"], users={}), "at least one test user"),
        (lambda: OIDC(["/a"], users={"a b": {}}), "names of letters"),
        (lambda: MTLS({}, ["/a"]), "at least one"),
        (lambda: MTLS({'x"y': "a"}, ["/a"]), "names in certificates"),
        (lambda: MTLS({"x": "A B"}, ["/a"]), "lower-case letters"),
        (lambda: Gateway(openapi="openapi.json"), "a plain path"),
        (lambda: Gateway(openapi="/a/{b}"), "a plain path"),
        (lambda: Gateway(limits=[RateLimit(1, by="consumer")]), "knows nobody"),
        (lambda: Gateway(access=[Access(["/a"], claims={"role": "x"})]), "neither auth nor login"),
        (lambda: Route("/a", request_body={"x": object()}), "what JSON can hold"),
        (lambda: Route("/a", request_body={"x": float("nan")}), "what JSON can hold"),
        (lambda: Route("/a", response_body={"x": "{query:y}"}), "for request_body"),
    ],
)
def test_a_setting_that_would_not_do_is_told_at_its_line(build: Callable[[], Any], said: str) -> None:
    with pytest.raises(StackError) as told:
        build()
    assert said in str(told.value)
    assert __file__ in str(told.value)


@pytest.mark.parametrize(
    "source", ["keys.json", "https://issuer.test/keys", "http://127.0.0.1:8000/k", "http://localhost/k"]
)
def test_keys_come_from_a_file_or_where_nobody_can_change_them(source: str) -> None:
    assert JWT("i", "a", ["/"], jwks=source).jwks == source


@pytest.mark.parametrize(
    "kid", ["a'b", 'a"b', "a\\b", "a\nb", "a%[b]", "a b", "a}", "a\x00", "a#", "x" * 201, ["a"]]
)
def test_a_keys_name_is_no_configuration(kid: Any) -> None:
    numbers = ec.generate_private_key(ec.SECP256R1()).public_key().public_numbers()
    x, y = (
        base64.urlsafe_b64encode(n.to_bytes(32, "big")).decode().rstrip("=") for n in (numbers.x, numbers.y)
    )
    key = {"kty": "EC", "crv": "P-256", "x": x, "y": y}
    good, bad = {**key, "kid": "a-1._~:/+=@"}, {**key, "kid": kid}
    assert usable(json.dumps({"keys": [bad, good]}), ("ES256",)) == [{**good, "alg": "ES256"}]


def test_only_whole_public_keys_of_allowed_algorithms_are_used() -> None:
    weak = {"kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "weak"}
    secret = {"kty": "oct", "k": "c2VjcmV0", "alg": "HS256", "kid": "shared"}
    bad = {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": "bent"}
    assert usable(json.dumps({"keys": [weak, secret, bad]}), ("ES256", "RS256")) == []
    for text in ("[]", "{}", '{"keys": 3}', "nonsense"):
        with pytest.raises(EngineError, match="not a key set"):
            usable(text, ("ES256",))
