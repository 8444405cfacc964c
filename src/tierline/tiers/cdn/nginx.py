"""cdn.nginx: points of presence on nginx, pulling from the next tier and from the assets origin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tierline.engines.context import Context
from tierline.engines.nginx import caching
from tierline.engines.nginx.config import TLS, Fragment, hop_format, hop_log, ident, upstream
from tierline.plan.model import Role, Upstream
from tierline.tiers.base import System
from tierline.tiers.cache.tier import Purge
from tierline.tiers.cdn.tier import SIGNING_KEY

_MEMORY = 8 << 20


class NginxCDN(System):
    title = "nginx"
    engine = "nginx"
    levels = frozenset({"runs"})
    supports = frozenset(
        {
            "pull", "assets", "tls", "http2", "vary", "collapsing", "ranges", "gzip", "shield", "ttl_rules",
            "query_keys", "client_keys", "signed_urls", "hotlinks", "networks", "purge_path", "purge_prefix",
            "purge_tag", "stale_while_revalidate", "stale_if_error",
        }
    )  # fmt: skip
    lacks = {"brotli": "nginx's wheel has gzip alone", "countries": "not built yet"}
    endpoints = {"http": "http", "https": "https"}

    def contribute(self, role: Role, context: Context) -> Fragment:
        return self._origin(role, context) if role.part == "origin" else self._place(role, context)

    def purge(self, role: Role, context: Context, order: Purge) -> int:
        return caching.purge(context.folder(context.unit_of(role.id)), order)

    def _place(self, role: Role, context: Context) -> Fragment:
        plan, settings, name = context.plan, role.settings, ident(role)
        host, port = context.address(role.id, "http")
        _, tls_port = context.address(role.id, "https")
        chain, key = context.certificate(plan.domain, f"*.{plan.domain}", "localhost", host)
        targets = _behind(role, context)
        secure = targets[0].endpoint == "https"
        store = _store(role, context, name, f"{'https' if secure else 'http'}://{name}_next")
        stores = [store]
        if "assets" in role.upstreams:
            stores.append(_store(role, context, f"{name}_assets", f"http://{name}_assets_next"))
        told = f"""\
            add_header X-Cache "$tl_verdict from {role.region}" always;
            add_header Cache-Status "{role.region}; $tl_status" always;
"""
        tls = _trust(context) if secure else ""
        http = (
            hop_format(role, "$tl_verdict", "cdn")
            + caching.zone(
                name, str(context.folder(context.unit_of(role.id))), _MEMORY, settings["size"], "7d"
            )
            + TLS
            + _guests(role, context)
            + upstream(f"{name}_next", targets, context)
            + (upstream(f"{name}_assets_next", role.upstreams["assets"], context) if len(stores) > 1 else "")
        )
        listen = f"""\
        listen {host}:{port}%s;
        listen {host}:{tls_port} ssl%s;
        http2 on;
        ssl_certificate {chain};
        ssl_certificate_key {key};
"""
        servers = f"""\
    # Names that aren't ours: misdirected.
    server {{
{listen.replace("%s", " default_server")}        return 421;
    }}
    server {{
{listen.replace("%s", "")}        server_name {plan.domain} *.{plan.domain} localhost {host};
{hop_log(role, context, "$tl_verdict")}{caching.variables(store)}\
        set $tl_secret "{context.secret(SIGNING_KEY)}";
        gzip {"on" if settings["compress"] else "off"};
        gzip_proxied any;
        gzip_vary on;
        gzip_min_length 1024;
        gzip_types text/css application/javascript application/json image/svg+xml application/problem+json;
{_locations(role, context, stores, told)}\
{"".join(caching.direct(each, told + (tls if each is store else "")) for each in stores)}\
{settings["raw"] or ""}
    }}
{"".join(caching.fetching(each, tls if each is store else "") for each in stores)}"""
        return Fragment(http=http, servers=servers, memory=_MEMORY)

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


def _behind(role: Role, context: Context) -> tuple[Upstream, ...]:
    """The next tier; with a shield, the place that has it comes first for the others."""
    following = next(targets for name, targets in role.upstreams.items() if name != "assets")
    shield = role.settings["shield"]
    if shield is None or shield == role.region:
        return following
    (place,) = [each for each in context.plan.roles.values() if each.name == role.name and each.region == shield
                and each.part != "origin"]  # fmt: skip
    return (Upstream(place.id, "https", -1), *following) if following[0].endpoint == "https" else (
        Upstream(place.id, "http", -1), *following
    )  # fmt: skip


def _guests(role: Role, context: Context) -> str:
    """Who comes to a place: a client, or, at the shield, another place that shows that it is of the line."""
    shielded = role.settings["shield"] == role.region
    badge = f'"{context.secret("cdn.place")}" 0;' if shielded else ""
    name = ident(role)
    return f"""\
    map $http_x_tierline_place ${name}_entry {{ default 1; {badge} }}
    map ${name}_entry ${name}_client {{ default $remote_addr; 0 $http_x_forwarded_for; }}
"""


def _store(role: Role, context: Context, name: str, target: str) -> caching.Store:
    settings, place = role.settings, ident(role)
    shielded = settings["shield"] not in (None, role.region)
    return caching.Store(
        name=name,
        zone=place,
        # A redirect to HTTPS is not for who came by HTTPS.
        key="$scheme",
        target=target,
        entry=f"${place}_entry",
        headers=f"""\
            proxy_set_header X-Forwarded-For ${place}_client;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Tierline-Place "{context.secret("cdn.place") if shielded else ""}";
            proxy_set_header X-Device "";
            proxy_set_header X-Language "";
""",
        stale_while_revalidate=settings["stale_while_revalidate"],
        stale_if_error=settings["stale_if_error"],
    )


def _trust(context: Context) -> str:
    return f"""\
            proxy_ssl_trusted_certificate {context.authority};
            proxy_ssl_verify on;
            proxy_ssl_server_name on;
            proxy_ssl_name {context.plan.domain};
            proxy_ssl_session_reuse on;
"""


def _locations(role: Role, context: Context, stores: list[caching.Store], told: str) -> str:
    """A location for each path that a rule or the assets folder names, and one for the rest."""
    rules: dict[str, dict[str, Any]] = {rule["path"]: rule for rule in role.settings["rules"]}
    assets = _behaviours(context.project / role.settings["assets"]) if len(stores) > 1 else []
    found = []
    # nginx would redirect /films to /films/ where it has a location for the latter alone.
    bare = [path.rstrip("/") for path in (*assets, *rules) if path.endswith("/") and path != "/"]
    for path in dict.fromkeys([*assets, *rules, *bare, "/"]):
        over = [each for each in rules if path == each or (each.endswith("/") and path.startswith(each))]
        rule = rules[max(over, key=len)] if over else {}
        own = any(path == each or (each.endswith("/") and path.startswith(each)) for each in assets)
        match = path if path.endswith("/") and not (path == "/" and own) else f"= {path}"
        found.append(_location(match, rule, stores[-1] if own else stores[0], told, context))
        if match == "= /":
            found.append(_location("/", {}, stores[0], told, context))
    return "".join(found)


def _location(match: str, rule: dict[str, Any], store: caching.Store, told: str, context: Context) -> str:
    query, key, first, headers = rule.get("query"), "", "", ""
    if rule.get("signed"):
        first += '            if ($tl_signed = "") { return 403; }\n'
        query = query or ()
    if rule.get("sites"):
        own = f"{context.plan.domain} *.{context.plan.domain} localhost"
        first += f"            valid_referers none blocked {own} {' '.join(rule['sites'])};\n"
        first += "            if ($invalid_referer) { return 403; }\n"
    if rule.get("networks"):
        first += (
            "".join(f"            allow {each};\n" for each in rule["networks"]) + "            deny all;\n"
        )
    for each in rule.get("by", ()):
        key += {"client": " $http_x_client", "device": " $tl_device", "language": " $tl_language"}[each]
        if each != "client":
            headers += f"            proxy_set_header X-{each.capitalize()} $tl_{each};\n"
    target = ""
    if query is not None:
        target = "$tl_path" + ("?" if query else "") + "&".join(f"{each}=$arg_{each}" for each in query)
    body = caching.cached(store, told, key=key, target=target, ttl=rule.get("ttl"))
    for line in headers.splitlines():
        body = body.replace(f'            proxy_set_header {line.split()[1]} "";\n', "")
    return f"        location {match} {{\n{first}{headers}{body}        }}\n"


def _behaviours(folder: Path) -> list[str]:
    """Paths of what lies in the assets folder, as a CDN's path patterns would name it: the rest goes to the next
    tier."""
    names = sorted(each for each in folder.iterdir() if not each.name.startswith("."))
    found = ["/"] if (folder / "index.html").is_file() else []
    return found + [f"/{each.name}/" if each.is_dir() else f"/{each.name}" for each in names]
