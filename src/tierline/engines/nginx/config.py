"""nginx.conf from fragments: what every unit needs, and what its roles add.

The order inside a server block, and why:

    1. deny and strip    what a stranger may not send is gone before anything looks at it
    2. trace             every later step, refusals included, is part of the trip
    3. cache key, cache  from what is left after stripping: an unkeyed header can't poison it
    4. raw               the stack's own lines, last, so that they can override a default
    5. proxy_pass
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources

import msgspec

from tierline.engines.base import Step
from tierline.engines.certificates import Shown
from tierline.engines.context import Context
from tierline.engines.forwarded import LINE
from tierline.engines.hopbyhop import ALLOWED
from tierline.engines.open_files import connections
from tierline.engines.unkeyed import UNKEYED
from tierline.plan.model import Role, Upstream
from tierline.plan.paths import guarded, refused

TLS = """\
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_ciphers ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:\
ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305;
    ssl_ecdh_curve X25519:prime256v1:secp384r1;
    ssl_prefer_server_ciphers off;
    ssl_session_cache shared:tls:2m;
    ssl_session_timeout 1d;
    ssl_session_tickets off;
"""
"""Mozilla's intermediate profile: nginx's own defaults don't pass it."""

ALIVE_SOCKET = "alive.sock"
"""In the unit's folder, which only its own user can enter."""

TRACE = """\
    # W3C trace context: the trace goes on, this hop has a span of its own, and a request that comes without
    # one begins a trace here. One in a hundred of those is kept in detail; all are counted.
    split_clients $request_id $tl_sample { 1% 01; * 00; }
    map $http_traceparent $tl_trace {
        "~^00-(?<tl_t>[0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}$" $tl_t;
        default $request_id;
    }
    map $http_traceparent $tl_parent {
        "~^00-[0-9a-f]{32}-(?<tl_p>[0-9a-f]{16})-[0-9a-f]{2}$" $tl_p;
        default "";
    }
    map $http_traceparent $tl_flags {
        "~^00-[0-9a-f]{32}-[0-9a-f]{16}-(?<tl_f>[0-9a-f]{2})$" $tl_f;
        default $tl_sample;
    }
    map $request_id $tl_span { "~^(?<tl_s>.{16})" $tl_s; }
    map $http_via $tl_via { "" "1.1 tierline"; default "$http_via, 1.1 tierline"; }
    map $tl_flags$status $tl_detail { "~^01" 1; "~^..5" 1; default 0; }
    map $tl_detail $tl_count { 1 0; default 1; }
"""


TYPES = {
    "text/html": "html htm", "text/css": "css", "text/javascript": "js mjs", "text/plain": "txt", "text/csv": "csv",
    "text/markdown": "md", "text/calendar": "ics", "text/vtt": "vtt", "application/json": "json map",
    "application/ld+json": "jsonld", "application/manifest+json": "webmanifest", "application/xml": "xml",
    "application/rss+xml": "rss", "application/atom+xml": "atom", "application/wasm": "wasm",
    "application/pdf": "pdf", "application/zip": "zip", "application/gzip": "gz", "application/yaml": "yaml yml",
    "image/svg+xml": "svg", "image/png": "png", "image/apng": "apng", "image/jpeg": "jpg jpeg", "image/webp": "webp",
    "image/avif": "avif", "image/gif": "gif", "image/heic": "heic", "image/heif": "heif", "image/jxl": "jxl",
    "image/bmp": "bmp", "image/tiff": "tif tiff", "image/x-icon": "ico",
    "font/woff2": "woff2", "font/woff": "woff", "font/ttf": "ttf", "font/otf": "otf",
    "video/mp4": "mp4 m4v", "video/webm": "webm", "video/ogg": "ogv", "video/quicktime": "mov", "video/mp2t": "ts",
    "video/iso.segment": "m4s", "application/vnd.apple.mpegurl": "m3u8", "application/dash+xml": "mpd",
    "audio/mpeg": "mp3", "audio/mp4": "m4a", "audio/ogg": "ogg oga opus", "audio/aac": "aac", "audio/flac": "flac",
    "audio/wav": "wav", "model/gltf-binary": "glb",
}  # fmt: skip
"""Media types by the ends of files' names (IANA's registry, where it has one)."""
_TYPES = "".join(f"        {kind} {ends};\n" for kind, ends in TYPES.items())


class Fragment(msgspec.Struct, kw_only=True):
    """What a role adds: lines of the http block, and whole server blocks."""

    http: str = ""
    servers: str = ""
    files: dict[str, str] = {}
    """Certificates with their keys, renewed while it runs."""
    mail: tuple[Role, Shown] | None = None
    """For a role that proxies mail: itself and its certificate."""
    memory: int = 0
    """For a role that caches: bytes for what it knows about its copies."""
    beside: dict[str, str] = {}
    """Files beside nginx.conf, by name."""
    sockets: tuple[str, ...] = ()
    """Unix sockets that it listens on, in the unit's folder."""
    proofs: dict[str, str] = {}
    """What requests to an upstream block show there (engines/forwarded.py)."""
    before: tuple[Step, ...] = ()
    """What is done before it starts."""


def document(fragments: list[Fragment], context: Context, unit: str) -> str:
    """nginx.conf, whole. Paths are absolute; nothing is written outside the unit's folders."""
    from tierline.engines.nginx import caching, forwarded

    folder = context.folder(unit)
    proofs = {name: proof for each in fragments for name, proof in each.proofs.items() if proof}
    memory = max(fragment.memory for fragment in fragments)
    shared = caching.http(memory) if memory else ""
    return f"""\
# Written by tierline for {unit}.
daemon off;
pid {folder}/nginx.pid;
worker_processes 1;
error_log stderr warn;
events {{ worker_connections {connections(4096, each=1)}; multi_accept on; }}
http {{
    default_type application/octet-stream;
    types {{
{_TYPES}\
    }}
    server_tokens off;
    server_names_hash_bucket_size 128;
    map_hash_bucket_size 256;
    sendfile on;
    tcp_nodelay on;
    keepalive_timeout 75s;
    keepalive_requests 100000;
    # Other limits and time-outs are each server's own (engines/nginx/limits.py).
    client_header_timeout 10s;
    ignore_invalid_headers on;
    underscores_in_headers off;
    client_body_temp_path {folder}/temp/body;
    proxy_temp_path {folder}/temp/proxy;
    fastcgi_temp_path {folder}/temp/fastcgi;
    uwsgi_temp_path {folder}/temp/uwsgi;
    scgi_temp_path {folder}/temp/scgi;
    access_log off;
    # What is no request meets none of the `set`s that its hop names.
    uninitialized_variable_warn off;
    proxy_http_version 1.1;
    # What is of one connection goes no further (RFC 9110, 7.6.1); an upgrade that was made or is asked for stays.
    more_clear_headers Keep-Alive Proxy-Connection;
    more_clear_headers -s '200 201 202 204 206 301 302 303 304 307 308 400 401 403 404 409 410 412 422 429 500 502 503' Upgrade;
    # When an answer was made, or, where it doesn't say, was received (RFC 9110, 6.6.1).
    js_import dates from dates.js;
    js_set $tl_now dates.now;
    map $upstream_http_date $tl_date {{ default $upstream_http_date; "" $tl_now; }}
    # A 204 has no body, and no length of one (RFC 9110, 8.6).
    more_clear_headers -s 204 Content-Length;
    # What nginx itself refuses by its method; a service says for itself what it allows (RFC 9110, 15.5.6).
    map $upstream_addr $tl_allow {{ default $upstream_http_allow; "" "{ALLOWED}"; }}
    more_set_headers -s 405 "Allow: $tl_allow";
    # The supervisor asks here whether it answers.
    server {{ listen unix:{ALIVE_SOCKET}; access_log off; return 204; }}
    # 103 goes on as it came (RFC 8297).
    early_hints 1;
    map $http_te $tl_te {{ "~*(^|[, ])trailers *(,|;|$)" trailers; default ""; }}
{TRACE}
{forwarded.http(proofs, refused(context.plan), guarded(context.plan))}
{shared}{"".join(fragment.http for fragment in fragments)}
{"".join(fragment.servers for fragment in fragments)}
}}
"""


def hop_log(role: Role, context: Context, verdict: str) -> str:
    """The access log of one server: a whole hop when sampled or failed, else a line that is only counted."""
    # Two files: nginx buffers a file or it doesn't, and a sampled hop must not wait.
    where, counts = context.hops(role.id), context.hops(f"{role.id}.counts")
    return f"""\
        access_log {where} tl_{ident(role)} if=$tl_detail;
        access_log {counts} tl_{ident(role)}_count buffer=32k flush=1s if=$tl_count;
"""


ANSWERED = ',"h":"$upstream_addr","l":"$upstream_response_time"'
"""Who answered a tier and in what time, as more of a hop: where a command is behind it."""


def hop_format(
    role: Role, verdict: str, tier: str, more: str = "", who: str = "", served: str = "$upstream_addr"
) -> str:
    """The two log formats that `hop_log` uses (trips/hop.py). nginx's clock moves in steps of 1 ms.

    more: members of both that only this tier has, with a comma before them. who: the variable that says who asks;
    nginx escapes it, so it needn't come last. served: the variable that says which server has answered.
    """
    named = f',"enduser.id":"{who}"' if who else ""
    called = f',"a":{{"enduser.id":"{who}"}}' if who else ""
    place = role.zone or role.region
    return f"""\
    log_format tl_{ident(role)} escape=json '{{"f":"$tl_flags","s":$status,"t":"$tl_trace","i":"$tl_span",'
        '"p":"$tl_parent","T":"{tier}","y":"nginx","z":"{place}","E":$msec,"D":$request_time,"q":1000,'
        '"v":"{verdict}","n":"$request_method $uri","a":{{"http.response.body.size":$body_bytes_sent,'
        '"network.protocol.version":"$server_protocol","server.address":"{served}",'
        '"http.response.age":"$sent_http_age"{named}}}{more}}}';
    log_format tl_{ident(role)}_count escape=json '{{"f":"00","s":$status,"T":"{tier}","y":"nginx",'
        '"z":"{place}","v":"{verdict}"{more}{called}}}';
"""


def upstream(name: str, targets: tuple[Upstream, ...], context: Context, options: str = "") -> str:
    """An upstream block: the nearest targets first, the others as backup."""
    lines = []
    nearest = min(target.distance for target in targets)
    for target in targets:
        host, port = context.address(target.role, target.endpoint)
        backup = " backup" if target.distance > nearest else ""
        fails = left_out(target, targets)
        lines.append(f"        server {host}:{port}{fails}{backup};  # {target.role}\n")
    return f"    upstream {name} {{\n{''.join(lines)}{options}        keepalive 64;\n    }}\n"


def left_out(target: Upstream, targets: Sequence[Upstream]) -> str:
    """When a server of an upstream gets no requests for a second: after three that it didn't take or answer at all
    (`proxy_next_upstream error timeout`; no status counts). The last one is always tried, and so are both of two: a
    request tries two, and one that is killed and comes back while the other is away would be left out for longer."""
    return " max_fails=0" if len(targets) < 3 or target is targets[-1] else " max_fails=3 fail_timeout=1s"


def ident(role: Role) -> str:
    """The role's id as an nginx name."""
    return role.id.replace("-", "_").replace(".", "_")


_STRIPPED = "".join(f'            proxy_set_header {name} "";\n' for name in UNKEYED)


DATED = "more_set_headers 'Date: $tl_date';"
"""For answers that go on as they are: nginx would say when it passed them on."""


def dates() -> str:
    """dates.js, written beside nginx.conf."""
    return (resources.files(__package__) / "dates.js").read_text()


def pass_on(host: str = "$http_host") -> str:
    """Headers of every proxied request. host: what the next tier is asked for, as the client wrote it."""
    return f"""\
            proxy_set_header Connection "";
            proxy_set_header Host {host};
            proxy_set_header {LINE} $tl_line;
            proxy_set_header traceparent 00-$tl_trace-$tl_span-$tl_flags;
            proxy_set_header x-tierline-claims "";
            proxy_set_header Via $tl_via;
            # What ends here, and what no key holds: a stranger could have others get what it makes of an answer.
            proxy_set_header TE "";
            proxy_set_header Upgrade "";
            proxy_set_header Keep-Alive "";
            proxy_set_header Proxy-Connection "";
{_STRIPPED}\
            # Only what the next tier never saw, or a safe method that it didn't answer, is tried again.
            proxy_next_upstream error timeout;
            proxy_next_upstream_tries 2;
            proxy_next_upstream_timeout 5s;
"""
