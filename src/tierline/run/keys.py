"""The local token issuer: an ES256 key made on first use, its public half as a JWKS for the gateway."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any

from tierline.run.state import write

KEY_ID = "tierline-local"


class Issuer:
    """Signs tokens for development and gives gateways the keys to check them."""

    def __init__(self, folder: Path) -> None:
        self.key = folder / "issuer.key"

    def _private(self) -> Any:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec

        if not self.key.is_file():
            made = ec.generate_private_key(ec.SECP256R1())
            pem = made.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            write(self.key, pem.decode())
        return serialization.load_pem_private_key(self.key.read_bytes(), None)

    def jwks(self) -> str:
        """The public key as a JSON Web Key Set (RFC 7517)."""
        numbers = self._private().public_key().public_numbers()
        key = {
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": KEY_ID,
            "x": _base64(numbers.x.to_bytes(32, "big")), "y": _base64(numbers.y.to_bytes(32, "big")),
        }  # fmt: skip
        return json.dumps({"keys": [key]})

    def sign(self, claims: dict[str, Any], lifetime: float = 3600) -> str:
        """A token (RFC 7519) with these claims, `iat` and `exp`."""
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

        now = int(time.time())
        head = {"alg": "ES256", "typ": "JWT", "kid": KEY_ID}
        body = {"iat": now, "exp": now + int(lifetime), **claims}
        signed = ".".join(_base64(json.dumps(part, separators=(",", ":")).encode()) for part in (head, body))
        der = self._private().sign(signed.encode(), ec.ECDSA(hashes.SHA256()))
        r, s = decode_dss_signature(der)
        return f"{signed}.{_base64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
