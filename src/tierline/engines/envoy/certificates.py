"""Consumers known by the certificate of their connection, which TLS has checked before any request can come."""

from __future__ import annotations

from typing import Any

from tierline.engines.envoy.callers import elsewhere

_LUA = "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua"
_KNOW = """\
local consumers = { CONSUMERS }

function envoy_on_request(handle)
  local tls = handle:streamInfo():downstreamSslConnection()
  if tls == nil or not tls:peerCertificatePresented() then return end
  local subject = tls:parsedSubjectPeerCertificate()
  local found = subject and consumers[subject:commonName()]
  for _, names in ipairs({ tls:uriSanPeerCertificate(), tls:dnsSansPeerCertificate() }) do
    for _, name in ipairs(names) do found = found or consumers[name] end
  end
  if found then handle:headers():replace("x-tierline-consumer", found) end
end
"""
_NEED = """\
function envoy_on_request(handle)
  if handle:headers():get("x-tierline-consumer") ~= nil then return end
  local tls = handle:streamInfo():downstreamSslConnection()
  local shown = tls ~= nil and tls:peerCertificatePresented()
  local why = shown and "nobody is known by this certificate" or "a client certificate is needed"
  handle:respond({ [":status"] = shown and "403" or "401" }, why)
end
"""


def filters(consumers: dict[str, str], match: str) -> list[dict[str, Any]]:
    """Who it is, for every request; and, where `match` is the path, nobody else. They stand before everything that
    could name a consumer otherwise, and the header is taken from strangers before."""
    listed = ", ".join(f'["{name}"] = "{consumer}"' for name, consumer in sorted(consumers.items()))
    know = {"@type": _LUA, "default_source_code": {"inline_string": _KNOW.replace("CONSUMERS", listed)}}
    need = {"@type": _LUA, "default_source_code": {"inline_string": _NEED}}
    return [
        {"name": "tierline.certificates", "typed_config": know},
        {**elsewhere("envoy.filters.http.lua", need, match), "name": "tierline.certified"},
    ]
