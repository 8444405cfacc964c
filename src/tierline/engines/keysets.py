"""JSON Web Key Sets (RFC 7517) as gateways check with them: only keys of the algorithms that a stack allows."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from typing import Any

from tierline.errors import EngineError

RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
CURVES = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}
ALGORITHMS = (*CURVES.values(), *RSA)
"""Asymmetric ones alone: a set of public keys must never check a token that anybody could have signed."""
EMPTY = '{"keys": []}'
"""What nobody's token passes: used as long as an issuer's keys can't be had."""

_KID = re.compile(r"[A-Za-z0-9._~:/+=@-]{0,200}")


def usable(jwks: str, algorithms: Sequence[str]) -> list[dict[str, Any]]:
    """The keys that may check signatures, each with the one algorithm that it is for.

    A key that says no `alg` (RFC 7517, section 4.4) is there once for each allowed one that fits its kind. Keys for
    encryption, of other kinds, malformed, of fewer than 2048 bits, or whose `kid` could be read as configuration are
    left out. Raises EngineError for what is no key set.
    """
    try:
        listed = json.loads(jwks)["keys"]
        keys = [dict(each) for each in listed]
    except (ValueError, TypeError, KeyError) as error:
        raise EngineError(f"not a key set (RFC 7517, an object with `keys`): {error!r}") from None
    found = []
    for key in keys:
        if key.get("use", "sig") != "sig" or not _KID.fullmatch(str(key.get("kid", ""))):
            continue
        fits = RSA if key.get("kty") == "RSA" else (CURVES.get(str(key.get("crv")), ""),)
        if key.get("kty") not in ("RSA", "EC") or not _whole(key):
            continue
        for algorithm in fits:
            if algorithm in algorithms and key.get("alg", algorithm) == algorithm:
                found.append({**key, "alg": algorithm})
    return found


def _whole(key: dict[str, Any]) -> bool:
    """Whether a key is one that can be checked with, not just something that says it is."""
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    curves: dict[str, ec.EllipticCurve] = {
        "P-256": ec.SECP256R1(),
        "P-384": ec.SECP384R1(),
        "P-521": ec.SECP521R1(),
    }
    try:
        if key["kty"] == "RSA":
            public = rsa.RSAPublicNumbers(number(key["e"]), number(key["n"])).public_key()
            return public.key_size >= 2048  # less is no signature any more (RFC 7518, section 3.3)
        ec.EllipticCurvePublicNumbers(number(key["x"]), number(key["y"]), curves[key["crv"]]).public_key()
    except (ValueError, KeyError, TypeError, AttributeError):
        return False
    return True


def number(text: str) -> int:
    """An integer as key sets write it (RFC 7518, section 2)."""
    return int.from_bytes(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), "big")


def pinned(jwks: str, algorithms: Sequence[str]) -> str:
    """The set as JSON again, each key with its algorithm."""
    return json.dumps({"keys": usable(jwks, algorithms)})
