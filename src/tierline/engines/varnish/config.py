"""VCL: Varnish with RFC 9111's finer points, which its built-in VCL leaves out.

How stale copies are served: an object's grace is the longer of stale-while-revalidate and stale-if-error. A hit
that is stale beyond the first is looked up again without grace (a miss, which revalidates), and when the origin
fails then, once more with it.
"""

from __future__ import annotations

import msgspec

from tierline.engines import percaller
from tierline.engines.context import Context
from tierline.engines.forwarded import HOST, LINE, UNDERSCORED, proof
from tierline.engines.haproxy.front import LEAST, TYPES
from tierline.engines.hopbyhop import ALLOWED
from tierline.engines.unkeyed import UNKEYED
from tierline.engines.varnish.forwarded import authority
from tierline.plan.model import Budget, Role, Upstream

POISON = (*UNKEYED, *UNDERSCORED, "Proxy-Connection", "Keep-Alive", "TE", "x-tierline-claims")
"""What ends here, and what no key holds: a stranger could have others get what it makes of an answer."""


INTERIM = "Varnish takes an interim answer that nobody asked for for a broken one: 502"


def no_streams(use: str) -> dict[str, str]:
    """What Varnish can't pass on, and why. use: what can."""
    stays = f"Varnish asks on to the end, whoever has left; use {use}"
    return {
        "uploads": f"Varnish holds back what of a body comes with its headers until there is more; use {use}",
        "disconnects": stays,
        "early_hints": f"Varnish drops 103; use {use}",
        "trailers": f"Varnish drops trailers; use {use}",
        "request_trailers": f"Varnish answers 502 to a request with trailers; use {use}",
        # Behaviours of tests/contract/streaming_suite.py.
        "leaves-before-copy": stays,
        "leaves-stream": stays,
        "leaves-upload": stays,
    }


class Cache(msgspec.Struct, kw_only=True):
    """What one cache does."""

    budget: Budget
    """Its limits and time-outs."""
    tier: str
    label: str
    entry: bool
    obey: bool
    stale_while_revalidate: float
    stale_if_error: float
    described: str
    """Lines of vcl_recv that say who the client is (forwarded.py)."""
    raw: str
    behind_front: bool = False
    """Whether engines/haproxy/front.py stands on both sides: it traces, names copies and tells the hop."""
    gzip: bool = False
    """Whether text is kept compressed."""


def parameters(budget: Budget) -> tuple[str, ...]:
    """Parameters of varnishd: sizes of fields, the memory that they need, and silence of clients."""
    request, answer = budget.request_line + budget.request_fields, budget.answer_fields
    found = {
        "http_req_size": request,
        "http_req_hdr_len": request,
        "http_resp_size": answer,
        "http_resp_hdr_len": answer,
        # The request line counts as some, too.
        "http_max_hdr": budget.field_count + 72,
        # Fields are read into it, and written anew by the VCL.
        "workspace_client": 131072 + 2 * request + answer,
        "workspace_backend": 131072 + request + 2 * answer,
        # A reader that pauses is left after the silence of the budget; one that reads, never.
        "idle_send_timeout": f"{budget.idle:g}",
        "send_timeout": _NEVER,
        "pipe_timeout": f"{budget.idle:g}",
    }
    return tuple(word for name, value in found.items() for word in ("-p", f"{name}={value}"))


_NEVER = "2592000"
"""Seconds: thirty days."""


def vcl(cache: Cache, targets: tuple[Upstream, ...], context: Context) -> str:
    """The whole VCL. targets: nearest first; the next one is asked when one fails."""
    backends, choice, own = "", "", cache.budget
    for number, target in enumerate(targets[:4]):
        host, port = context.address(target.role, target.endpoint)
        backends += f"""\
backend next{number} {{  # {target.role}
    .host = "{host}"; .port = "{port}"; .connect_timeout = {own.connect:g}s; .first_byte_timeout = {own.first_byte:g}s;
    .between_bytes_timeout = {own.idle:g}s;
}}
"""
        if number:
            choice += f"    if (bereq.retries == {number} || !std.healthy(bereq.backend)) {{\n"
            choice += f"        set bereq.backend = next{number};\n    }}\n"
    secret = proof([each for each in targets if each.endpoint != "behind"], context)
    shown = f'    set bereq.http.{LINE} = "{secret}";\n' if secret else ""
    strip = "".join(f"        unset req.http.{name};\n" for name in POISON)
    obey = _OBEY if cache.obey else ""
    hide = "    unset resp.http.Surrogate-Key;\n" if cache.entry else ""
    return f"""\
vcl 4.1;
import blob;
import std;
{backends}
sub vcl_recv {{
    if (req.restarts == 0) {{
{_BEGINS if not cache.behind_front else ""}\
        unset req.http.X-Tl-Always;
        unset req.http.X-Tl-Grace;
        unset req.http.X-Tl-Sie;
        unset req.http.X-Tl-Verdict;
{strip}\
{cache.described}\
        set req.http.X-Tl-At = {authority("req")};
    }}
{_TRACED if not cache.behind_front else ""}\
    # What HTTP forbids and Varnish takes (RFC 9110, 9.1; 9112, 6.1): nobody behind it is to guess where a body ends.
    std.collect(req.http.Transfer-Encoding);
    if (req.method !~ "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$" || (req.http.Transfer-Encoding
        && (req.proto != "HTTP/1.1" || req.http.Transfer-Encoding !~ "(?i)^chunked$"))) {{ return (synth(400)); }}
    if (req.method == "CONNECT" || req.method == "TRACE") {{ return (synth(501)); }}
    if ((!req.http.Host && req.proto == "HTTP/1.1") || (req.http.Host && req.http.Host !~ "^{HOST}$")) {{
        return (synth(400));
    }}
    # Varnish cuts HEAD, too, and refuses several ranges.
    if (req.http.Range && (req.http.Range !~ "^bytes=[^,]*$" || req.method != "GET")) {{ unset req.http.Range; }}
    if (req.method == "PURGE" || req.method == "BAN" || req.method == "PURGEKEY") {{ return (synth(405)); }}
    if (req.method == "PRI") {{ return (synth(405)); }}
    # How far OPTIONS may go on (RFC 9110, 7.6.2), and a fragment, which is none of a target's (9112, 3.2).
    if (req.restarts == 0 && req.method == "OPTIONS" && req.http.Max-Forwards) {{
        if (req.http.Max-Forwards ~ "^0+$") {{ return (synth(204)); }}
        set req.http.Max-Forwards = std.integer(req.http.Max-Forwards, 1) - 1;
    }}
    if (req.url ~ "#") {{ set req.url = regsub(req.url, "#.*", ""); }}
    set req.grace = 30d;
    if (req.http.X-Tl-Grace == "no") {{ set req.grace = 0s; }}
    set req.hash_always_miss = (req.http.X-Tl-Always == "yes");
    if (req.method != "GET" && req.method != "HEAD") {{ return (pass); }}
    if (req.http.Upgrade ~ "(?i)^websocket$") {{ return (pipe); }}
    # If-Match is the origin's to judge, and a body is not part of the key.
    if (req.http.If-Match || req.http.If-Unmodified-Since || req.http.Transfer-Encoding
        || std.integer(req.http.Content-Length, 0) > 0) {{ return (pass); }}
{obey}\
{cache.raw}
    return (hash);
}}

# What is said after the change of protocol is nobody's business here.
sub vcl_pipe {{
    std.log("tlv:pass");
    unset bereq.http.X-Tl-Span;
    unset bereq.http.X-Tl-From;
    unset bereq.http.X-Tl-At;
{shown}\
    set bereq.http.Upgrade = "websocket";
    set bereq.http.Connection = "Upgrade";
    return (pipe);
}}

sub vcl_hash {{
    hash_data(req.url);
    # A redirect is only for who asked by the same scheme, host and port.
    hash_data(req.http.X-Tl-At);
    {"hash_data(req.http.X-Tl-Key);" if cache.behind_front else "# Answers to credentials have copies of their own."}
    if (req.http.Authorization) {{ hash_data("authorized"); }}
    return (lookup);
}}

sub vcl_hit {{
    # Varnish compares with one entity tag alone.
    if (obj.http.ETag && (req.http.If-None-Match == "*"
        || std.strstr(req.http.If-None-Match, regsub(obj.http.ETag, "^W/", "")))) {{
        set req.http.If-None-Match = obj.http.ETag;
    }}
    if (obj.ttl > 0s) {{
{_OBEY_HIT if cache.obey else ""}\
        return (deliver);
    }}
    if (obj.ttl + std.duration(obj.http.X-Tl-Swr, 0s) > 0s || req.http.X-Tl-Sie == "now") {{
        set req.http.X-Tl-Verdict = "stale";
        return (deliver);
    }}
    if (obj.ttl + std.duration(obj.http.X-Tl-Sie, 0s) > 0s) {{ set req.http.X-Tl-Sie = "may"; }}
    set req.http.X-Tl-Grace = "no";
    return (restart);
}}

sub vcl_miss {{
    if (req.http.Cache-Control ~ "(?i)only-if-cached") {{ return (synth(504)); }}
    # Varnish would make a GET of it, whose answer may say other things.
    if (req.method == "HEAD") {{ return (pass); }}
    return (fetch);
}}

sub vcl_pass {{
    if (req.http.Cache-Control ~ "(?i)only-if-cached" && req.method == "GET") {{ return (synth(504)); }}
    return (fetch);
}}

sub vcl_backend_fetch {{
{choice}\
    unset bereq.http.X-Tl-Span;
    unset bereq.http.X-Tl-Grace;
    unset bereq.http.X-Tl-Always;
    unset bereq.http.X-Tl-From;
    unset bereq.http.X-Tl-At;
{shown}\
    if (bereq.http.Via) {{ set bereq.http.Via = bereq.http.Via + ", 1.1 tierline"; }}
    else {{ set bereq.http.Via = "1.1 tierline"; }}
    return (fetch);
}}

sub vcl_backend_response {{
    set beresp.grace = 0s;
    set beresp.keep = 0s;
    # A 304 that is of another copy than ours updates none: the whole is asked for (RFC 9111, 4.3.4).
    if (beresp.was_304 && bereq.retries == 0 && bereq.http.If-None-Match && beresp.http.ETag != bereq.http.If-None-Match) {{
        unset bereq.http.If-None-Match;
        unset bereq.http.If-Modified-Since;
        return (retry);
    }}
    # Lengths that differ leave open where the answer ends; equal ones are one (RFC 9112, 6.3).
    std.collect(beresp.http.Content-Length);
    if (beresp.http.Content-Length ~ ",") {{
        if (beresp.http.Content-Length !~ "^(\\d+)(\\s*,\\s*\\1)+$") {{ return (error(502, "Bad Gateway")); }}
        set beresp.http.Content-Length = regsub(beresp.http.Content-Length, ",.*", "");
    }}
    # Of the connection to the service alone (RFC 9110, 7.6.1).
    unset beresp.http.Keep-Alive;
    unset beresp.http.Proxy-Connection;
    unset beresp.http.Upgrade;
    unset beresp.http.X-Tl-Swr;
    unset beresp.http.X-Tl-Sie;
    unset beresp.http.X-Tl-Older;
    set beresp.http.X-Tl-Path = regsub(bereq.url, "\\?.*", "");
    set beresp.http.X-Tl-Host = {authority("bereq")};
    if (beresp.http.Surrogate-Control ~ "ESI/1.0") {{
        set beresp.do_esi = true;
        unset beresp.http.Surrogate-Control;
    }}
    if (bereq.method != "GET" && bereq.method != "HEAD") {{
        set beresp.uncacheable = true;
        set beresp.ttl = 0s;
        return (deliver);
    }}
    # An error takes no copy's place while that may stand in.
    if (beresp.status >= 500 && (bereq.is_bgfetch || bereq.http.X-Tl-Sie == "may")) {{ return (abandon); }}
    std.collect(beresp.http.Cache-Control);
    std.collect(beresp.http.Vary);
{_GZIP if cache.gzip else ""}\
    # Directives without quoted arguments, so that words inside of those are not taken for directives.
    set beresp.http.X-Tl-Cc = "," + regsuball(regsuball(std.tolower(beresp.http.Cache-Control),
        {{"=\\s*"(\\d+)""}}, "=\\1"), {{"=\\s*"[^"]*""}}, "") + ",";
    set beresp.http.X-Tl-Cc = regsuball(beresp.http.X-Tl-Cc, "\\s", "");
{_TARGETED if cache.tier == "cdn" else ""}\
    # How long it is fresh: from when it was made.
    set beresp.http.X-Tl-Explicit = "yes";
    if (beresp.http.X-Tl-Cc ~ ",s-maxage=") {{
        set beresp.ttl = std.duration(regsub(beresp.http.X-Tl-Cc, "^.*?,s-maxage=(\\d+),.*$", "\\1s"), 0s);
    }} elsif (beresp.http.X-Tl-Cc ~ ",max-age=") {{
        set beresp.ttl = std.duration(regsub(beresp.http.X-Tl-Cc, "^.*?,max-age=(\\d+),.*$", "\\1s"), 0s);
    }} elsif (beresp.http.Expires && !beresp.http.X-Tl-Targeted) {{
        set beresp.ttl = std.time(beresp.http.Expires, now - 1s) - std.time(beresp.http.Date, now);
    }} else {{
        set beresp.http.X-Tl-Explicit = "no";
        set beresp.ttl = 0s;
        if (beresp.http.Last-Modified && "" + beresp.status ~ "^(200|203|204|300|301|308|404|405|410|414|501)$") {{
            set beresp.ttl = (std.time(beresp.http.Date, now) - std.time(beresp.http.Last-Modified, now)) / 10;
            if (beresp.ttl > 1d) {{ set beresp.ttl = 1d; }}
        }}
    }}
{_RULE if cache.behind_front else ""}\
    if (beresp.http.X-Tl-Cc ~ ",no-cache[,=]") {{
        set beresp.http.X-Tl-Explicit = "yes";
        set beresp.ttl = 0s;
    }}
    if (std.time(beresp.http.Date, now) + beresp.age + 1s < now) {{
        set beresp.http.X-Tl-Older = "" + (now - std.time(beresp.http.Date, now) - beresp.age);
        set beresp.ttl = beresp.ttl - (now - std.time(beresp.http.Date, now));
    }} else {{
        set beresp.ttl = beresp.ttl - beresp.age;
    }}
    # May it be kept?
    if (beresp.status == 206
        || (beresp.http.X-Tl-Cc ~ ",no-store," && (beresp.http.X-Tl-Cc !~ ",must-understand,"
            || "" + beresp.status !~ "^(20[0-6]|30[0-8]|40[0-9]|41[0-7]|42[126]|50[0-5])$"))
        || beresp.http.X-Tl-Cc ~ ",private[,=]" || beresp.http.Vary ~ "(^|,)\\s*\\*"
        || ((beresp.http.Set-Cookie || bereq.http.Authorization) && beresp.http.X-Tl-Cc !~ ",(public,|s-maxage=)")
        || (beresp.http.X-Tl-Explicit == "no" && beresp.ttl <= 0s)) {{
        set beresp.uncacheable = true;
        # Others needn't wait for each other. An error may be over soon, and a stale copy may stand in.
        set beresp.ttl = 60s;
        if (beresp.status >= 500) {{ set beresp.ttl = 0s; }}
        return (deliver);
    }}
    # How long it may be served stale.
    if (beresp.http.X-Tl-Cc !~ ",(no-cache|must-revalidate|proxy-revalidate)[,=]") {{
        if (beresp.http.X-Tl-Cc ~ ",stale-while-revalidate=\\d") {{
            set beresp.http.X-Tl-Swr = regsub(beresp.http.X-Tl-Cc, "^.*,stale-while-revalidate=(\\d+).*$", "\\1s");
        }} elsif (beresp.http.X-Tl-Cc !~ ",s-maxage=") {{
            set beresp.http.X-Tl-Swr = "{cache.stale_while_revalidate:g}s";
        }}
        if (beresp.http.X-Tl-Cc ~ ",stale-if-error=\\d") {{
            set beresp.http.X-Tl-Sie = regsub(beresp.http.X-Tl-Cc, "^.*,stale-if-error=(\\d+).*$", "\\1s");
        }} elsif (beresp.http.X-Tl-Cc !~ ",s-maxage=") {{
            set beresp.http.X-Tl-Sie = "{cache.stale_if_error:g}s";
        }}
    }}
    set beresp.grace = std.duration(beresp.http.X-Tl-Swr, 0s);
    if (std.duration(beresp.http.X-Tl-Sie, 0s) > beresp.grace) {{
        set beresp.grace = std.duration(beresp.http.X-Tl-Sie, 0s);
    }}
    unset beresp.http.X-Tl-Cc;
    if (beresp.http.ETag || beresp.http.Last-Modified) {{ set beresp.keep = 1d; }}
    # Varnish doesn't validate a copy that never was fresh.
    if (beresp.ttl <= 0s) {{ set beresp.ttl = 1ms; }}
    if (beresp.ttl + beresp.grace + beresp.keep < 1ms) {{
        set beresp.uncacheable = true;
        set beresp.ttl = 60s;
    }}
    return (deliver);
}}

sub vcl_backend_error {{
    # A request with a body is tried again while nothing of that was sent: else Varnish has no body left, and refuses.
    if ((bereq.method == "GET" || bereq.method == "HEAD" || bereq.http.Transfer-Encoding
        || std.integer(bereq.http.Content-Length, 0) > 0) && bereq.retries < {min(1, len(targets) - 1)}) {{ return (retry); }}
    set beresp.ttl = 0s;
    set beresp.grace = 0s;
    set beresp.status = 502;
    set beresp.http.Content-Type = "application/problem+json";
    synthetic({_problem("bereq", "502", "Nobody behind answers")});
    return (deliver);
}}

sub vcl_deliver {{
    if (resp.status >= 500 && req.http.X-Tl-Sie == "may") {{
        set req.http.X-Tl-Sie = "now";
        unset req.http.X-Tl-Grace;
        return (restart);
    }}
    if (req.method != "GET" && req.method != "HEAD" && req.method != "OPTIONS" && req.method != "TRACE"
        && resp.status < 400) {{
        call invalidate;
    }}
    if (resp.http.X-Tl-Older) {{
        set resp.http.Age = std.integer(resp.http.Age, 0) + std.integer(real=std.real(resp.http.X-Tl-Older, 0.0));
    }}
    if (obj.hits > 0) {{
        call unsay;
        set resp.http.X-Tl-Say = "hit";
        if (req.http.X-Tl-Verdict == "stale") {{ std.log("tlv:stale"); }} else {{ std.log("tlv:hit"); }}
    }} else {{
        if (obj.uncacheable) {{ std.log("tlv:pass"); }} else {{ std.log("tlv:miss"); }}
        set resp.http.X-Tl-Say = "fwd=uri-miss";
        # A response that was just fetched has the Age that it came with, or none.
        if (resp.http.Age == "0") {{ unset resp.http.Age; }}
    }}
{_TOLD if cache.behind_front else f'    set resp.http.Cache-Status = "{cache.label}; " + resp.http.X-Tl-Say;{chr(10)}'}\
    unset resp.http.X-Tl-Say;
    unset resp.http.X-Varnish;
    unset resp.http.Via;
{"".join(f"    unset resp.http.X-Tl-{name};{chr(10)}" for name in _NOTES)}\
{hide}\
    return (deliver);
}}

# What an answer says of who asked for it isn't for the next one.
sub unsay {{
{"".join(f"    unset resp.http.{name};{chr(10)}" for name in percaller.FIELDS)}\
    if (resp.status < 300) {{
{"".join(f"        unset resp.http.{name};{chr(10)}" for name in percaller.OF_SUCCESS)}\
    }}
}}

# An unsafe method changed something: its target, and what the answer points to on the same host.
sub invalidate {{
    std.ban("obj.http.X-Tl-Path == " + regsub(req.url, "\\?.*", "") + " && obj.http.X-Tl-Host == " + req.http.X-Tl-At);
    call invalidate_location;
    set resp.http.X-Tl-Say = resp.http.Location;
    set resp.http.Location = resp.http.Content-Location;
    call invalidate_location;
    set resp.http.Location = resp.http.X-Tl-Say;
    if (!resp.http.Location || resp.http.Location == "") {{ unset resp.http.Location; }}
}}

sub invalidate_location {{
    if (resp.http.Location ~ "^/[^/]"
        || regsub(std.tolower(resp.http.Location), "^(https?)://([^/]*)/.*$", "\\1|\\2") == req.http.X-Tl-At) {{
        std.ban("obj.http.X-Tl-Path == " + regsub(regsub(resp.http.Location, "^https?://[^/]*", ""), "\\?.*", "")
            + " && obj.http.X-Tl-Host == " + req.http.X-Tl-At);
    }}
}}

sub vcl_synth {{
    if (resp.status >= 500 && req.http.X-Tl-Sie == "may") {{
        set req.http.X-Tl-Sie = "now";
        unset req.http.X-Tl-Grace;
        return (restart);
    }}
    std.log("tlv:refused");
    # Where a malformed request ends, nobody knows.
    if (resp.status == 400) {{ set resp.http.Connection = "close"; }}
    if (resp.status == 405) {{ set resp.http.Allow = "{ALLOWED}"; }}
    set resp.http.Content-Type = "application/problem+json";
    set resp.http.X-Varnish = "";
    unset resp.http.X-Varnish;
    synthetic({_problem("req", '" + resp.status + "', '" + resp.reason + "')});
    return (deliver);
}}
"""


def _problem(of: str, status: str, title: str) -> str:
    """A problem document (RFC 9457), as an expression. of: `req` or `bereq`; the others: text between quotes."""
    trace = f'regsub({of}.http.traceparent, "^00-([0-9a-f]+)-.*$", "\\1")'
    quote = '{"""}'
    start = '{"{"type":"about:blank","status":"}'
    return (
        f'{start} + "{status}" + {{","title":"}} + {quote} + "{title}" + {quote} + {{","trace_id":"}} + {quote} '
        f'+ {trace} + {quote} + "}}"'
    )


_OBEY = """\
    if (req.restarts == 0) {
        if (req.http.Cache-Control ~ "(?i)no-store") { return (pass); }
        if (req.http.Cache-Control ~ "(?i)(no-cache|max-age=0+([^0-9]|$))"
            || (!req.http.Cache-Control && req.http.Pragma ~ "(?i)no-cache")) { set req.hash_always_miss = true; }
    }
"""

_OBEY_HIT = """\
        if ((req.http.Cache-Control ~ "(?i)max-age=[0-9]"
                && obj.age > std.duration(regsub(req.http.Cache-Control, "(?i)^.*max-age=([0-9]+).*$", "\\1s"), 1y))
            || (req.http.Cache-Control ~ "(?i)min-fresh=[0-9]"
                && obj.ttl < std.duration(regsub(req.http.Cache-Control, "(?i)^.*min-fresh=([0-9]+).*$", "\\1s"), 0s))) {
            set req.http.X-Tl-Always = "yes";
            return (restart);
        }
"""

_BEGINS = """\
        # W3C trace context: the trace goes on, or begins here; one in a hundred is kept in detail.
        unset req.http.X-Tl;
        set req.http.X-Tl-Span = blob.transcode(encoding=HEX,
            encoded="" + std.integer(real=std.random(10000000, 99999999)));
        if (req.http.traceparent !~ "^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$") {
            set req.http.traceparent = "00-" + blob.transcode(encoding=HEX,
                encoded="" + std.integer(real=std.random(10000000, 99999999))
                + std.integer(real=std.random(10000000, 99999999))) + "--00";
            if (std.random(0, 100) < 1) { set req.http.traceparent = regsub(req.http.traceparent, "00$", "01"); }
        }
        set req.http.X-Tl-From = req.http.traceparent;
        set req.http.traceparent = regsub(req.http.traceparent, "-[^-]*-(..)$", "-" + req.http.X-Tl-Span + "-\\1");
"""

_TRACED = """\
    std.log("tlt:" + regsub(req.http.X-Tl-From, "^00-([^-]*)-.*", "\\1"));
    std.log("tlp:" + regsub(req.http.X-Tl-From, "^00-[^-]*-([^-]*)-.*", "\\1"));
    std.log("tlf:" + regsub(req.http.X-Tl-From, ".*-", ""));
    std.log("tls:" + req.http.X-Tl-Span);
"""

_RULE = """\
    # A rule's time counts more than what the origin says; what it forbids is looked at further down.
    if (bereq.http.X-Tl-Ttl && beresp.status < 400) {
        set beresp.http.X-Tl-Explicit = "yes";
        set beresp.ttl = std.duration(bereq.http.X-Tl-Ttl + "s", 0s);
    }
"""

_GZIP = f"""\
    # Text is kept compressed, and unpacked for who doesn't accept that; Varnish weakens its ETag itself. Not what
    # doesn't say how long it is: compressing would hold back the parts of a stream.
    if (beresp.http.Content-Type ~ "(?i)^({"|".join(each.replace("+", "[+]") for each in TYPES)})(;|$)"
        && !beresp.http.Content-Encoding && beresp.http.Cache-Control !~ "(?i)no-transform"
        && beresp.status != 206 && std.integer(beresp.http.Content-Length, 0) >= {LEAST}) {{
        set beresp.do_gzip = true;
    }}
"""

_TOLD = """\
    set resp.http.X-Tl-Status = resp.http.X-Tl-Say;
    set resp.http.X-Tl-Verdict = "pass";
    if (obj.hits > 0) {
        set resp.http.X-Tl-Verdict = "hit";
        if (req.http.X-Tl-Verdict == "stale") { set resp.http.X-Tl-Verdict = "stale"; }
    } elsif (!obj.uncacheable) {
        set resp.http.X-Tl-Verdict = "miss";
    }
"""


def hop(role: Role) -> str:
    """varnishncsa's format of a hop: the end and the duration, in seconds."""
    place = role.zone or role.region
    return (
        '{"f":"%{VCL_Log:tlf}x","s":%s,"t":"%{VCL_Log:tlt}x","i":"%{VCL_Log:tls}x","p":"%{VCL_Log:tlp}x",'
        f'"T":"{role.tier}","y":"varnish","z":"{place}",'
        '"E":%{VSL:Timestamp:Resp[1]}x,"D":%{VSL:Timestamp:Resp[2]}x,"v":"%{VCL_Log:tlv}x",'
        '"n":"%m %U","a":{"http.response.body.size":%b}}'
    )


_NOTES = ("Path", "Host", "Swr", "Sie", "Older", "Cc", "Explicit", "Targeted")
"""What a copy carries for VCL alone."""
_SF = r"""[a-z*][a-z0-9_.*-]*(?:=(?:"(?:[ !#-\[\]-~]|\\["\\])*"|-?\d{1,12}\.\d{1,3}|-?\d{1,15}|\?[01]"""
_SF += r"""|[A-Za-z*][^\s,;"()=]*))?"""
_SF += r"""(?:; *[a-z*][a-z0-9_.*-]*(?:=(?:"[^"]*"|[^\s,;"]+))?)*"""
_TARGETED = f"""\
    # A targeted field that is a dictionary of structured fields comes before all others (RFC 9213, 2.2).
    unset beresp.http.X-Tl-Targeted;
    std.collect(beresp.http.CDN-Cache-Control);
    if (beresp.http.CDN-Cache-Control ~ {{"^ *(?:{_SF})(?:[ \\t]*,[ \\t]*(?:{_SF}))* *$"}}) {{
        set beresp.http.X-Tl-Targeted = "yes";
        # Strings, parameters, fractions and what is false say nothing of caching.
        set beresp.http.X-Tl-Cc = "," + regsuball(beresp.http.CDN-Cache-Control, {{"=?"[^"]*""}}, "=x") + ",";
        set beresp.http.X-Tl-Cc = regsuball(regsuball(beresp.http.X-Tl-Cc, "\\s", ""), ";[^,]*", "");
        set beresp.http.X-Tl-Cc = regsuball(beresp.http.X-Tl-Cc, ",[a-z0-9_.*-]+=(x|-?\\d+\\.\\d+|\\?0)(?=,)", "");
        set beresp.http.X-Tl-Cc = regsuball(beresp.http.X-Tl-Cc, "=\\?1(?=,)", "");
    }}
"""
"""Of a CDN."""
