"""A caching location of nginx: what cache.nginx and cdn.nginx have in common.

    client ─▶ location / ──hit──▶ client
                 │ miss
                 ▼
              NAME.fetch.sock: the same nginx again, where cache.js judges what the origin says
                 │
                 ▼
              the next tier

Requests that have nothing to do with the cache (unsafe methods, credentials, URLs whose answers are never
stored) go straight to the next tier from `@NAME_direct`, and wait for nobody. A URL whose answers were not to be
stored several times in a row goes from `@NAME_plain` for two seconds: without cache.js, which is more than half of
what such a request costs.
"""

from __future__ import annotations

import socket
from importlib import resources
from pathlib import Path

import msgspec

from tierline.engines.forwarded import LINE
from tierline.engines.nginx.config import pass_on
from tierline.engines.sockets import short
from tierline.errors import RunError

STATUS = (
    "default fwd=bypass; MISS fwd=uri-miss; BYPASS fwd=request; EXPIRED fwd=stale; STALE hit; UPDATING hit; "
    'REVALIDATED "hit; fwd=stale; fwd-status=304"; HIT hit;'
)
"""nginx's cache status in the words of Cache-Status (RFC 9211)."""

PURGE_SOCKET = "purge.sock"
"""In the unit's folder, which only its own user can enter."""


class Store(msgspec.Struct, kw_only=True):
    """One cache and how it is used."""

    name: str
    zone: str
    """Where its copies are; several may share one."""
    key: str
    """What tells copies apart besides the URL and Vary."""
    target: str
    """`http://NAME_next`: the next tier."""
    entry: str
    """`1` where clients come, and what is for caches is taken out; else `0`, or a variable."""
    headers: str
    """Lines of every request that goes on."""
    limits: str
    """Lines of its servers: what they accept, and how long they wait."""
    pages: str
    """Lines of a location with an `error_page` of its own: what the others inherit."""
    refusals: str
    """Lines of its servers: what is said beyond the limits."""
    obey: bool = False
    """Whether a request's own Cache-Control counts."""
    targeted: bool = False
    """Whether CDN-Cache-Control (RFC 9213) comes before Cache-Control and Expires."""
    stale_while_revalidate: float = 0
    stale_if_error: float = 0
    host: str = "$http_host"
    """The authority that the client asked for, as it wrote it."""
    skips: bool = False
    """Whether it has `@NAME_plain`; `entry` is no variable then."""


def http(memory: int) -> str:
    """Lines of the http block, once for all caches of a unit. memory: bytes for what is known about copies."""
    size = max(1, memory >> 22)
    return f"""\
    js_import cache from cache.js;
    js_shared_dict_zone zone=versions:1m type=number;
    js_shared_dict_zone zone=passing:1m type=number timeout=60s evict;
    js_shared_dict_zone zone=policies:{size}m timeout=7d evict;
    js_shared_dict_zone zone=renewed:{size}m timeout=7d evict;
    js_shared_dict_zone zone=standby:1m type=number timeout=1d evict;
    js_shared_dict_zone zone=tagged:{2 * size}m type=number;
    # cache.js can write it and `map` can read it, which costs a tenth of asking cache.js.
    keyval_zone zone=plain:1m ttl=2s;
    keyval $tl_url$tl_credentials $tl_plain zone=plain;
    map $http_upgrade $tl_upgrades {{ default ""; "~*^websocket$" 1; }}
    map $http_authorization $tl_credentials {{ "" ""; default " a"; }}
    map $tl_plain:$request_method:$http_cache_control $tl_skip {{
        "~^1:(GET|HEAD):(?!.*only-if-cached)" 1; default "";
    }}
    js_set $tl_way cache.way;
    js_set $tl_asks cache.asks;
    js_set $tl_version cache.version;
    js_set $tl_standby cache.standby;
    js_set $tl_signed cache.signed;
    map $request_uri $tl_path {{ "~^(?<tl_p>[^?]*)" $tl_p; }}
    map $http_if_none_match $tl_since {{ "" $http_if_modified_since; default ""; }}
    map "$request_method $http_if_range" $tl_range {{ ~^HEAD ""; "~ W/" ""; default $http_range; }}
    map $request_method $tl_head {{ HEAD 1; default ""; }}
    map $http_user_agent $tl_device {{
        default desktop; "~*ipad|tablet|android(?!.*mobile)" tablet; "~*mobi|iphone|ipod" mobile;
    }}
    map $http_accept_language $tl_language {{ default ""; "~*^(?<tl_l>[a-z]{{2}})" $tl_l; }}
    map $upstream_cache_status $tl_status {{ {STATUS} }}
    map $upstream_cache_status $tl_verdict {{ default pass; "~(?<tl_u>.+)" $tl_u; }}
    server {{
        listen unix:{PURGE_SOCKET};
        location = /purge {{ js_content cache.purge; }}
        location / {{ return 404; }}
    }}
"""


def script() -> str:
    """cache.js, written beside nginx.conf."""
    return (resources.files(__package__) / "cache.js").read_text()


KEPT_OPEN = """\
        # Copies that are often asked for stay open: a new one has another number, by which nginx knows it.
        open_file_cache max=512 inactive=10s;
"""
"""Lines of a server that keeps copies."""


def zone(name: str, folder: str, memory: int, disk: int, kept: str) -> str:
    """Where copies are: in a folder that a new start of the line empties, as a purge must not be undone by it."""
    return f"""\
    proxy_cache_path {folder}/copies/{name} levels=1:2 keys_zone={name}:{max(1, memory >> 20)}m
        max_size={disk} inactive={kept} use_temp_path=off;
"""


def ports(store: Store) -> str:
    """Of the http block: the port in a copy's key, none where it is the scheme's own (RFC 9110, 4.2.3)."""
    return f"""\
    map {store.key}|{store.host} ${store.name}_port {{
        "~^https[|].*:443$" ""; "~^http[|].*:80$" ""; "~(?<tl_{store.name}>:[0-9]+)$" $tl_{store.name}; default "";
    }}
"""


def variables(store: Store, fetching: bool = False) -> str:
    """What cache.js asks about its server. fetching: the one behind the cache."""
    port = "$tl_port_kept" if fetching else f"${store.name}_port"
    return f"""\
        set $tl_entry {store.entry};
        set $tl_obey {int(store.obey)};
        set $tl_targeted {int(store.targeted)};
        set $tl_skips {int(store.skips)};
        set $tl_url "$host{port}$request_uri";
        set $tl_ttl $http_x_tierline_ttl;
        set $tl_stale_while_revalidate {store.stale_while_revalidate:g};
        set $tl_stale_if_error {store.stale_if_error:g};
"""


def cached(
    store: Store, more: str = "", *, key: str = "", target: str = "", ttl: float | None = None, keyed: str = ""
) -> str:  # fmt: skip
    """The body of a location that answers from copies.

    key: more that tells copies apart. keyed: `Vary`, when the key already says all that it would. target: path and
    query that the next tier is asked for, when they are not the request's own: what isn't in the key must not reach it.
    ttl: how long, whatever the origin says.
    """
    skip = f"""\
            error_page 419 = @{store.name}_plain;
            if ($tl_skip) {{ return 419; }}
"""
    target_url = f'            set $tl_url "$host${store.name}_port{target}";\n' if target else ""
    return f"""\
{target_url}\
            # Statuses that nobody sends, to go to the location that is named: nginx has no other way from an `if`.
            # What is refused where they lead has a page, too.
            recursive_error_pages on;
{store.pages}\
            error_page 420 = @{store.name}_upgraded;
            if ($tl_upgrades) {{ return 420; }}
{skip if store.skips else ""}\
            error_page 418 = @{store.name}_direct;
            if ($tl_way = direct) {{ return 418; }}
            if ($tl_way = never) {{ return 504; }}
            if ($tl_way = refused) {{ return 405; }}
{pass_on(store.host)}{store.headers}\
            # nginx wants both conditions to hold, takes a weak tag in If-Range for a strong one, and cuts HEAD.
            more_set_input_headers "If-Modified-Since: $tl_since" "Range: $tl_range";
            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
            proxy_set_header X-Tierline-TTL "{"" if ttl is None else int(ttl)}";
            proxy_cache {store.zone};
            proxy_cache_key "{store.key}{key} $tl_url $tl_version";
            # A copy of GET's answer answers HEAD. Without one HEAD goes on as HEAD, whose answer may say other things
            # (tus: Upload-Offset), and is no copy for GET.
            proxy_cache_methods GET HEAD;
            proxy_cache_convert_head off;
            proxy_no_cache $tl_head;
            proxy_cache_lock on;
            # nginx looks again every 500 ms. What isn't stored is known after the first time, and never waits.
            proxy_cache_lock_timeout 1s;
            proxy_cache_revalidate on;
            # Stale is served for as long as `judge` said; use_stale would serve it for ever.
            proxy_cache_background_update on;
            proxy_cache_bypass $tl_asks;
            proxy_ignore_headers Expires Set-Cookie {keyed};
            proxy_pass_header Date;
            # What is kept is passed on from its file: sendfile would wait for 1460 bytes of it, reading doesn't.
            sendfile off;
            proxy_force_ranges on;
            if_modified_since before;
            js_header_filter cache.answer;
{more}\
            proxy_pass http://{store.name}_fetch{target};
"""


def direct(store: Store, more: str = "") -> str:
    """The named locations for what has nothing to do with copies."""
    upgraded = (
        pass_on(store.host)
        .replace('Connection "";', "Connection upgrade;")
        .replace('Upgrade "";', "Upgrade websocket;")
    )
    plain = f"""\
        location @{store.name}_plain {{
{_unasked(store.host)}{store.headers}\
{STREAMED}\
            proxy_pass_header Date;
            proxy_ignore_headers {_FOREIGN};
            proxy_hide_header X-Tierline-Born;
            proxy_hide_header X-Tierline-Control;
            {"proxy_hide_header Surrogate-Key;" if store.entry == "1" else ""}
{more}\
            proxy_pass {store.target};
        }}
"""
    return f"""\
{plain if store.skips else ""}\
        location @{store.name}_direct {{
{_unasked(store.host)}{store.headers}\
{STREAMED}\
            proxy_pass_header Date;
            proxy_ignore_headers {_FOREIGN};
            js_header_filter cache.passed;
{more}\
            proxy_pass {store.target};
        }}
        location @{store.name}_upgraded {{
{upgraded}{store.headers}\
            proxy_ignore_headers {_FOREIGN};
            js_header_filter cache.passed;
{more}\
            proxy_pass {store.target};
        }}
"""


STREAMED = """\
            # What nobody keeps goes on as it comes, both ways: no event of a stream, no part of an upload waits.
            proxy_buffering off;
            proxy_request_buffering off;
            # Trailers for who asks for them: gRPC's status comes in one.
            proxy_pass_trailers on;
            proxy_set_header TE $tl_te;
            proxy_set_header Connection $tl_te;
"""

_FOREIGN = "X-Accel-Expires X-Accel-Redirect X-Accel-Limit-Rate X-Accel-Buffering X-Accel-Charset"
"""An origin doesn't steer nginx."""


def _unasked(host: str) -> str:
    """Headers of what goes on directly, which says itself what its connection is for."""
    return (
        pass_on(host)
        .replace('            proxy_set_header Connection "";\n', "")
        .replace('            proxy_set_header TE "";\n', "")
    )


def fetching(store: Store, more: str = "") -> str:
    """The server behind the cache: asks the next tier, and judges."""
    ask = f"""\
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_set_header {LINE} $tl_line;
            proxy_set_header X-Tierline-TTL "";
            proxy_next_upstream error timeout;
            proxy_next_upstream_tries 2;
            proxy_next_upstream_timeout 5s;
            # The cache in front reads it at once, and buffers what it keeps.
            proxy_buffering off;
            proxy_pass_header Date;
            proxy_ignore_headers {_FOREIGN};
            proxy_hide_header X-Tierline-Born;
            proxy_hide_header X-Tierline-Control;
            js_header_filter cache.judge;
{more}\
            proxy_pass {store.target};
"""
    # nginx obeys stale-if-error of a response when the connection fails, not when the status says so.
    return f"""\
    upstream {store.name}_fetch {{ server unix:{store.name}.fetch.sock; keepalive 64; }}
    server {{
        listen unix:{store.name}.fetch.sock;
        recursive_error_pages on;
{store.limits}{store.refusals}{variables(store, fetching=True)}\
        location / {{
            if ($http_cache_control ~* only-if-cached) {{ return 504; }}
{store.pages}\
            error_page 418 = @standby;
            if ($tl_standby) {{ return 418; }}
{ask}\
        }}
        location @standby {{
            proxy_intercept_errors on;
            error_page 500 502 503 504 = @failed;
{ask}\
        }}
        location @failed {{ return 444; }}
    }}
"""


def purge(folder: Path, order: msgspec.Struct) -> None:
    """Send an order to the running nginx of this folder. Raises RunError when it doesn't take it."""
    body = msgspec.json.encode(order)
    head = f"POST /purge HTTP/1.0\r\nHost: purge\r\nContent-Length: {len(body)}\r\n\r\n"
    try:
        with (
            socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client,
            short(folder / PURGE_SOCKET) as path,
        ):
            client.settimeout(5)
            client.connect(path)
            client.sendall(head.encode() + body)
            answer = b""
            while chunk := client.recv(1 << 16):
                answer += chunk
    except OSError as error:
        raise RunError(f"{folder.name} takes no purge now: {error.strerror or error}") from None
    status, _, told = answer.partition(b"\r\n\r\n")
    if b" 200 " not in status[:20]:
        raise RunError(f"{folder.name} refuses the purge: {told.decode(errors='replace').strip()}")
