"""cache.nginx: the shared HTTP cache on nginx's proxy_cache, with RFC 9111's finer points in cache.js."""

from __future__ import annotations

from tierline.engines.context import Context
from tierline.engines.forwarded import proof
from tierline.engines.nginx import caching, limits
from tierline.engines.nginx.config import Fragment, hop_format, hop_log, ident, upstream
from tierline.engines.nginx.forwarded import REFUSED, said, setting
from tierline.engines.unkeyed import UNKEYED
from tierline.plan.budgets import held
from tierline.plan.model import Role
from tierline.tiers.base import System
from tierline.tiers.cache.tier import Purge
from tierline.tiers.streaming import STREAMING

_STREAMS = {
    "leaves-before-copy": "nginx asks on for what it may keep until the answer begins",
}


class NginxCache(System):
    title = "nginx"
    engine = "nginx"
    levels = frozenset({"runs"})
    supports = frozenset(STREAMING) - frozenset(_STREAMS) | frozenset({
            "freshness", "validation", "vary", "stale_while_revalidate", "stale_if_error", "collapsing", "ranges",
            "invalidation", "client_control", "purge_path", "purge_prefix", "purge_tag",
        })  # fmt: skip
    lacks = {
        **_STREAMS,
        "fragments": "nginx knows SSI, not ESI; use varnish",
        # Of the table of RFC 9111, by the names in tests/contract/cache:
        "hop-request-named": "nginx can't take out of a request the fields that its Connection names",
        "wire-max-forwards": "nginx passes Max-Forwards on as it came",
        "wire-request-named": "nginx can't take out of a request the fields that its Connection names; use cache=varnish",
        "vary-long": "nginx keeps no answer whose Vary has more than 128 letters",
        "authorization-must-revalidate": "frameworks add must-revalidate unasked: only public and s-maxage count",
        "ask-max-age": "a copy's age is known only after it was found; no-cache and max-age=0 count",
        "ask-min-fresh": "a copy's age is known only after it was found",
        "ask-max-stale": "nginx serves stale what its origin allows, not what a client asks for",
    }
    endpoints = {"http": "http"}

    def contribute(self, role: Role, context: Context) -> Fragment:
        settings = role.settings
        host, port = context.address(role.id, "http")
        (targets,) = list(role.upstreams.values())[:1]
        maps, fields = said(role, context, ident(role))
        store = caching.Store(
            name=ident(role),
            zone=ident(role),
            # A redirect is only for who asked by the same scheme, host and port.
            key=fields.get("X-Forwarded-Proto", "$http_x_forwarded_proto"),
            host="$tl_authority" if fields else "$http_host",
            target=f"http://{ident(role)}_next",
            # A CDN in front purges by these, too.
            entry=str(int(all(other.tier != "cdn" for other in context.plan.roles.values()))),
            headers=setting({name: value for name, value in fields.items() if name not in UNKEYED}),
            limits=limits.server(held(context.plan, role)),
            pages=limits.pages(held(context.plan, role), " " * 12),
            refusals=limits.problems(context.plan, held(context.plan, role)),
            obey=settings["client_control"],
            skips=True,
            stale_while_revalidate=settings["stale_while_revalidate"],
            stale_if_error=settings["stale_if_error"],
        )
        status = "            more_set_headers 'Cache-Status: tierline-cache; $tl_status';\n"
        folder = str(context.folder(context.unit_of(role.id)))
        http = (
            hop_format(role, "$tl_verdict", "cache")
            + maps
            + caching.ports(store)
            + caching.zone(store.zone, folder, settings["memory"], settings["disk"], "1d")
            + upstream(f"{store.name}_next", targets, context)
        )
        servers = f"""\
    server {{
        listen {host}:{port};
        # Head and body leave together: a second packet wakes who waits for them once more.
        tcp_nopush on;
{caching.KEPT_OPEN}{store.limits}{limits.problems(context.plan, held(context.plan, role))}\
{hop_log(role, context, "$tl_verdict")}{REFUSED if fields else ""}{caching.variables(store)}\
        location / {{
{caching.cached(store, status + (settings["raw"] or ""))}\
        }}
{caching.direct(store, status)}\
    }}
{caching.fetching(store)}"""
        return Fragment(
            http=http,
            servers=servers,
            memory=settings["memory"],
            proofs={f"{store.name}_next": proof(targets, context)},
        )

    def purge(self, role: Role, context: Context, order: Purge) -> None:
        caching.purge(context.folder(context.unit_of(role.id)), order)
