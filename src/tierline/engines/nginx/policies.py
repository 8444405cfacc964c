"""What a gateway adds to nginx.conf around gateway.js: its variables, refusals and the check of tokens.

    location /  ──early──▶ @gw_refuse_4xx ──▶ @gw_problem
        │  no token                                ▲
        ├───────────────▶ @gw_rN ──▶ a service     │ what nginx itself refuses
        │  a token           ▲
        └──▶ @gw_token ──late┘

The jump is `error_page 418`, as from a location that caches: it keeps method and body.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib import resources

from tierline.engines.nginx import limits
from tierline.plan.model import Budget

METRICS_SOCKET = "metrics.sock"
"""In the unit's folder, which only its own user can enter."""

TITLES = {
    400: "Bad request", 401: "Valid credentials are needed", 403: "Forbidden", 404: "No such route",
    405: "Method not allowed", 408: "Request timeout", 413: "The request is too large",
    414: "The address is too long", 415: "JSON is needed", 429: "Too many requests", 431: "The headers are too large",
    500: "Internal error", 501: "Not implemented", 502: "The service broke off", 503: "Nobody behind answers",
    504: "The service took too long", 505: "HTTP version not supported",
}  # fmt: skip

CLIENTS = "32m"
"""Memory for the buckets of clients, and again for those of consumers: 130 000 of each, a quarter of a kibibyte each
(measured). It is taken from the machine as it is used. Who comes when it is full: see gateway/limits.js."""

_VARIABLES = (
    "verdict", "detail", "policy", "challenge", "origin", "most", "left", "reset", "retry", "private", "consumer",
    "known", "subject", "claims", "key", "route", "up", "target", "share", "next", "cookies", "location",
    "body", "shape", "via", "served", "took", "over", "under", "again",
)  # fmt: skip


def scripts(*names: str) -> dict[str, str]:
    """The programs of a gateway, written beside nginx.conf: those that every one has, and more by name."""
    folder = resources.files(__package__) / "gateway"
    every = ("gateway", "words", "limits", "shared", "routes", "counts", "budget", *names)
    return {f"{name}.js": (folder / f"{name}.js").read_text() for name in every}


def named(kind: str, number: int, paths: Sequence[str]) -> str:
    """A policy's name in hops: what it is and the first of its paths."""
    return re.sub(r"[^A-Za-z0-9/:._-]", "-", f"{kind}-{number}:{paths[0] if paths else '/'}")


def http(shapes: bool) -> str:
    """Lines of the http block, once in a unit. shapes: whether bodies are shaped."""
    titles = "".join(f' {status} "{title}";' for status, title in TITLES.items())
    return f"""\
    js_import gateway from gateway.js;
    js_import counts from counts.js;
    js_import budget from budget.js;
{"    js_import bodies from bodies.js;" + chr(10) if shapes else ""}\
    js_preload_object policies from policies.json;
    # Without `evict`: who comes when it is full pushes nobody out.
    js_shared_dict_zone zone=gateway_clients:{CLIENTS} type=number timeout=2d;
    js_shared_dict_zone zone=gateway_persons:{CLIENTS} type=number timeout=2d;
    js_shared_dict_zone zone=gateway_totals:2m type=number timeout=2d;
    js_shared_dict_zone zone=gateway_counts:1m type=number;
    js_set $gw_early gateway.early;
    js_set $gw_tell counts.tell;
    js_set $gw_more budget.more;
{"".join(f"    js_var $gw_{name};{chr(10)}" for name in _VARIABLES)}\
    map $status $gw_title {{ default "Error";{titles} }}
    # What nginx refuses by itself, or what came of the service.
    map $status:$limit_conn_status $gw_own {{
        "~:REJECTED" "refused: too many at once"; "~^401" "refused: token"; "~^413" "refused: too large";
        "~^408" "refused: too slow"; "~^4" "refused: malformed"; "~^502" "upstream failed";
        "~^503" "nobody behind"; "~^504" "upstream too slow"; default "failed";
    }}
    # An answer that is shaped comes by a request of its own.
    map $gw_served $gw_server {{ "" $upstream_addr; default $gw_served; }}
    map $gw_took $gw_time {{ "" $upstream_response_time; default $gw_took; }}
    map $http_upgrade $gw_upgrade {{ default ""; "~*^websocket$" upgrade; }}
    map $http_upgrade $gw_upgraded {{ default ""; "~*^websocket$" websocket; }}
    map $gw_verdict $gw_final {{ "" allowed; default $gw_verdict; }}
    server {{
        listen unix:{METRICS_SOCKET};
        location = /metrics {{ js_content counts.metrics; }}
        location / {{ return 404; }}
    }}
"""


def own(budget: Budget, jwks: str, skew: int) -> str:
    """Lines of the server: the decision, refusals, and what nginx refuses by itself, as problem documents.

    budget: of the server. jwks: the file of keys (RFC 7517) in the unit's folder; empty: there are none, and no token is
    good (nginx takes no file without keys). skew: seconds.
    """
    problem = (
        "            default_type application/problem+json;\n            js_header_filter gateway.answer;\n"
        '            return 200 \'{"type":"about:blank","status":$status,"title":"$gw_title","detail":"$gw_detail",'
        '"trace_id":"$tl_trace"}\\n\';\n'
    )
    told = """if ($gw_verdict = "") { set $gw_verdict $gw_own; }
            if ($gw_detail = "") { set $gw_detail $gw_limit; }
            if ($gw_policy = "") { set $gw_policy $gw_limit_setting; }"""
    refusals = "".join(
        f"        location @gw_refuse_{status} {{ return {status}; }}\n"
        for status in (400, 401, 403, 404, 413, 415, 429, 500)
    )
    token = f"""\
        location @gw_token {{
            auth_jwt tierline;
            auth_jwt_www_authenticate off;
            auth_jwt_phase preaccess;
            auth_jwt_key_file {jwks};
            auth_jwt_leeway {skew}s;
            js_access gateway.late;
        }}
"""
    return f"""\
        # One piece instead of many: the wheel's allocator asks the kernel for each, and gives it back (15 % of a request).
        request_pool_size 16k;
{limits.server(budget)}\
        client_body_buffer_size 64k;
        recursive_error_pages on;
        error_page 418 = @$gw_next;
        error_page 401 403 404 405 413 415 429 500 502 503 504 @gw_problem;
        # These have no address yet that a named location could be entered with.
        error_page 400 408 414 501 505 /-/malformed;
        error_page 494 =431 /-/malformed;
        location / {{
            set $gw_next $gw_early;
            return 418;
        }}
        location @gw_problem {{
            {told}
{problem}\
        }}
        location = /-/malformed {{
            internal;
            {told}
{problem}\
        }}
        location @gw_none {{
            # Whom nginx leaves alone for having said 503 hasn't broken off.
            if ($upstream_addr !~ ":[0-9]+$") {{ return 503; }}
            return 502;
        }}
        location @gw_refuse_400 {{
            error_page 400 @gw_problem;
            return 400;
        }}
{refusals.split(chr(10), 1)[1]}\
{token if jwks else "        location @gw_token { return 401; }" + chr(10)}"""


PREFLIGHT = """\
        location @gw_preflight {
            add_header Access-Control-Allow-Methods "GET, HEAD, POST, PUT, PATCH, DELETE";
            add_header Access-Control-Allow-Headers "authorization, content-type, x-client, x-app-version, \
idempotency-key, api-version";
            add_header Access-Control-Max-Age 600;
            js_header_filter gateway.answer;
            return 204;
        }
"""
EXPOSED = (
    "deprecation, link, ratelimit, ratelimit-limit, ratelimit-remaining, ratelimit-reset, retry-after, sunset"
)


def document(folder: str, name: str) -> str:
    """The location that hands out a file of the unit's folder."""
    return f"""\
        location @gw_document {{
            root {folder};
            default_type application/json;
            add_header Cache-Control max-age=60;
            try_files /{name} =404;
        }}
"""
