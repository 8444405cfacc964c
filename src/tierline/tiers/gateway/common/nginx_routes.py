"""Routes of a gateway as locations of nginx: where a request goes, how long it may take, and what is tried again.

nginx tries a GET again whenever it failed, and a POST only when nobody has seen it. It takes PUT and DELETE for
methods of the first kind, as they may be repeated; but that is for who sent them to decide. So these have a location
of their own, `_once`, and go on to `_again` only when not a byte of them was sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from tierline.engines.forwarded import LINE
from tierline.engines.nginx import bodies
from tierline.engines.nginx.config import DATED, ident
from tierline.engines.unkeyed import OVERRIDES
from tierline.plan.model import Role, Upstream
from tierline.tiers.gateway.common.routes import Routed

_HEADERS = {
    "Connection": "$gw_upgrade",
    "Upgrade": "$gw_upgraded",
    "Host": "$tl_authority",
    LINE: "$tl_line",
    "Via": "$tl_via",
    "traceparent": "00-$tl_trace-$tl_span-$tl_flags",
    "x-tierline-claims": "$gw_claims",
    "x-tierline-subject": "$gw_subject",
    "x-tierline-consumer": "$gw_known",
    # What ends here, and what could have a service see another request than the policies saw.
    **dict.fromkeys(
        (
            "TE", "Keep-Alive", "Proxy", "Proxy-Connection", *OVERRIDES,
        ),
        "",
    ),
}  # fmt: skip

_NEVER = "            proxy_next_upstream off;\n"
_FAILED = """\
            proxy_intercept_errors on;
            error_page 502 503 504 = @MORE;
            error_page 418 = @$gw_next;
"""
_MORE = """\
            error_page 418 = @$gw_next;
            error_page 502 = @gw_none;
            error_page 413 500 503 504 @gw_problem;
"""
_BUDGET = """\
            if ($gw_more = 502) { return 502; }
            if ($gw_more = 503) { return 503; }
            if ($gw_more = 504) { return 504; }
"""


def up(role: Role, service: str) -> str:
    """The name of the upstream block of a service."""
    return f"{ident(role)}_{service}"


AGAIN = "_again"
"""What follows an upstream block's name in that of the block for requests that are tried again."""


def elsewhere(role: Role) -> dict[str, tuple[Upstream, ...]]:
    """The targets of requests that are tried again, by service: the own zone's are backup. Empty where all are in it:
    nginx takes the next one of a block by itself, but leaves no zone before three failures."""
    if not any(len({each.distance for each in targets}) > 1 for targets in role.upstreams.values()):
        return {}
    return {name: _moved(targets) for name, targets in role.upstreams.items()}


def _moved(targets: tuple[Upstream, ...]) -> tuple[Upstream, ...]:
    """In the same order: nginx always tries the last one of a block, which is another zone's."""
    own, last = (found(each.distance for each in targets) for found in (min, max))
    return tuple(replace(each, distance=last + 1) if each.distance == own else each for each in targets)


class Passing:
    """How requests are passed on by a gateway's role."""

    def __init__(self, role: Role, fields: Mapping[str, str]) -> None:
        keys = role.settings["keys"]
        self.role = role
        self.again = AGAIN if elsewhere(role) else ""
        self.headers = {
            **_HEADERS,
            **fields,
            **({keys["header"]: "$gw_key"} if keys else {}),
        }

    def common(self) -> str:
        """Lines of the server: what is the same for every route."""
        settings = self.role.settings
        return f"""\
{_set(self.headers, settings["request"], " " * 8)}\
{_responses(settings["response"], " " * 8)}\
        # What strangers say of themselves; who it really is is set above.
        more_clear_input_headers "x-tierline-*";
        # Answers come through as they are made.
        proxy_buffering off;
        # A service doesn't steer nginx.
        proxy_ignore_headers X-Accel-Expires X-Accel-Redirect X-Accel-Limit-Rate X-Accel-Buffering X-Accel-Charset;
        {DATED}
        proxy_pass_header Server;
"""

    def route(self, number: int, route: Routed) -> str:
        """The locations of one route."""
        name, found = f"gw_r{number}", ""
        for shaped in (False, True)[: 1 + (route.request_body is not None)]:
            way = name + "_body" * shaped
            found += self._ways(route, way, shaped)
            if route.mirror:
                found += self._mirror(route, way, shaped)
            if route.response_body is not None:
                found += self._ways(route, way, shaped, via=True)
                entry = self._reads(shaped) + self._mirrored(route, way) + bodies.ANSWER
                found += _location(f"@{name}_shape{'_body' * shaped}", entry)
        if route.response_body is not None:
            found += _location(f"@{name}_head", self._passed(route, name, "bodies.head") + _NEVER)
        return found

    def _ways(self, route: Routed, name: str, shaped: bool, via: bool = False) -> str:
        """The locations that pass a request on. shaped: with a body that has been shaped; via: for bodies.js, which
        has mirrored it already and adds headers to the answer itself."""
        budget = self.role.settings["retry_budget"]
        tried = f"""\
            # Only what nobody has seen, or a method that changes nothing, is tried again.
            proxy_next_upstream error timeout http_503;
            proxy_next_upstream_tries {route.retries + (budget is None)};
            proxy_next_upstream_timeout {_milliseconds(route.timeout)};
"""
        at, again = (f"= /-/via/{name}", f"{name}_via_again") if via else (f"@{name}", f"{name}_again")
        more = again.replace("again", "more")
        told = ("" if via else name, "" if via else "gateway.answer")
        body = self._passed(route, *told) + bodies.SENT * shaped
        moved = self._passed(route, *told, self.again) + bodies.SENT * shaped
        first = bodies.FETCHED if via else self._reads(shaped)
        if route.retries and budget is not None:
            # A failure comes back here, to be asked whether it may be tried again.
            found = _location(at, first + _FAILED.replace("MORE", more) + body + _NEVER)
            found += _location(f"@{more}", _MORE + _BUDGET + (bodies.FETCHED if via else "") + moved + tried)
        else:
            found = _location(at, first + body + (tried if route.retries else _NEVER))
        if route.retries:
            once = f"            error_page 502 = @{again};\n            error_page 418 = @$gw_next;\n"
            once += "            error_page 413 500 503 504 @gw_problem;\n            error_page 400 408 /-/malformed;\n"
            unseen = '            if ($upstream_bytes_sent !~ "^0?$") { return 502; }\n'
            found += _location(f"{at}_once", first + once + body + _NEVER)
            unseen += _BUDGET * (budget is not None)
            found += _location(f"@{again}", unseen + (bodies.FETCHED if via else "") + moved + _NEVER)
        return found

    def _reads(self, shaped: bool) -> str:
        return bodies.read(min(self.role.settings["max_body"], bodies.LARGEST)) if shaped else ""

    def _mirrored(self, route: Routed, name: str) -> str:
        return f"            mirror /-/mirror/{name};\n" if route.mirror and name else ""

    def _passed(self, route: Routed, name: str, filter: str, block: str = "") -> str:
        """name: whose copies are mirrored; filter: the function that adds headers to the answer; block: what follows
        the name of the service's upstream block."""
        settings, lines = self.role.settings, ""
        whole = bodies.WHOLE if route.response_body is not None else {}
        if route.request or whole:
            lines += _set(self.headers, {**settings["request"], **route.request, **whole}, " " * 12)
        if settings["concurrency"]:
            lines += f"            limit_conn gateway_concurrency {settings['concurrency']};\n"
        to = (
            "${gw_up}"
            if route.canary and block
            else "$gw_up"
            if route.canary
            else up(self.role, route.upstream)
        )
        target = "$gw_target" if route.rewrite is not None or not name else ""
        return (
            f"{lines}{self._mirrored(route, name)}{_responses(route.response, ' ' * 12)}"
            + (f"            js_header_filter {filter};\n" if filter else "")
            + f"            proxy_read_timeout {_milliseconds(route.timeout)};\n"
            f"            proxy_pass http://{to}{block}{target};\n"
        )

    def _mirror(self, route: Routed, name: str, shaped: bool) -> str:
        """Whatever becomes of a copy, it says nothing in the hop of the request: only `418` is its own."""
        assert route.mirror is not None
        return f"""\
        location = /-/mirror/{name} {{
            internal;
            error_page 418 = @$gw_next;
            if ($gw_share = "") {{ return 204; }}
            # nginx reads the next request of a connection when the copy is answered, too.
            proxy_read_timeout 1s;
            proxy_next_upstream off;
{bodies.SENT * shaped}\
            proxy_pass http://{up(self.role, route.mirror["to"])}$gw_target;
        }}
"""


def _location(name: str, body: str) -> str:
    return f"        location {name} {{\n{body}        }}\n"


def _milliseconds(seconds: float) -> str:
    return f"{max(1, round(seconds * 1000))}ms"


def _set(headers: Mapping[str, str], given: Mapping[str, Any], indent: str) -> str:
    """Request headers, with those that the stack sets or removes (None)."""
    changed = {name.lower() for name in given}
    every = {name: value for name, value in headers.items() if name.lower() not in changed}
    every |= {name: "" if value is None else value for name, value in given.items()}
    return "".join(f'{indent}proxy_set_header {name} "{value}";\n' for name, value in every.items())


def _responses(given: Mapping[str, Any], indent: str) -> str:
    return "".join(
        f"{indent}more_clear_headers {name};\n"
        if value is None
        else f"{indent}more_set_headers '{name}: {value}';\n"
        for name, value in given.items()
    )
