"""TLS at Envoy's listeners. Its defaults pass Mozilla's intermediate profile; the versions are written out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_TYPE = "type.googleapis.com/envoy.extensions.transport_sockets."
_NAME = "certificate"


def downstream(
    chain: Path,
    key: Path,
    alpn: tuple[str, ...] = ("h2", "http/1.1"),
    *,
    secret: Path | None = None,
    clients: Path | None = None,
) -> dict[str, Any]:
    """The transport socket of a listener where TLS ends. secret: a watched file instead of chain and key. clients:
    the authorities (PEM) of which every client must have a certificate."""
    context = _common(chain, key, alpn, secret)
    if clients is not None:
        context["common_tls_context"]["validation_context"] = {"trusted_ca": {"filename": str(clients)}}
        context["require_client_certificate"] = True
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {"@type": _TYPE + "tls.v3.DownstreamTlsContext", **context},
    }


def quic(chain: Path, key: Path, *, secret: Path | None = None) -> dict[str, Any]:
    """The transport socket of a UDP listener for HTTP/3."""
    context = {"@type": _TYPE + "tls.v3.DownstreamTlsContext", **_common(chain, key, ("h3",), secret)}
    context["common_tls_context"]["tls_params"] = {}
    return {
        "name": "envoy.transport_sockets.quic",
        "typed_config": {
            "@type": _TYPE + "quic.v3.QuicDownstreamTransport",
            "downstream_tls_context": {key: value for key, value in context.items() if key != "@type"},
        },
    }


def secret(pem: str) -> str:
    """The text of a secret's file, which Envoy reads again when it is replaced by a rename (SDS)."""
    found = {
        "@type": _TYPE + "tls.v3.Secret",
        "name": _NAME,
        "tls_certificate": {
            "certificate_chain": {"inline_string": pem},
            "private_key": {"inline_string": pem},
        },
    }
    return json.dumps({"version_info": "1", "resources": [found]}, indent=1)


def _common(chain: Path, key: Path, alpn: tuple[str, ...], secret: Path | None) -> dict[str, Any]:
    found: dict[str, Any] = {
        "tls_params": {
            "tls_minimum_protocol_version": "TLSv1_2",
            "tls_maximum_protocol_version": "TLSv1_3",
        },
        "tls_certificates": [
            {"certificate_chain": {"filename": str(chain)}, "private_key": {"filename": str(key)}}
        ],
        "alpn_protocols": list(alpn),
    }
    if secret is not None:
        del found["tls_certificates"]
        source = {"resource_api_version": "V3", "path_config_source": {"path": str(secret)}}
        found["tls_certificate_sds_secret_configs"] = [{"name": _NAME, "sds_config": source}]
    return {"common_tls_context": found}
