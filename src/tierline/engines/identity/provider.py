"""OpenID Connect Core 1.0, the part that a browser's login needs: the authorization code flow with PKCE (RFC 7636).

Nothing is kept on disk: a restart forgets codes and refresh tokens, as it forgets who was about to log in.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import json
import re
import secrets
import time
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus, urlencode, urlsplit

import msgspec

_CODE_LIVES = 60.0
_MOST = 1000
"""Codes and refresh tokens that are kept at once; the oldest go."""
_URI = re.compile(r"[!-\[\]-~]+")
"""Visible ASCII but the backslash, which a browser takes for a slash and Python for a part of the host's name."""


class Refused(Exception):
    """An error of OAuth 2.0 (RFC 6749, sections 4.1.2.1 and 5.2): its code, and what was wrong."""

    def __init__(self, code: str, about: str) -> None:
        super().__init__(about)
        self.code = code
        self.about = about


class Asked(msgspec.Struct, frozen=True):
    """An authorization request that is as it should be."""

    redirect_uri: str
    scope: str
    state: str
    nonce: str
    challenge: str


class _Grant(msgspec.Struct):
    user: str
    asked: Asked
    until: float


class Provider:
    """The provider's memory and its rules. `told`: see engine.py."""

    def __init__(self, told: dict[str, Any]) -> None:
        self.issuer = str(told["issuer"])
        self.users: dict[str, dict[str, Any]] = told["users"]
        self._told = told
        self._key = _Key(Path(told["key"]), str(told["key_id"]))
        self._codes: dict[str, _Grant] = {}
        self._refresh: dict[str, _Grant] = {}

    def discovery(self) -> dict[str, Any]:
        """OpenID Connect Discovery 1.0, section 3."""
        at = self.issuer
        return {
            "issuer": at,
            "authorization_endpoint": f"{at}/authorize",
            "token_endpoint": f"{at}/token",
            "jwks_uri": f"{at}/jwks.json",
            "end_session_endpoint": f"{at}/logout",
            "response_types_supported": ["code"],
            "grant_types_supported": ["authorization_code", "refresh_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [self._key.algorithm],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            "scopes_supported": ["openid", "profile", "email"],
        }

    def jwks(self) -> dict[str, Any]:
        return {"keys": [self._key.public()]}

    def asked(self, given: dict[str, str]) -> Asked:
        """Raises Refused; nobody is sent on then, as the address to send to may be a stranger's."""
        if given.get("client_id") != self._told["client_id"]:
            raise Refused("invalid_request", "the client_id is not known here")
        uri = given.get("redirect_uri", "")
        if not self._ours(uri, self._told["callback"]):
            raise Refused("invalid_request", "the redirect_uri is not the line's callback")
        if given.get("response_type") != "code":
            raise Refused("unsupported_response_type", "only response_type=code")
        if "openid" not in given.get("scope", "").split():
            raise Refused("invalid_scope", "scope must hold openid")
        if given.get("code_challenge_method") != "S256" or not given.get("code_challenge"):
            raise Refused("invalid_request", "PKCE with code_challenge_method=S256 is needed (RFC 7636)")
        return Asked(
            uri, given["scope"], given.get("state", ""), given.get("nonce", ""), given["code_challenge"]
        )

    def grant(self, asked: Asked, user: str) -> str:
        """Where the browser goes with its code. Raises Refused for an unknown user."""
        if user not in self.users:
            raise Refused("access_denied", "no such user")
        code = secrets.token_urlsafe(24)
        _keep(self._codes, code, _Grant(user, asked, time.time() + _CODE_LIVES))
        return f"{asked.redirect_uri}?{urlencode({'code': code, 'state': asked.state})}"

    def token(self, given: dict[str, str], authorization: str) -> dict[str, Any]:
        """The token endpoint (RFC 6749, section 4.1.3; OpenID Connect Core, 3.1.3). Raises Refused."""
        self._client(given, authorization)
        kind = given.get("grant_type")
        if kind == "authorization_code":
            # A code is good once, whatever comes of it.
            grant = self._codes.pop(given.get("code", ""), None)
            if grant is None or grant.until < time.time():
                raise Refused("invalid_grant", "the code is unknown, used or too old")
            if given.get("redirect_uri") != grant.asked.redirect_uri:
                raise Refused("invalid_grant", "the redirect_uri is another one than before")
            digest = hashlib.sha256(given.get("code_verifier", "").encode()).digest()
            if not hmac.compare_digest(_base64(digest).encode(), grant.asked.challenge.encode()):
                raise Refused("invalid_grant", "the code_verifier doesn't fit")
        elif kind == "refresh_token":
            grant = self._refresh.pop(given.get("refresh_token", ""), None)
            if grant is None or grant.until < time.time():
                raise Refused("invalid_grant", "the refresh token is unknown, used or too old")
        else:
            raise Refused("unsupported_grant_type", "authorization_code or refresh_token")
        return self._issue(grant)

    def _issue(self, grant: _Grant) -> dict[str, Any]:
        now, session = int(time.time()), int(self._told["session"])
        person = {"name": grant.user, **self.users[grant.user]}
        shared = {"iss": self.issuer, "sub": grant.user, "iat": now, "exp": now + session}
        nonce = {"nonce": grant.asked.nonce} if grant.asked.nonce else {}
        client = self._told["client_id"]
        again = secrets.token_urlsafe(24)
        _keep(self._refresh, again, _Grant(grant.user, grant.asked, now + 24 * 3600.0))
        return {
            "access_token": self._key.sign({**shared, "aud": self.issuer, "scope": grant.asked.scope}),
            "id_token": self._key.sign({**person, **shared, "aud": client, **nonce}),
            "refresh_token": again,
            "token_type": "Bearer",
            "expires_in": session,
            "scope": grant.asked.scope,
        }

    def leave(self, given: dict[str, str]) -> str | None:
        """Where the browser goes after its logout (RP-Initiated Logout 1.0): only to the line itself."""
        uri = given.get("post_logout_redirect_uri", "")
        return uri if self._ours(uri, None) else None

    def _client(self, given: dict[str, str], authorization: str) -> None:
        name, secret = given.get("client_id", ""), given.get("client_secret", "")
        if authorization.lower().startswith("basic "):
            try:
                pair = base64.b64decode(authorization[6:]).decode().partition(":")
                # Each is encoded as a form's value (RFC 6749, section 2.3.1).
                name, secret = unquote_plus(pair[0]), unquote_plus(pair[2])
            except ValueError:
                name = ""
        good = hmac.compare_digest(secret.encode(), str(self._told["client_secret"]).encode())
        if name != self._told["client_id"] or not good:
            raise Refused("invalid_client", "the client's id or secret is wrong")

    def _ours(self, uri: str, path: str | None) -> bool:
        """An address of the line: its domain or this machine, and the path when one is given."""
        if not _URI.fullmatch(uri):
            return False
        try:
            parts = urlsplit(uri)
            host = parts.hostname or ""
        except ValueError:
            return False
        if parts.scheme not in ("http", "https") or parts.fragment or "@" in parts.netloc:
            return False
        if path is not None and (parts.path != path or parts.query):
            return False
        return (
            host in self._told["hosts"] or host.endswith(".localhost") or host == "localhost" or _here(host)
        )


def _here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _keep(kept: dict[str, _Grant], name: str, grant: _Grant) -> None:
    while len(kept) >= _MOST:
        kept.pop(next(iter(kept)))
    kept[name] = grant


class _Key:
    """Signs with an EC P-256 (ES256) or RSA (RS256) key in a PEM file."""

    def __init__(self, path: Path, kid: str) -> None:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import rsa

        self._kid = kid
        self._private: Any = serialization.load_pem_private_key(path.read_bytes(), None)
        self._rsa = isinstance(self._private, rsa.RSAPrivateKey)
        self.algorithm = "RS256" if self._rsa else "ES256"

    def public(self) -> dict[str, str]:
        numbers = self._private.public_key().public_numbers()
        head = {"use": "sig", "alg": self.algorithm, "kid": self._kid}
        if self._rsa:
            length = (numbers.n.bit_length() + 7) // 8
            return {**head, "kty": "RSA", "n": _base64(numbers.n.to_bytes(length, "big")), "e": "AQAB"}
        x, y = (_base64(number.to_bytes(32, "big")) for number in (numbers.x, numbers.y))
        return {**head, "kty": "EC", "crv": "P-256", "x": x, "y": y}

    def sign(self, claims: dict[str, Any]) -> str:
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec, padding
        from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

        head = {"alg": self.algorithm, "typ": "JWT", "kid": self._kid}
        text = ".".join(_base64(json.dumps(part, separators=(",", ":")).encode()) for part in (head, claims))
        if self._rsa:
            signature = self._private.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
        else:
            r, s = decode_dss_signature(self._private.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
            signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
        return f"{text}.{_base64(signature)}"


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
