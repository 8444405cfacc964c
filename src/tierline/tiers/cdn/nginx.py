"""cdn.nginx: points of presence on nginx, pulling from the next tier and from the assets origin."""

from __future__ import annotations

from tierline.engines.context import Context
from tierline.engines.nginx.config import STATUS, TLS, Fragment, hop_format, hop_log, ident, pass_on, upstream
from tierline.plan.model import Role
from tierline.tiers.base import System
from tierline.tiers.cdn.routes import behaviours


class NginxCDN(System):
    title = "nginx"
    engine = "nginx"
    levels = frozenset({"runs"})
    supports = frozenset({"pull", "assets", "tls", "http2", "vary", "collapsing", "ranges"})
    endpoints = {"http": "http", "https": "https"}

    def contribute(self, role: Role, context: Context) -> Fragment:
        return self._origin(role, context) if role.part == "origin" else self._place(role, context)

    def _place(self, role: Role, context: Context) -> Fragment:
        name, data = ident(role), context.data(role.id)
        next_tier = next(each for each in role.upstreams if each != "assets")
        secure = role.upstreams[next_tier][0].endpoint == "https"
        host, port = context.address(role.id, "http")
        _, tls_port = context.address(role.id, "https")
        chain, key = context.certificate(context.plan.domain, f"*.{context.plan.domain}", "localhost", host)
        trust = f"""\
            proxy_ssl_trusted_certificate {context.authority};
            proxy_ssl_verify on;
            proxy_ssl_server_name on;
            proxy_ssl_name {context.plan.domain};
            proxy_ssl_session_reuse on;
"""  # fmt: skip
        scheme = "https" if secure else "http"
        copies = f"""\
            proxy_cache {name};
            proxy_cache_key $request_method$host$request_uri$http_x_client$tl_auth;
            proxy_cache_methods GET HEAD;
            proxy_cache_lock on;
            proxy_cache_lock_timeout 3s;
            proxy_cache_revalidate on;
            proxy_cache_background_update on;
            proxy_cache_use_stale error timeout http_500 http_502 http_503 http_504;
            proxy_cache_bypass $http_authorization;
            proxy_no_cache $http_authorization;
            add_header X-Cache "$tl_cache from {role.region}" always;
            add_header Cache-Status "{role.region}; $tl_status" always;
"""
        assets = ""
        if "assets" in role.upstreams:
            assets = "".join(
                f"""\
        location {match} {{
{pass_on()}{copies}            proxy_pass http://{name}_assets;
        }}
"""
                for match in behaviours(context.project / role.settings["assets"])
            )
        http = (
            hop_format(role, "$tl_cache", "cdn")
            + f"""\
    map $upstream_cache_status $tl_status {{ {STATUS} }}
    map $upstream_cache_status $tl_cache {{ default pass; ~(?<tl_u>.+) $tl_u; }}
    map $http_authorization $tl_auth {{ default 1; "" 0; }}
    proxy_cache_path {data}/copies levels=1:2 keys_zone={name}:8m max_size={role.settings["size"]} inactive=7d
        use_temp_path=off;
{TLS}"""
            + upstream(f"{name}_next", role.upstreams[next_tier], context)
            + (upstream(f"{name}_assets", role.upstreams["assets"], context) if assets else "")
        )
        servers = f"""\
    server {{
        listen {host}:{port} default_server;
        listen {host}:{tls_port} ssl default_server;
        http2 on;
        server_name {context.plan.domain} *.{context.plan.domain} localhost {host};
        ssl_certificate {chain};
        ssl_certificate_key {key};
{hop_log(role, context, "$tl_cache")}\
        gzip on;
        gzip_proxied any;
        gzip_vary on;
        gzip_min_length 1024;
        gzip_types text/css application/javascript application/json image/svg+xml application/problem+json;
        proxy_set_header X-Forwarded-For $remote_addr;
        proxy_set_header X-Forwarded-Proto $scheme;
{assets}\
        location / {{
{pass_on()}\
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto $scheme;
{trust if secure else ""}{copies}            proxy_pass {scheme}://{name}_next;
        }}
{role.settings["raw"] or ""}
    }}
"""
        return Fragment(http=http, servers=servers)

    def _origin(self, role: Role, context: Context) -> Fragment:
        host, port = context.address(role.id, "http")
        root = (context.project / role.settings["assets"]).resolve()
        http = hop_format(role, "file", "cdn")
        servers = f"""\
    server {{
        listen {host}:{port};
        root {root};
{hop_log(role, context, "file")}\
        location / {{
            try_files $uri $uri/index.html =404;
            autoindex off;
            add_header Cache-Control "public, max-age={int(role.settings["assets_ttl"])}";
            add_header Surrogate-Key assets;
            add_header X-Content-Type-Options nosniff;
        }}
        location ~ /\\. {{ return 404; }}
    }}
"""
        return Fragment(http=http, servers=servers)
