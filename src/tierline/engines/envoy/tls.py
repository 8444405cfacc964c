"""TLS at Envoy's listeners. Its defaults pass Mozilla's intermediate profile; the versions are written out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_TYPE = "type.googleapis.com/envoy.extensions.transport_sockets."


def downstream(chain: Path, key: Path, alpn: tuple[str, ...] = ("h2", "http/1.1")) -> dict[str, Any]:
    """The transport socket of a listener where TLS ends."""
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": _TYPE + "tls.v3.DownstreamTlsContext",
            **_common(chain, key, alpn),
        },
    }


def quic(chain: Path, key: Path) -> dict[str, Any]:
    """The transport socket of a UDP listener for HTTP/3."""
    context = {"@type": _TYPE + "tls.v3.DownstreamTlsContext", **_common(chain, key, ("h3",))}
    context["common_tls_context"]["tls_params"] = {}
    return {
        "name": "envoy.transport_sockets.quic",
        "typed_config": {
            "@type": _TYPE + "quic.v3.QuicDownstreamTransport",
            "downstream_tls_context": {key: value for key, value in context.items() if key != "@type"},
        },
    }


def _common(chain: Path, key: Path, alpn: tuple[str, ...]) -> dict[str, Any]:
    return {
        "common_tls_context": {
            "tls_params": {
                "tls_minimum_protocol_version": "TLSv1_2",
                "tls_maximum_protocol_version": "TLSv1_3",
            },
            "tls_certificates": [
                {"certificate_chain": {"filename": str(chain)}, "private_key": {"filename": str(key)}}
            ],
            "alpn_protocols": list(alpn),
        }
    }
