"""The authorities that the system trusts: engines built elsewhere look for them in places of their own."""

from __future__ import annotations

import ssl
from pathlib import Path


def bundle() -> str:
    """The system's bundle (PEM)."""
    paths = ssl.get_default_verify_paths()
    usual = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")
    return next((p for p in (paths.cafile, *usual, paths.openssl_cafile) if p and Path(p).exists()), usual[0])
