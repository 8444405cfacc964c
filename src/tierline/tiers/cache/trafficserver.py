"""cache.trafficserver: the shared HTTP cache on Apache Traffic Server."""

from __future__ import annotations

from tierline.engines.context import Context
from tierline.engines.trafficserver import purges
from tierline.engines.trafficserver.config import Cache, files
from tierline.engines.trafficserver.engine import Fragment
from tierline.plan.model import Role
from tierline.tiers.base import System
from tierline.tiers.cache.tier import Purge
from tierline.tiers.streaming import STREAMING

_STREAMS = {
    "leaves-stream": "Traffic Server asks on for an answer to GET once it has begun",
}

_INTERIM = (
    "Traffic Server takes interim answers other than 100 and 103 for the final one: the client gets 502"
)
_CODING = "Traffic Server says 400 where the origin's answer has a coding that it doesn't know"
_FRAMED = "Traffic Server goes by the chunks and keeps the connection: no client may reach it directly"


class TrafficServerCache(System):
    title = "Apache Traffic Server"
    engine = "trafficserver"
    levels = frozenset({"runs"})
    supports = frozenset(STREAMING) - frozenset(_STREAMS) | frozenset({
            "freshness", "validation", "vary", "collapsing", "ranges", "invalidation", "client_control", "purge_path",
            "purge_prefix", "purge_tag",
        })  # fmt: skip
    lacks = {
        "wire-query-empty": "Traffic Server leaves out the ? of an empty query",
        "wire-answer-interim-unknown": _INTERIM,
        "wire-answer-interim-many": _INTERIM,
        "wire-answer-coding-unknown": _CODING,
        "wire-answer-coding-after": _CODING,
        **dict.fromkeys(
            (
                "refusal-host",
                "refusal-malformed",
                "refusal-method",
                "refusal-huge",
                "refusal-behind",
            ),
            "Traffic Server's own answers are HTML; use cache=nginx",
        ),
        "wire-empty-line": "Traffic Server refuses an empty line before a request",
        **_STREAMS,
        "stale_while_revalidate": "Traffic Server doesn't know it; use varnish or nginx",
        "stale_if_error": "Traffic Server doesn't know it; use varnish or nginx",
        "fragments": "not set up; use varnish",
        # Of the table of RFC 9111, by the names in tests/contract/cache:
        "smuggle-cl-te": "Traffic Server believes the chunks and goes on: no client may reach it directly",
        "smuggle-te-tab": "Traffic Server unfolds Transfer-Encoding and goes on: no client may reach it directly",
        "websocket": "with several next hops Traffic Server ends the connection without a word; use varnish or nginx",
        "max-age-twice": "Traffic Server goes by the last max-age",
        "client-etag-of-none": "Traffic Server goes by the date where the copy has no tag",
        "wire-cl-te": _FRAMED,
        "wire-te-cl": _FRAMED,
        "wire-te-case-cl": _FRAMED,
        "wire-te-fold-cl": _FRAMED,
        "age-304": "Traffic Server's own 304 has no Age",
        "pragma-answer": "Traffic Server obeys Pragma in answers, too",
        "validate-other": "Traffic Server takes any 304 for its copy's",
        "must-understand": "Traffic Server doesn't know must-understand",
        "authorization-public": "answers to credentials are never kept here",
        "authorization-s-maxage": "answers to credentials are never kept here",
        "authorization-must-revalidate": "answers to credentials are never kept here",
        "vary-lines": "Traffic Server looks at one line of Vary",
        "stale-if-error": "Traffic Server doesn't know stale-if-error",
        "stale-if-error-gone": "Traffic Server doesn't know stale-if-error",
        "stale-while-revalidate": "Traffic Server doesn't know stale-while-revalidate",
        "invalidate-patch": "Traffic Server invalidates after POST, PUT and DELETE alone",
        "invalidate-unknown": "Traffic Server invalidates after POST, PUT and DELETE alone",
        "invalidate-variants": "Traffic Server invalidates one variant",
        "invalidate-location": "Traffic Server doesn't look at Location",
        "invalidate-content-location": "Traffic Server doesn't look at Content-Location",
    }
    endpoints = {"http": "http"}

    def contribute(self, role: Role, context: Context) -> Fragment:
        settings = role.settings
        (targets,) = list(role.upstreams.values())[:1]
        entry = all(other.tier != "cdn" for other in context.plan.roles.values())
        cache = Cache(
            label="tierline-cache",
            mode="entry" if entry else "inner",
            key="X-Tl-At,X-Forwarded-Proto",
            memory=settings["memory"],
            obey=settings["client_control"],
            raw=settings["raw"] or "",
        )
        return Fragment(files=files(cache, role, targets, context), disk=settings["disk"])

    def purge(self, role: Role, context: Context, order: Purge) -> None:
        purges.purge(context.folder(context.unit_of(role.id)), order)
