"""The local OpenID provider keeps the rules of the code flow: a code is for one client, one address, one use."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tierline.engines.identity import provider as module
from tierline.engines.identity.provider import Provider, Refused

VERIFIER = "v" * 50
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
BACK = "https://films.test/-/login/callback"


@pytest.fixture(params=["EC", "RSA"])
def provider(request: pytest.FixtureRequest, tmp_path: Path) -> Provider:
    key: Any = (
        ec.generate_private_key(ec.SECP256R1())
        if request.param == "EC"
        else rsa.generate_private_key(65537, 2048)
    )
    (tmp_path / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return Provider(
        {
            "issuer": "http://127.0.0.1:9", "key": str(tmp_path / "key.pem"), "key_id": "k", "client_id": "films",
            "client_secret": "secret", "users": {"ann": {"role": "admin"}}, "callback": "/-/login/callback",
            "hosts": ["films.test"], "session": 60,
        }
    )  # fmt: skip


def asking(**changed: str) -> dict[str, str]:
    return {
        "client_id": "films", "redirect_uri": BACK, "response_type": "code", "scope": "openid email", "state": "s/1",
        "nonce": "n", "code_challenge": CHALLENGE, "code_challenge_method": "S256", **changed,
    }  # fmt: skip


def code(provider: Provider) -> str:
    sent = urlsplit(provider.grant(provider.asked(asking()), "ann"))
    query = parse_qs(sent.query)
    assert f"{sent.scheme}://{sent.netloc}{sent.path}" == BACK and query["state"] == ["s/1"]
    return query["code"][0]


def turning_in(code: str, /, **changed: str) -> dict[str, str]:
    return {
        "grant_type": "authorization_code", "code": code, "redirect_uri": BACK, "code_verifier": VERIFIER,
        "client_id": "films", "client_secret": "secret", **changed,
    }  # fmt: skip


def test_a_code_becomes_tokens_that_its_keys_check(provider: Provider) -> None:
    told = provider.token(turning_in(code(provider)), "")
    found = provider.discovery()
    (key,) = provider.jwks()["keys"]
    claims = jwt.decode(
        told["id_token"], jwt.PyJWK(key), found["id_token_signing_alg_values_supported"], audience="films",
        issuer=found["issuer"],
    )  # fmt: skip
    assert (claims["sub"], claims["role"], claims["nonce"]) == ("ann", "admin", "n")
    assert told["expires_in"] == 60 and told["token_type"] == "Bearer"
    again = {"grant_type": "refresh_token", "refresh_token": told["refresh_token"]}
    basic = "Basic " + base64.b64encode(b"films:secret").decode()
    fresh = provider.token(again, basic)
    assert fresh["refresh_token"] != told["refresh_token"]
    with pytest.raises(Refused) as refused:  # each is good once
        provider.token(again, basic)
    assert refused.value.code == "invalid_grant"


@pytest.mark.parametrize(
    ("changed", "wrong"),
    [
        ({"client_id": "other"}, "invalid_request"),
        ({"redirect_uri": "https://evil.test/-/login/callback"}, "invalid_request"),
        ({"redirect_uri": "https://films.test.evil.test/-/login/callback"}, "invalid_request"),
        ({"redirect_uri": "https://films.test@evil.test/-/login/callback"}, "invalid_request"),
        ({"redirect_uri": "https://films.test/elsewhere"}, "invalid_request"),
        ({"redirect_uri": f"{BACK}?x=1"}, "invalid_request"),
        ({"redirect_uri": "javascript://films.test/-/login/callback"}, "invalid_request"),
        ({"redirect_uri": "https://[/"}, "invalid_request"),
        # A browser takes the backslash for a slash, and evil.test for the host.
        ({"redirect_uri": "https://evil.test\\.localhost/-/login/callback"}, "invalid_request"),
        ({"redirect_uri": "https://films.test/-/login/\r\ncallback"}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"scope": "email"}, "invalid_scope"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge": ""}, "invalid_request"),
    ],
)
def test_nobody_is_sent_anywhere_for_a_bad_request(
    provider: Provider, changed: dict[str, str], wrong: str
) -> None:
    with pytest.raises(Refused) as refused:
        provider.asked(asking(**changed))
    assert refused.value.code == wrong


@pytest.mark.parametrize(
    ("changed", "wrong"),
    [
        ({"client_secret": "guess"}, "invalid_client"),
        ({"client_id": "other"}, "invalid_client"),
        ({"code": "made up"}, "invalid_grant"),
        ({"redirect_uri": "https://films.test/other"}, "invalid_grant"),
        ({"code_verifier": "another"}, "invalid_grant"),
        ({"code_verifier": ""}, "invalid_grant"),
        ({"code_verifier": "ü"}, "invalid_grant"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
    ],
)
def test_tokens_are_for_who_asked(provider: Provider, changed: dict[str, str], wrong: str) -> None:
    with pytest.raises(Refused) as refused:
        provider.token(turning_in(code(provider), **changed), "")
    assert refused.value.code == wrong


def test_a_code_is_good_once_and_not_for_long(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    once = code(provider)
    with pytest.raises(Refused):
        provider.token(turning_in(once, code_verifier="wrong"), "")
    with pytest.raises(Refused):  # spent by the wrong try
        provider.token(turning_in(once), "")
    late = code(provider)
    now = module.time.time()
    monkeypatch.setattr(module.time, "time", lambda: now + 61)
    with pytest.raises(Refused):
        provider.token(turning_in(late), "")


def test_after_a_logout_one_is_sent_to_the_line_only(provider: Provider) -> None:
    assert provider.leave({"post_logout_redirect_uri": "https://films.test/"}) == "https://films.test/"
    assert provider.leave({"post_logout_redirect_uri": "http://127.0.1.1:8080/"})
    for stranger in (
        "https://evil.test/",
        "https://films.test@evil.test/",
        "//evil.test/",
        "https://evil.test\\.localhost/",
        "",
    ):
        assert provider.leave({"post_logout_redirect_uri": stranger}) is None
    assert json.dumps(provider.discovery())
