"""cdn.varnish: points of presence whose copies Varnish keeps, with HAProxy before and behind it for TLS and rules."""

from __future__ import annotations

from collections.abc import Mapping

from tierline.engines.context import Context
from tierline.engines.haproxy.budget import unheld as limits_unheld
from tierline.engines.haproxy.callers import PAGES
from tierline.engines.haproxy.front import ENDPOINTS
from tierline.engines.varnish import admin
from tierline.engines.varnish.config import INTERIM, Cache, no_streams, vcl
from tierline.engines.varnish.engine import Fragment
from tierline.engines.varnish.forwarded import described
from tierline.plan.budgets import held
from tierline.plan.model import Budget, Role, Upstream
from tierline.tiers.base import System
from tierline.tiers.cache.tier import Purge
from tierline.tiers.cdn.common.places import front
from tierline.tiers.cdn.tier import FEATURES

_STREAMS = no_streams("cdn=nginx")


class VarnishCDN(System):
    title = "Varnish"
    engine = "varnish"
    origin = "nginx"
    levels = frozenset({"runs"})
    supports = frozenset(FEATURES) - frozenset(_STREAMS)
    lacks = {
        **dict.fromkeys(("refusal-host", "refusal-malformed", "refusal-huge", "refusal-slow"), PAGES),
        **_STREAMS,
        "unsized-uploads": "the beginning of a body is judged before Varnish gets it, as it takes what breaks off for whole",
        "purge-on-its-way": "a ban doesn't reach what its origin hasn't answered yet; nginx's purge does",
        "wire-answer-continue-unasked": INTERIM,
        "wire-answer-interim-unknown": INTERIM,
        "wire-answer-interim-many": INTERIM,
        "wire-date-refused": "HAProxy doesn't date its answers to what it can't parse",
        "wire-two-equal-hosts": "HAProxy takes the same Host twice for one",
    }
    endpoints = {**ENDPOINTS, "admin": "tcp"}

    def unheld(self, role: Role, budget: Budget) -> Mapping[str, str]:
        return limits_unheld(budget)

    def contribute(self, role: Role, context: Context) -> Fragment:
        settings = role.settings
        own = held(context.plan, role)
        cache = Cache(
            budget=own,
            tier="cdn",
            label=role.region,
            entry=False,  # the front takes out what is for caches
            obey=False,
            stale_while_revalidate=settings["stale_while_revalidate"],
            stale_if_error=settings["stale_if_error"],
            described=described(role, context, front=True),
            raw="",
            behind_front=True,
            gzip=settings["compress"],
        )
        behind = (Upstream(role.id, "behind", 0),)
        return Fragment(
            vcl=vcl(cache, behind, context), budget=own, memory=settings["size"], front=front(role, context)
        )

    def purge(self, role: Role, context: Context, order: Purge) -> None:
        admin.purge(context.address(role.id, "admin"), context.secret("varnish.admin"), order)
