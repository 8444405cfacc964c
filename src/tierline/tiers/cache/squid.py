"""cache.squid: the shared HTTP cache on Squid, as an accelerator."""

from __future__ import annotations

from tierline.engines import percaller
from tierline.engines.context import Context
from tierline.engines.forwarded import LINE, PLACE, UNDERSCORED, behind_places, first, proof
from tierline.engines.squid.engine import ALIVE, ERRORS, PROBLEMS, Fragment
from tierline.engines.unkeyed import UNKEYED
from tierline.plan.budgets import held
from tierline.plan.model import Role
from tierline.tiers.base import System
from tierline.tiers.streaming import STREAMING

_POISON = (*UNKEYED, *UNDERSCORED, "Proxy-Connection", "x-tierline-claims")

_SEEN = {
    "X-Forwarded-For": "%>a",
    "X-Forwarded-Proto": "http",
    "X-Forwarded-Host": "%'{Host}>h",
    "X-Forwarded-Port": "%>rP",
    "Forwarded": 'for=%>a;host=\\"%\'{Host}>h\\";proto=http',
}


def _described(role: Role, context: Context) -> str:
    """Who asks, and where: what Squid sees, or what a tier in front says (engines/forwarded.py)."""
    when, lines = "", ""
    if behind_places(role, context.plan):
        when = " !place"
        lines = f"acl place req_header {PLACE} ^{context.secret('cdn.place')}$\nrequest_header_access {PLACE} deny all\n"
    elif not first(role, context.plan):
        # Squid's keys hold no scheme, and a redirect is only for who asked by the same scheme, host and port.
        return (
            "acl plain req_header X-Forwarded-Proto ^http$\nacl eighty req_header X-Forwarded-Host :80$\n"
            "cache deny plain\ncache deny eighty\n"
        )
    for name, value in _SEEN.items():
        lines += f"request_header_access {name} deny all{when}\n"
        lines += f'request_header_add {name} "{value}" all{when}\n'
    return lines


_ERRORS = (400, 403, 404, 405, 414, 500, 501, 503)
_FRAMED = "Squid goes by the chunks and keeps the connection: no client may reach it directly"


_FAILS = 3
"""Connections that a peer may refuse in a row before Squid leaves it out until one succeeds."""

_STREAMS = {
    "trailers": "Squid drops trailers; use cache=nginx",
}


class SquidCache(System):
    title = "Squid"
    engine = "squid"
    levels = frozenset({"runs"})
    supports = frozenset(STREAMING) - frozenset(_STREAMS) | frozenset(
        {"freshness", "validation", "vary", "collapsing", "ranges", "invalidation"}
    )
    lacks = {
        "wire-empty-line": "Squid refuses an empty line before a request",
        "wire-answer-not-http": "Squid takes what isn't HTTP for the body of a 200",
        "wire-fragment": "Squid passes a fragment on with the path",
        "wire-http10-interim": "Squid passes 100 on to clients of HTTP/1.0",
        "wire-allow": "Squid's own 405, to CONNECT, has no Allow",
        "wire-options-server": "Squid answers OPTIONS of the whole server with 501",
        "client-304-weak": "a 304 of Squid carries no weak ETag",
        "client-unmodified": "Squid judges If-Unmodified-Since itself",
        "range-if-date": "Squid takes a later date in If-Range for the same",
        "range-head": "Squid cuts HEAD, too",
        "wire-two-hosts": "Squid takes the first Host: no client may reach it directly",
        "wire-two-equal-hosts": "Squid takes the first Host: no client may reach it directly",
        "wire-te-vertical-tab": "Squid takes no body for such a coding: no client may reach it directly",
        "wire-te-http10": _FRAMED,
        "wire-cl-te": _FRAMED,
        "wire-te-cl": _FRAMED,
        "wire-te-case-cl": _FRAMED,
        "wire-te-fold-cl": _FRAMED,
        **_STREAMS,
        "stale_while_revalidate": "Squid doesn't know it; use varnish or nginx",
        "stale_if_error": "Squid doesn't know it; use varnish or nginx",
        "fragments": "Debian's Squid has no ESI; use varnish",
        "purge_path": "Squid purges one URL at a time, no queries and no variants; use varnish or nginx",
        "purge_prefix": "Squid purges one URL at a time; use varnish or nginx",
        "purge_tag": "Squid knows no tags; use varnish or nginx",
        # Of the table of RFC 9111, by the names in tests/contract/cache:
        "smuggle-cl-te": "Squid believes the chunks and goes on with the connection: no client may reach it directly",
        "smuggle-te-tab": "Squid unfolds Transfer-Encoding and goes on: no client may reach it directly",
        "bad-two-hosts": "Squid takes the first of two hosts",
        "max-age-words": "Squid ignores a max-age that is no number",
        "max-age-negative": "Squid ignores a negative max-age",
        "max-age-quoted": "Squid ignores a quoted max-age",
        "directive-case": "Squid's directives are lower-case",
        "must-understand": "Squid doesn't know must-understand",
        "host_spelling": "Squid writes Host in lower case and without :80; X-Forwarded-Host has what the client sent",
        "status-204": "Squid doesn't store 204 with max-age",
        **{f"status-{n}": "Squid keeps errors for negative_ttl, which is 0" for n in _ERRORS},
        "age-twice": "Squid passes several Ages on",
        "validate-other": "Squid takes any 304 for its copy's",
        "vary-several": "Squid forgets one variant for the other",
        "validate-age": "Squid's Age goes on after a 304",
        "client-304-fields": "Squid's 304 lacks ETag and Vary",
        "client-if-match": "Squid answers If-Match itself",
        "stale-if-error": "Squid doesn't know stale-if-error",
        "stale-if-error-gone": "Squid doesn't know stale-if-error",
        "stale-while-revalidate": "Squid doesn't know stale-while-revalidate",
        "range-outside": "Squid answers a range outside with the whole",
    }
    endpoints = {"http": "http"}

    def contribute(self, role: Role, context: Context) -> Fragment:
        settings = role.settings
        host, port = context.address(role.id, "http")
        folder = context.folder(context.unit_of(role.id))
        (targets,) = list(role.upstreams.values())[:1]
        peers = ""
        for number, target in enumerate(targets):
            address, at = context.address(target.role, target.endpoint)
            peers += (
                f"cache_peer {address} parent {at} 0 no-query no-digest no-netdb-exchange originserver "
                # The last one is always tried.
                f"name=next{number} connect-timeout=1 connect-fail-limit={_FAILS if number + 1 < len(targets) else 1_000_000}\n"
            )
        own = held(context.plan, role)
        said = _described(role, context)
        shown = proof(targets, context)
        inner = any(other.tier == "cdn" for other in context.plan.roles.values())
        hop = f'"T":"cache","y":"squid","z":"{role.zone or role.region}","v":"%Ss"'
        stripped = "".join(f"request_header_access {name} deny all\n" for name in _POISON)
        # What an answer says of who asked for it isn't for the next one; Squid writes Age into what it had.
        unsaid = "acl copy rep_header Age .\nacl success http_status 200-299\n"
        unsaid += "".join(f"reply_header_access {name} deny copy\n" for name in percaller.FIELDS)
        unsaid += "".join(f"reply_header_access {name} deny copy success\n" for name in percaller.OF_SUCCESS)
        obey = "" if settings["client_control"] else " ignore-reload"
        return Fragment(
            lines=f"""\
# Written by tierline for {role.id}.
http_port {host}:{port} accel vhost{"" if settings["client_control"] else " ignore-cc"}
{peers}\
visible_hostname tierline
error_directory {folder}/{ERRORS}
{PROBLEMS}\
pid_filename {folder}/squid.pid
coredump_dir {folder}
cache_log /dev/stderr
netdb_filename none
pinger_enable off
icp_port 0
htcp_port 0
snmp_port 0
shutdown_lifetime 0 seconds
cache_mem {max(settings["memory"], settings["disk"]) >> 20} MB
maximum_object_size_in_memory 64 MB
memory_cache_shared off
workers 1
never_direct allow all
acl purges method PURGE
acl others method BAN PURGEKEY CONNECT TRACE
acl alive method {ALIVE}
http_access deny alive
http_access deny purges
http_access deny others
http_access allow all
http_upgrade_request_protocols websocket allow all
# Nothing is fresh that the origin didn't call so; a tenth of its age when it is long unmodified.
refresh_pattern . 0 10% 1440{obey}
collapsed_forwarding on
request_header_max_size {-(-(own.request_line + own.request_fields) >> 10)} KB
reply_header_max_size {-(-own.answer_fields >> 10)} KB
request_body_max_size 0
request_timeout 10 seconds
relaxed_header_parser off
# One time for an answer to begin and for silence within it; a tier that has another behind it waits for the longer.
read_timeout {max(1, round(max(own.first_byte, own.idle)))} seconds
write_timeout {max(1, round(own.idle))} seconds
client_lifetime 30 days
connect_timeout {max(1, round(own.connect))} seconds
forward_max_tries 2
max_stale 0 seconds
refresh_all_ims off
vary_ignore_expire off
via on
forwarded_for transparent
{said}\
request_header_access {LINE} deny all
{f"request_header_add {LINE} {shown} all{chr(10)}" if shown else ""}\
httpd_suppress_version_string on
range_offset_limit none
# Whom nobody waits for any more is asked no further.
quick_abort_min 0 KB
quick_abort_max 0 KB
negative_ttl 0 seconds
{stripped}{unsaid}\
{"" if inner else "reply_header_access Surrogate-Key deny all"}
acl traced req_header traceparent ^00-
logformat hop {{"tp":"%{{traceparent}}>h","s":%>Hs,{hop},"E":"%ts.%03tu","D":"%tre-3","q":1000,"n":"%rm %>rp"}}
logformat count {{"f":"00","s":%>Hs,{hop}}}
access_log stdio:{context.hops(role.id)} logformat=hop traced !alive
access_log stdio:{context.hops(role.id)} logformat=count !traced !alive
{settings["raw"] or ""}
"""
        )
