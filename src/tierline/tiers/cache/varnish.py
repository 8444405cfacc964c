"""cache.varnish: the shared HTTP cache on Varnish, with a VCL that knows RFC 9111."""

from __future__ import annotations

from tierline.engines.context import Context
from tierline.engines.varnish import admin
from tierline.engines.varnish.config import INTERIM, Cache, hop, no_streams, vcl
from tierline.engines.varnish.engine import Fragment
from tierline.engines.varnish.forwarded import described
from tierline.plan.budgets import held
from tierline.plan.model import Role
from tierline.tiers.base import System
from tierline.tiers.cache.tier import Purge
from tierline.tiers.streaming import STREAMING

_STREAMS = no_streams("cache=nginx")

_CHUNKS = "Varnish ends a body that breaks off as if it were whole: no client may reach it directly"


class VarnishCache(System):
    title = "Varnish"
    engine = "varnish"
    levels = frozenset({"runs"})
    supports = frozenset(STREAMING) - frozenset(_STREAMS) | frozenset({
            "freshness", "validation", "vary", "stale_while_revalidate", "stale_if_error", "collapsing", "ranges",
            "invalidation", "client_control", "fragments", "purge_path", "purge_prefix", "purge_tag",
        })  # fmt: skip
    lacks = {
        "wire-answer-continue-unasked": INTERIM,
        "wire-answer-interim-unknown": INTERIM,
        "wire-answer-interim-many": INTERIM,
        **dict.fromkeys(
            ("refusal-host", "refusal-malformed", "refusal-huge"),
            "Varnish answers what it can't parse, or what doesn't fit, with 400 and no body",
        ),
        "wire-chunk-extension": "Varnish refuses chunks with extensions; the tier in front takes them out",
        "wire-chunk-size-words": _CHUNKS,
        "wire-chunk-size-0x": _CHUNKS,
        "wire-chunk-size-sign": _CHUNKS,
        "wire-chunk-size-huge": _CHUNKS,
        "wire-chunk-no-crlf": _CHUNKS,
        **_STREAMS,
        "purge-on-its-way": "a ban doesn't reach what its origin hasn't answered yet; nginx's purge does",
        # Of the table of RFC 9111, by the names in tests/contract/cache:
        "interim": "Varnish takes an interim answer for a broken one",
        "ask-max-stale": "Varnish keeps no stale copies that their origin doesn't allow",
        "authorization-must-revalidate": "frameworks add must-revalidate unasked: only public and s-maxage count",
    }
    endpoints = {"http": "http", "admin": "tcp"}

    def contribute(self, role: Role, context: Context) -> Fragment:
        settings = role.settings
        (targets,) = list(role.upstreams.values())[:1]
        own = held(context.plan, role)
        cache = Cache(
            budget=own,
            tier="cache",
            label="tierline-cache",
            entry=all(other.tier != "cdn" for other in context.plan.roles.values()),
            obey=settings["client_control"],
            stale_while_revalidate=settings["stale_while_revalidate"],
            stale_if_error=settings["stale_if_error"],
            described=described(role, context),
            raw=settings["raw"] or "",
        )
        # Varnish keeps copies in memory: what others have of it and of disk together, it has of memory alone.
        memory = max(settings["memory"], settings["disk"])
        return Fragment(vcl=vcl(cache, targets, context), budget=own, memory=memory, hop=hop(role))

    def purge(self, role: Role, context: Context, order: Purge) -> None:
        admin.purge(context.address(role.id, "admin"), context.secret("varnish.admin"), order)
