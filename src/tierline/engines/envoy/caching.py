"""A caching role of Envoy: its `cache` filter with the file store, between two scripts that know RFC 9111.

    client ─▶ cache_ask.lua ─▶ cache filter ──hit──▶ back through cache_ask.lua
                                   │ miss
                                   ▼
              cache_judge.lua, a filter of the cluster: the only ones that a miss of the cache filter meets
                                   │
                                   ▼
                             the next tier

What no copy can answer (credentials, If-Match) takes a route of its own that passes all of it by.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterable
from importlib import resources
from typing import Any

import msgspec

from tierline.engines import percaller
from tierline.engines.envoy.routing import retry
from tierline.engines.unkeyed import UNKEYED
from tierline.errors import RunError

_FILTER = "type.googleapis.com/envoy.extensions.filters.http."
ASK, CACHE = "tierline.cache_ask", "envoy.filters.http.cache"
POISON = (*(name.lower() for name in UNKEYED), "proxy-connection", "keep-alive", "te")
"""What ends here and what no key holds: a stranger could have others get what it makes of an answer."""

WORDS = {
    "MISS": "fwd=uri-miss",
    "HIT": "hit",
    "STALE": "hit",
    "REVALIDATED": "hit; fwd=stale; fwd-status=304",
}
"""The verdicts in the words of Cache-Status (RFC 9211)."""


class Store(msgspec.Struct, kw_only=True):
    """One cache and how it is used."""

    path: str
    """A folder of its own, with a slash at its end; it must be there, or nothing is kept."""
    size: int
    """Bytes on disk; the longest unused is forgotten."""
    token: str
    """Who has it may purge."""
    entry: bool
    """Whether what is for caches is taken out of answers."""
    obey: bool
    """Whether a request's own Cache-Control counts."""
    own: str
    """A cluster that is this cache itself."""
    stale_while_revalidate: float
    stale_if_error: float
    """Seconds, where the origin says nothing."""


def filters(store: Store) -> list[dict[str, Any]]:
    """The filters of the role, in the order of `filters.ORDER`."""
    words = ", ".join(f"{name} = {json.dumps(word)}" for name, word in WORDS.items())
    known = _known(
        TOKEN=json.dumps(store.token),
        ENTRY=str(store.entry).lower(),
        OBEY=str(store.obey).lower(),
        SELF=json.dumps(store.own),
        WORDS=f"{{ {words} }}",
        PER_CALLER=_listed(percaller.FIELDS),
        PER_CALLER_OF_SUCCESS=_listed(percaller.OF_SUCCESS),
        MOST="50000",  # versions, copies and tagged paths that are remembered
    )
    keeping = {
        "@type": "type.googleapis.com/envoy.extensions.http.cache.file_system_http_cache.v3.FileSystemHttpCacheConfig",
        "manager_config": {"thread_pool": {"thread_count": 2}},
        "cache_path": store.path,
        "max_cache_size_bytes": store.size,
    }
    cache = {
        "@type": _FILTER + "cache.v3.CacheConfig",
        "typed_config": keeping,
        # With the file store; the one in memory crashes on an allowed Vary.
        "allowed_vary_headers": [{"safe_regex": {"regex": ".*"}}],
    }
    return [
        _lua(ASK, known + _script("dates") + _script("stale") + _script("ask")),
        {"name": CACHE, "typed_config": cache},
    ]


def judging(store: Store) -> dict[str, Any]:
    """Options of a cluster whose answers may be kept."""
    known = _known(WHILE=f"{store.stale_while_revalidate:g}", ERROR=f"{store.stale_if_error:g}")
    codec = {"@type": _FILTER + "upstream_codec.v3.UpstreamCodec"}
    return {
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http_protocol_options": {"enable_trailers": True}},
                "http_filters": [
                    _lua("tierline.cache_judge", known + _script("dates") + _script("judge")),
                    {"name": "envoy.filters.http.upstream_codec", "typed_config": codec},
                ],
            }
        }
    }


PASSES = (
    {"name": ":method", "string_match": {"safe_regex": {"regex": "GET|HEAD"}}},
    {"name": "authorization", "present_match": True},
)
"""What no copy can answer, as nothing is kept of answers to credentials."""


def adding(entry: bool) -> dict[str, Any]:
    """What the way past the copies adds to a request and its answer. entry: no cache in front."""
    via = [{"header": {"key": "via", "value": "1.1 tierline"}, "append_action": "APPEND_IF_EXISTS_OR_ADD"}]
    gone = {"response_headers_to_remove": ["surrogate-key"]} if entry else {}
    return {"request_headers_to_add": via, "response_headers_to_add": via, **gone}


def routes(cluster: str, direct: str, entry: bool) -> list[dict[str, Any]]:
    """From `cluster` come answers that may be kept; `direct` is for what no copy can answer."""
    action: dict[str, Any] = {"timeout": "0s", "idle_timeout": "60s"}
    by_name = {"name": ":method", "string_match": {"safe_regex": {"regex": "PURGE|BAN|PURGEKEY"}}}
    safe = {"name": ":method", "string_match": {"safe_regex": {"regex": "GET|HEAD"}}}
    off = {
        "typed_per_filter_config": {
            name: {"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "disabled": True}
            for name in (ASK, CACHE)
        }
    }
    found = [
        {
            "name": "purge by a stranger",
            "match": {"prefix": "/", "headers": [by_name]},
            "direct_response": {"status": 405, "body": {"inline_string": "purges come another way\n"}},
        }
    ]
    for field in ("authorization", "if-match", "if-unmodified-since", "upgrade"):
        found.append(
            {
                "name": "past the copies",
                "match": {"prefix": "/", "headers": [safe, {"name": field, "present_match": True}]},
                "route": {**action, "cluster": direct, "retry_policy": retry(2, True)},
                **off,
                **({"response_headers_to_remove": ["surrogate-key"]} if entry else {}),
            }
        )
    kept = {**action, "cluster": cluster}
    return [
        *found,
        {
            "name": "copies",
            "match": {"prefix": "/", "headers": [safe]},
            "route": {**kept, "retry_policy": retry(2, True)},
        },
        {
            "name": "written through",
            "match": {"prefix": "/"},
            "route": {**kept, "retry_policy": retry(2, False)},
        },
    ]


def purge(address: tuple[str, int], token: str, order: Any) -> int:
    """Send an order to the running Envoy. Raises RunError when it doesn't take it."""
    lines = [("path", each) for each in order.paths] + [("prefix", each) for each in order.prefixes]
    lines += [("tag", each) for each in order.tags]
    body = "".join(f"{kind} {what}\n" for kind, what in lines).encode()
    connection = http.client.HTTPConnection(*address, timeout=5)
    try:
        connection.request("POST", "/.tierline/purge", body, {"Purge-Token": token})
        answer = connection.getresponse()
        told = answer.read().decode(errors="replace").strip()
    except (OSError, http.client.HTTPException) as error:
        raise RunError(f"Envoy at {address[0]}:{address[1]} takes no purge now: {error}") from None
    finally:
        connection.close()
    if answer.status != 200:
        raise RunError(f"Envoy refuses the purge: {answer.status} {told}")
    return int(told)


def itself(name: str, address: tuple[str, int]) -> dict[str, Any]:
    """The cluster that is this cache itself."""
    host, port = address
    where = {"endpoint": {"address": {"socket_address": {"address": host, "port_value": port}}}}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "0.5s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [where]}]},
    }


def _listed(names: Iterable[str]) -> str:
    return "{ " + ", ".join(map(json.dumps, names)) + " }"


def _known(**constants: str) -> str:
    return "".join(f"local {name} = {value}\n" for name, value in constants.items())


def _script(name: str) -> str:
    return (resources.files(__package__) / f"cache_{name}.lua").read_text()


def _lua(name: str, script: str) -> dict[str, Any]:
    return {
        "name": name,
        "typed_config": {
            "@type": _FILTER + "lua.v3.Lua",
            "default_source_code": {"inline_string": script},
        },
    }
