"""JSON Web Key Sets (RFC 7517) as gateways check with them: only keys of the algorithms that a stack allows."""

from __future__ import annotations

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

    A key that says no `alg` (RFC 7517, section 4.4) is there once for each allowed one that fits its kind. Keys
    for encryption, of other kinds, or whose `kid` could be read as configuration are left out. Raises
    EngineError for what is no key set.
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
        if key.get("kty") not in ("RSA", "EC"):
            continue
        for algorithm in fits:
            if algorithm in algorithms and key.get("alg", algorithm) == algorithm:
                found.append({**key, "alg": algorithm})
    return found


def pinned(jwks: str, algorithms: Sequence[str]) -> str:
    """The set as JSON again, each key with its algorithm."""
    return json.dumps({"keys": usable(jwks, algorithms)})
