"""Request headers that frameworks obey and no cache's key holds.

A stranger who sends one could have others get what an application makes of it: a redirect to another host or to a
port that nobody listens on, the answer to another method or path, an error. (Kettle, "Practical Web Cache Poisoning",
2018, and "Web Cache Entanglement", 2020.) The first tier of a line and every cache take them out of what they pass
on. Those of engines/forwarded.py stay: the first tier writes them itself, and what they say is part of the key.
"""

from __future__ import annotations

OVERRIDES = (
    "X-Original-URL", "X-Original-URI", "X-Rewrite-URL", "X-HTTP-Method", "X-HTTP-Method-Override", "X-Method-Override",
)  # fmt: skip
"""Another path or method than that of the request: with one of these a service would see another request than the
policies of a gateway saw, so a gateway takes them out, too."""

UNKEYED = (
    # The host, port and path that links are made of.
    "X-Forwarded", "X-Host", "X-Forwarded-Server", "X-Original-Host", "X-HTTP-Host-Override",
    "X-Forwarded-Prefix", "X-Forwarded-Path", "X-Forwarded-By", "X-Original-For", "X-Original-Proto",
    # The scheme, by which an application redirects.
    "X-Forwarded-Scheme", "X-Forwarded-Protocol", "X-Forwarded-Ssl", "X-Scheme", "X-Url-Scheme", "Front-End-Https",
    *OVERRIDES,
    # Who the client is, where an application believes more than X-Forwarded-For.
    "X-Real-IP", "X-Client-IP", "Client-IP", "True-Client-IP", "X-Cluster-Client-IP", "CF-Connecting-IP",
    # What only the inside of a framework says (CVE-2025-29927), and of CGI (CVE-2016-5385).
    "X-Middleware-Subrequest", "Proxy",
)  # fmt: skip
"""By their usual names."""
