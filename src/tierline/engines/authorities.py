"""Whom a program that is asked over TLS is checked by: the authorities that the system trusts (engines built elsewhere look
for them in places of their own), and whether its name is an address."""

from __future__ import annotations

import ipaddress
import ssl
from pathlib import Path


def bundle() -> str:
    """The system's bundle (PEM)."""
    paths = ssl.get_default_verify_paths()
    usual = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")
    return next((p for p in (paths.cafile, *usual, paths.openssl_cafile) if p and Path(p).exists()), usual[0])


def literal(host: str) -> bool:
    """Whether a host is an IP address: it has no server name to ask for (RFC 6066, section 3)."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
