"""cache.nginx: the shared HTTP cache on nginx's proxy_cache."""

from __future__ import annotations

from tierline.engines.context import Context
from tierline.engines.nginx.config import STATUS, Fragment, hop_format, hop_log, ident, pass_on, upstream
from tierline.plan.model import Role
from tierline.tiers.base import System


class NginxCache(System):
    title = "nginx"
    engine = "nginx"
    levels = frozenset({"runs"})
    supports = frozenset(
        {"freshness", "validation", "vary", "stale_while_revalidate", "stale_if_error", "collapsing"}
    )
    endpoints = {"http": "http"}

    def contribute(self, role: Role, context: Context) -> Fragment:
        name, data, settings = ident(role), context.data(role.id), role.settings
        host, port = context.address(role.id, "http")
        (targets,) = list(role.upstreams.values())[:1]
        # nginx obeys stale-while-revalidate and stale-if-error of the response once background updates are
        # on; use_stale adds the stack's own stale-if-error. `updating` there would break freshness.
        stale = "error timeout http_500 http_502 http_503 http_504" if settings["stale_if_error"] else "off"
        http = (
            hop_format(role, f"${name}_verdict", "cache")
            + f"""\
    map $upstream_cache_status ${name}_status {{ {STATUS} }}
    map $upstream_cache_status ${name}_verdict {{ default pass; "~(?<{name}_u>.+)" ${name}_u; }}
    # A request with credentials is neither answered from the cache nor stored (RFC 9111, section 3.5).
    map $http_authorization ${name}_private {{ default 1; "" 0; }}
    proxy_cache_path {data}/copies levels=1:2 keys_zone={name}:{max(1, settings["memory"] >> 20)}m
        max_size={settings["disk"]} inactive=1d use_temp_path=off;
"""
            + upstream(f"{name}_next", targets, context)
        )
        servers = f"""\
    server {{
        listen {host}:{port};
{hop_log(role, context, f"${name}_verdict")}\
        location / {{
{pass_on()}\
            proxy_set_header X-Forwarded-For $http_x_forwarded_for;
            proxy_cache {name};
            proxy_cache_key $request_method$host$request_uri;
            proxy_cache_methods GET HEAD;
            proxy_cache_lock on;
            # Waiting longer than this for somebody else's fetch is worse than fetching twice.
            proxy_cache_lock_timeout 500ms;
            proxy_cache_revalidate on;
            proxy_cache_background_update on;
            proxy_cache_use_stale {stale};
            proxy_cache_bypass ${name}_private;
            proxy_no_cache ${name}_private;
            add_header Cache-Status "tierline-cache; ${name}_status" always;
            proxy_pass http://{name}_next;
{settings["raw"] or ""}
        }}
    }}
"""
        return Fragment(http=http, servers=servers)
