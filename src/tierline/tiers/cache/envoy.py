"""cache.envoy: the shared HTTP cache on Envoy's cache filter, with RFC 9111's finer points in Lua scripts."""

from __future__ import annotations

from tierline.engines.context import Context
from tierline.engines.envoy import caching, raw
from tierline.engines.envoy.clusters import cluster, targets
from tierline.engines.envoy.listeners import Fragment
from tierline.plan.model import Role
from tierline.tiers.base import System
from tierline.tiers.cache.tier import Purge


class EnvoyCache(System):
    title = "Envoy"
    engine = "envoy"
    levels = frozenset({"runs"})
    supports = frozenset(
        {
            "freshness", "validation", "vary", "stale_while_revalidate", "stale_if_error", "ranges", "invalidation",
            "client_control", "purge_path", "purge_prefix", "purge_tag",
        }
    )  # fmt: skip
    lacks = {
        "fragments": "Envoy has no ESI; use varnish",
        "collapsing": "Envoy's cache asks once for each that waits; use nginx or varnish",
        # Of the table of RFC 9111, by the names in tests/contract/cache:
        "ask-only-if-cached-miss": "whether there is a copy is known too late for a refusal of ours",
        "authorization-public": "answers to credentials are never kept here",
        "authorization-s-maxage": "answers to credentials are never kept here",
        "authorization-must-revalidate": "answers to credentials are never kept here",
        "collapsed": "Envoy's cache asks once for each that waits",
        "range-if-same": "whether If-Range names the copy is known too late: the whole is given",
    }
    endpoints = {"http": "http"}

    def contribute(self, role: Role, context: Context) -> Fragment:
        settings = role.settings
        ((name, upstreams),) = list(role.upstreams.items())[:1]
        behind = targets(upstreams, context)
        folder = context.folder(context.unit_of(role.id))
        store = caching.Store(
            path=f"{folder}/copies-{role.id}/",
            size=settings["disk"],
            token=context.secret("envoy.purge"),
            # A CDN in front purges by these, too.
            entry=all(other.tier != "cdn" for other in context.plan.roles.values()),
            obey=settings["client_control"],
            own=f"{role.id}.itself",
            stale_while_revalidate=settings["stale_while_revalidate"],
            stale_if_error=settings["stale_if_error"],
        )
        filters = caching.filters(store)
        filters += raw.filters(role)
        return Fragment(
            role=role,
            filters=filters,
            virtual_hosts=[
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": caching.routes(name, f"{name}.direct", store.entry),
                }
            ],
            clusters=[
                cluster(name, behind, **caching.judging(store)),
                cluster(f"{name}.direct", behind),
                caching.itself(store.own, context.address(role.id, "http")),
            ],
            stripped=caching.POISON,
            passes=None if settings["raw"] else caching.PASSES,
            adding=caching.adding(store.entry),
            folders=[store.path],
            manager={
                "via": "1.1 tierline",
                # A method that nobody knows isn't safe: its answer, too, makes copies old.
                "http_protocol_options": {"allow_chunked_length": False, "allow_custom_methods": True},
            },
        )

    def purge(self, role: Role, context: Context, order: Purge) -> int:
        return caching.purge(context.address(role.id, "http"), context.secret("envoy.purge"), order)
