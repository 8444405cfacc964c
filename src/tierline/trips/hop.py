"""A hop: what one tier did to one request. One JSON line per hop in a unit's hop file.

The wire format is the cheapest that every engine's access log can write. Field names are short because an
engine writes them on every request; meanings follow OpenTelemetry (a hop is a span).

    {"f":"01","s":200,"t":"<32 hex trace id>","i":"<16 hex span id>","p":"<16 hex parent or empty>",
     "T":"gateway","y":"envoy","z":"a","b":1763967368123456,"d":1900,"v":"allowed","a":{…}}

    f  W3C trace flags, "01" when sampled: comes first so that a reader can count without parsing
    s  status: an HTTP status code, or 0 / 1 for ok / error of something that is not HTTP
    T  tier    y  system    z  zone, or region where there is no zone
    b  start, microseconds since the epoch    d  duration, microseconds
    q  resolution of b and d in microseconds, when it is not 1 (nginx: 1000)
    v  verdict: one or two words    n  name (route, query)    a  attributes, OpenTelemetry's names
    r  the gateway's route    o  the policy that spoke
    h, l  who answered this tier, an address or a role, and in how many microseconds (with a dot seconds, with
       ms milliseconds): only where a command stands behind it, whose requests nobody else counts
    u  who asks (a key's consumer, a token's subject, a certificate): comes last and is written as it came, so that
       whatever it holds ends with the line
"""

from __future__ import annotations

from typing import Any

import msgspec


class Hop(msgspec.Struct, kw_only=True, omit_defaults=True):
    flags: str = msgspec.field(name="f", default="01")
    status: int = msgspec.field(name="s", default=0)
    trace: str = msgspec.field(name="t", default="")
    span: str = msgspec.field(name="i", default="")
    parent: str = msgspec.field(name="p", default="")
    tier: str = msgspec.field(name="T", default="")
    system: str = msgspec.field(name="y", default="")
    zone: str = msgspec.field(name="z", default="")
    start_us: int = msgspec.field(name="b", default=0)
    duration_us: int = msgspec.field(name="d", default=0)
    resolution_us: int = msgspec.field(name="q", default=1)
    verdict: str = msgspec.field(name="v", default="")
    name: str = msgspec.field(name="n", default="")
    attributes: dict[str, Any] = msgspec.field(name="a", default_factory=dict)
