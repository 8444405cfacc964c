"""cdn.nginx: points of presence on nginx, pulling from the next tier and from the assets origin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tierline.engines.certificates import CHALLENGE
from tierline.engines.context import Context
from tierline.engines.forwarded import PLACE, proof
from tierline.engines.haproxy.front import LEAST, TYPES
from tierline.engines.nginx import caching, limits
from tierline.engines.nginx.config import TLS, Fragment, hop_format, hop_log, ident, upstream
from tierline.engines.nginx.forwarded import REFUSED, SEEN, either, setting
from tierline.plan.budgets import held
from tierline.plan.model import Budget, Role, Upstream
from tierline.tiers.base import System
from tierline.tiers.cache.tier import Purge
from tierline.tiers.cdn.common.files import files
from tierline.tiers.cdn.common.places import networks, shielded, to_https
from tierline.tiers.cdn.common.routes import behaviours
from tierline.tiers.cdn.tier import FEATURES, SIGNING_KEY

_MEMORY = 8 << 20


class NginxCDN(System):
    title = "nginx"
    engine = "nginx"
    counts_bodies = True
    levels = frozenset({"runs"})
    supports = frozenset(FEATURES) - {"request_trailers"}
    lacks = {
        "request_trailers": "nginx ends an HTTP/2 connection on which a request has trailers; use cdn=varnish",
        "leaves-before-copy": "nginx asks on for what it may keep until the answer begins",
        "wire-max-forwards": "nginx passes Max-Forwards on as it came",
        "wire-request-named": "nginx can't take out of a request the fields that its Connection names; use cdn=varnish",
    }
    endpoints = {"http": "http", "https": "https"}

    def unheld(self, role: Role, budget: Budget) -> Mapping[str, str]:
        return limits.unheld(budget)

    def contribute(self, role: Role, context: Context) -> Fragment:
        return files(role, context) if role.part == "origin" else self._place(role, context)

    def purge(self, role: Role, context: Context, order: Purge) -> None:
        caching.purge(context.folder(context.unit_of(role.id)), order)

    def _place(self, role: Role, context: Context) -> Fragment:
        plan, settings, name = context.plan, role.settings, ident(role)
        host, port = context.address(role.id, "http")
        _, tls_port = context.address(role.id, "https")
        chain, key = context.certificate(plan.domain, f"*.{plan.domain}", "localhost", host)
        targets = _behind(role, context)
        secure = plan.speaks_tls(targets[0])
        store = _store(role, context, name, f"{'https' if secure else 'http'}://{name}_next")
        stores = [store]
        if "assets" in role.upstreams:
            stores.append(_store(role, context, f"{name}_assets", f"http://{name}_assets_next", onward=False))
        told = f"""\
            more_set_headers 'X-Cache: $tl_verdict from {role.region}';
            more_set_headers 'Cache-Status: {role.region}; $tl_status';
            # Nothing over plain HTTP may say it (RFC 6797, 7.2), and the balancer was asked over TLS.
            proxy_hide_header Strict-Transport-Security;
            add_header Strict-Transport-Security ${name}_hsts always;
"""
        tls = _trust(context) if secure else ""
        http = (
            hop_format(role, f"${name}_verdict", "cdn")
            + caching.zone(
                name, str(context.folder(context.unit_of(role.id))), _MEMORY, settings["size"], "7d"
            )
            + TLS
            + _ACCEPTS.format(
                "br" if settings["compress"] else '""', "gzip" if settings["compress"] else '""'
            )
            + _guests(role, context)
            + "".join(caching.ports(each) for each in stores)
            + _geography(role, context)
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
{listen.replace("%s", " default_server")}{hop_log(role, context, f"${name}_verdict")}\
{store.limits}{limits.problems(plan, held(plan, role))}\
        set $tl_why "not our name";
        location / {{ return 421; }}
    }}
    server {{
{listen.replace("%s", "")}        server_name {plan.domain} *.{plan.domain} localhost {host};
{caching.KEPT_OPEN}{store.limits}{limits.problems(plan, held(plan, role))}\
{hop_log(role, context, f"${name}_verdict")}{caching.variables(store)}\
{REFUSED}\
        set $tl_why "";
        error_page 403 @{name}_refused;
{f"        if (${name}_refused) {{ set $tl_why country; return 403; }}{chr(10)}" if settings["countries"] else ""}\
{_secured(name, to_https(role, context))}\
        set $tl_secret "{context.secret(SIGNING_KEY)}";
        gzip {"on" if settings["compress"] else "off"};
        gzip_proxied any;
        gzip_vary on;
        gzip_min_length {LEAST};
        gzip_types {" ".join(each for each in TYPES if each != "text/html")};
        set $tl_compressed "{" ".join(TYPES) if settings["compress"] else ""}";
{_locations(role, context, stores, told)}\
        location @{name}_refused {{
            types {{ }}
            default_type application/problem+json;
            return 403 '{{"type":"about:blank","status":403,"title":"Forbidden","detail":"$tl_why","trace_id":"$tl_trace"}}';
        }}
{"".join(caching.direct(each, told + (tls if each is store else "")) for each in stores)}\
{settings["raw"] or ""}
    }}
{"".join(caching.fetching(each, tls if each is store else "") for each in stores)}"""
        return Fragment(
            http=http, servers=servers, memory=_MEMORY, proofs={f"{name}_next": proof(targets, context)}
        )


def _secured(name: str, port: str | None) -> str:
    return (
        ""
        if port is None
        else f"        if (${name}_plain) {{ return 308 https://$tl_name{port}$request_uri; }}\n"
    )


_ACCEPTS = """\
    map $http_accept_encoding $tl_accepts {{
        default ""; "~*(^|[, ])br *(;q=(1|0[.][0-9]*[1-9])[0-9.]*)? *(,|$)" {};
        "~*(^|[, ])gzip *(;q=(1|0[.][0-9]*[1-9])[0-9.]*)? *(,|$)" {};
    }}
"""


def _behind(role: Role, context: Context) -> tuple[Upstream, ...]:
    """The next tier; with a shield, the place that has it comes first for the others."""
    following = next(targets for name, targets in role.upstreams.items() if name != "assets")
    return (*shielded(role, context), *following)


def _guests(role: Role, context: Context) -> str:
    """Who comes to a place: a client, or, at the shield, another place that shows that it is of the line."""
    shielded = role.settings["shield"] == role.region
    badge = f'"{context.secret("cdn.place")}" 0;' if shielded else ""
    name = ident(role)
    return f"""\
    map $http_x_tl_place ${name}_entry {{ default 1; {badge} }}
    map ${name}_entry ${name}_place {{ 0 1; default ""; }}
{either(f"${name}_place", name, SEEN)[0]}\
    map $http_x_forwarded_for|${name}_place ${name}_client {{ "~^(?<tl_c>.+)[|]1$" $tl_c; default $remote_addr; }}
    # What is no request comes to no server's rules: its status alone tells.
    map "$tl_why|$status|$upstream_addr|$tl_verdict" ${name}_verdict {{
        "~^(?<tl_w>[^|]+)" "refused: $tl_w"; "~^.40[08]..pass$" "refused: malformed"; "~^.405..pass$" "refused: method";
        "~^.(413|414|431)..pass$" "refused: too large"; default $tl_verdict;
    }}
    map ${name}_x_forwarded_proto:$upstream_http_strict_transport_security ${name}_hsts {{
        default ""; "~^https:(?<tl_h>.+)" $tl_h;
    }}
    map ${name}_x_forwarded_proto$uri ${name}_plain {{ default ""; "~^http{CHALLENGE}" ""; "~^http/" 1; }}
"""


def _geography(role: Role, context: Context) -> str:
    """Where clients come from: whether their country is refused, and for each rule with networks, whether they are
    outside. Another place has judged already, and is let in."""
    name, countries, found = ident(role), role.settings["countries"], ""
    if countries:
        allow = countries["allow"]
        lines = networks(context.plan.region, tuple(allow or countries["deny"]))
        listed = "".join(f"        {network} {int(not allow)};\n" for network, _ in lines)
        found = f"""\
    geo ${name}_client ${name}_foreign {{
        default {int(bool(allow))};
{listed}    }}
    map ${name}_entry${name}_foreign ${name}_refused {{ 11 1; default 0; }}
"""
    for number, rule in enumerate(role.settings["rules"]):
        if rule["networks"]:
            inside = "".join(f" {each} 0;" for each in rule["networks"])
            found += f"    geo ${name}_client ${name}_outside_{number} {{ default 1;{inside} }}\n"
    return found


def _store(role: Role, context: Context, name: str, target: str, onward: bool = True) -> caching.Store:
    settings, place = role.settings, ident(role)
    return caching.Store(
        targeted=True,
        name=name,
        zone=place,
        # A redirect is only for who asked by the same scheme, host and port.
        key=f"${place}_x_forwarded_proto",
        host="$tl_authority",
        target=target,
        entry=f"${place}_entry",
        headers=f"""\
{setting(either("", place, SEEN)[1])}\
            proxy_set_header {PLACE} "{context.secret("cdn.place") if onward else ""}";
            proxy_set_header X-Device "";
            proxy_set_header X-Language "";
""",
        limits=limits.server(held(context.plan, role)),
        pages=limits.pages(held(context.plan, role), " " * 12),
        refusals=limits.problems(context.plan, held(context.plan, role)),
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
    assets = _paths(role, context) if len(stores) > 1 else []
    found = []
    # nginx would redirect /films to /films/ where it has a location for the latter alone.
    bare = [path.rstrip("/") for path in (*assets, *rules) if path.endswith("/") and path != "/"]
    for path in dict.fromkeys([*assets, *rules, *bare, "/"]):
        over = [each for each in rules if path == each or (each.endswith("/") and path.startswith(each))]
        rule = rules[max(over, key=len)] if over else {}
        # The folder's page at / is that page alone: what else lies below / is the next tier's.
        below = (each for each in assets if each.endswith("/") and each != "/")
        own = path in assets or any(path.startswith(each) for each in below)
        match = path if path.endswith("/") and not (path == "/" and own) else f"= {path}"
        found.append(_location(match, rule, stores[-1] if own else stores[0], told, role, context))
        if match == "= /":
            found.append(_location("/", rules.get("/", {}), stores[0], told, role, context))
    return "".join(found)


def _location(
    match: str, rule: dict[str, Any], store: caching.Store, told: str, role: Role, context: Context
) -> str:  # fmt: skip
    query, key, first, headers = rule.get("query"), "", "", ""
    entry = f"${ident(role)}_entry"

    def refuse(why: str, gate: str, closed: str) -> str:
        # Another place has judged already.
        return (
            f'            set $tl_gate "{entry}{gate}";\n'
            f'            if ($tl_gate = "{closed}") {{ set $tl_why {why}; return 403; }}\n'
        )

    if rule.get("signed"):
        first += refuse("signature", "$tl_signed", "1")
        query = query or ()
    if rule.get("sites"):
        own = f"{context.plan.domain} *.{context.plan.domain} localhost"
        first += f"            valid_referers none blocked {own} {' '.join(rule['sites'])};\n"
        first += refuse("site", "$invalid_referer", "11")
    if rule.get("networks"):
        number = role.settings["rules"].index(rule)
        first += refuse("network", f"${ident(role)}_outside_{number}", "11")
    if first:
        first += f"            error_page 403 @{ident(role)}_refused;\n"
    for each in rule.get("by", ()):
        key += {"client": " $http_x_client", "device": " $tl_device", "language": " $tl_language"}[each]
        if each != "client":
            headers += f"            proxy_set_header X-{each.capitalize()} $tl_{each};\n"
    target = ""
    if query is not None:
        target = "$tl_path" + ("?" if query else "") + "&".join(f"{each}=$arg_{each}" for each in query)
    keyed = ""
    if store.name.endswith("_assets"):
        # Files come in the coding that is told to their origin, so that a client's own words don't make a copy each.
        key, keyed = f"{key} $tl_accepts", "Vary"
        headers += "            proxy_set_header Accept-Encoding $tl_accepts;\n"
    body = caching.cached(store, told, key=key, target=target, ttl=rule.get("ttl"), keyed=keyed)
    for line in headers.splitlines():
        body = body.replace(f'            proxy_set_header {line.split()[1]} "";\n', "")
    return f"        location {_quoted(match)} {{\n{first}{headers}{body}        }}\n"


def _quoted(match: str) -> str:
    """A location's path as one word of the configuration: names of files may hold spaces and braces."""
    exact, path = ("= ", match[2:]) if match.startswith("= ") else ("", match)
    if not set(path) & set(" \t;{}\"'\\#"):
        return match
    return exact + '"' + path.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _paths(role: Role, context: Context) -> list[str]:
    """What the assets origin has: paths alone, and those that end in / with all below."""
    return [each.removeprefix("= ") for each in behaviours(role.settings, context.project)]
