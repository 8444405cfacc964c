"""Servers of others that Envoy itself asks: an issuer's keys, an OpenID provider."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tierline.engines.authorities import bundle, literal

_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"


def cluster(name: str, url: str, ca: Path | None) -> dict[str, Any]:
    """The server of a URL, its certificate checked for its name against `ca`, or the system's authorities."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    secure = parts.scheme == "https"
    found: dict[str, Any] = {
        "name": name,
        "type": "STATIC" if literal(host) else "STRICT_DNS",
        "connect_timeout": "2s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [
                {
                    "lb_endpoints": [
                        {
                            "endpoint": {
                                "address": {
                                    "socket_address": {
                                        "address": host,
                                        "port_value": parts.port or (443 if secure else 80),
                                    }
                                }
                            }
                        }
                    ]
                }
            ],
        },
    }
    if found["type"] == "STRICT_DNS":
        found["dns_lookup_family"] = "V4_PREFERRED"
    if secure:
        kind = "IP_ADDRESS" if literal(host) else "DNS"
        context = {
            "trusted_ca": {"filename": str(ca or bundle())},
            "match_typed_subject_alt_names": [{"san_type": kind, "matcher": {"exact": host}}],
        }
        found["transport_socket"] = {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": _TLS,
                "common_tls_context": {"validation_context": context},
                **({} if literal(host) else {"sni": host}),
            },
        }
    return found
