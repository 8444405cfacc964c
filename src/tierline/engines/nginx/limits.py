"""A budget (plan/budgets.py) in nginx's words: what one server accepts, and how long it waits."""

from __future__ import annotations

from collections.abc import Iterable

from tierline.plan.budgets import FIELDS, beyond, find
from tierline.plan.model import Budget, Plan

_PIECE = 16
"""KiB of one buffer for an answer's body."""
_REFUSED = {
    "body": (413, "The request is too large"),
    "request_line": (414, "The address is too long"),
    "first_byte": (504, "The service took too long"),
}
"""What nginx refuses by itself, as problem documents."""


_OWN = {
    400: "Bad request", 404: "No such page", 405: "Method not allowed", 408: "Request timeout", 421: "Misdirected",
    497: "HTTPS is needed", 500: "Internal error", 501: "Not implemented", 502: "Nobody behind answers",
    503: "Nobody behind answers", 504: "Nobody behind answers in time", 505: "HTTP version not supported",
}  # fmt: skip
"""What else nginx says by itself, and of whom it asks."""


def server(budget: Budget) -> str:
    """Lines of a server block. Its locations inherit the time-outs of the proxy module.

    nginx has one time for an answer to begin and for silence within it (proxy_read_timeout), so a server that isn't the
    one to refuse waits for the longer of both. A client that reads slowly fills the buffers, never the disk.
    """
    wait = budget.first_byte if "first_byte" in budget.settings else max(budget.first_byte, budget.idle)
    head, line = _kib(budget.answer_fields), _kib(max(budget.request_fields, budget.request_line))
    upload = min(budget.idle, budget.upload or budget.idle)
    return f"""\
        client_max_body_size {budget.body or 0};
        client_body_timeout {time(upload)};
        large_client_header_buffers 4 {line}k;
        # A flood of fields is refused before anything looks at it.
        max_headers {budget.field_count};
        send_timeout {time(budget.idle)};
        proxy_connect_timeout {time(budget.connect)};
        proxy_send_timeout {time(budget.idle)};
        proxy_read_timeout {time(wait)};
        proxy_buffer_size {head}k;
        proxy_buffers {max(8, -(-3 * head // _PIECE))} {_PIECE}k;
        proxy_max_temp_file_size 0;
"""


def problems(plan: Plan, own: Budget) -> str:
    """Lines of a server block: problem documents for what nginx refuses itself, in the words of the tier that owns the
    limit: what is far beyond it doesn't get there. Time-outs only of the one that owns them.

    The locations have addresses and no names: a request whose first line is too long has no address, and nginx answers
    500 when such a one is to go to a named location.
    """
    found, budget = pages(own, " " * 8), find(plan, "default")
    for status, title in _others(own).items():
        found += _page(status, title, "")
    for field, (status, title) in _refused(own).items():
        detail = beyond(budget, field)
        if field == "request_fields":
            detail += f", or more than {budget.field_count}"
        found += _page(status, title, f'"detail":"{detail}",')
    return found


def _page(status: int, title: str, detail: str) -> str:
    answer = _TOO_LARGE.get(status, status)
    return f"""\
        location = /-/limit/{status} {{
            internal;
            types {{ }}
            default_type application/problem+json;
            return {answer} '{{"type":"about:blank","status":{answer},"title":"{title}",{detail}"trace_id":"$tl_trace"}}';
        }}
"""


def pages(own: Budget, indent: str) -> str:
    """The lines alone that send refusals there: a location with an `error_page` of its own inherits none."""
    return "".join(
        f"{indent}error_page {status} {f'={_TOO_LARGE[status]} ' if status in _TOO_LARGE else ''}/-/limit/{status};\n"
        for status in (*(status for status, _ in _refused(own).values()), *_others(own))
    )


def _others(own: Budget) -> dict[int, str]:
    mine = {status for status, _ in _refused(own).values()}
    return {status: title for status, title in _OWN.items() if status not in mine}


def _refused(own: Budget) -> dict[str, tuple[int, str]]:
    return {
        field: told for field, told in _REFUSED.items() if field != "first_byte" or field in own.settings
    } | {"request_fields": (494, "The headers are too large")}


_TOO_LARGE = {494: 431, 497: 400}
"""What nginx calls fields that are too large or too many, and plain HTTP where TLS is spoken; and what HTTP does (RFC
6585, 5)."""


def texts(budget: Budget, routes: Iterable[tuple[str, Budget]]) -> str:
    """Lines of the http block of a gateway: what its refusals say, and the setting. routes: names, with their budgets."""
    statuses = {status: field for field, (status, _) in _REFUSED.items()} | {431: "request_fields"}
    words = {status: beyond(budget, field) for status, field in statuses.items()}
    words[431] += f", or more than {budget.field_count}"
    if "answer_fields" in budget.settings:
        words[502] = f"no whole answer came, or {beyond(budget, 'answer_fields')}"
    every = "".join(f' {status} "{text}";' for status, text in words.items())
    which = "".join(f" {status} {FIELDS[field]};" for status, field in statuses.items())
    own = "".join(
        f' "{name}:504" "{beyond(each, "first_byte")}";'
        for name, each in dict(routes).items()
        if each.first_byte != budget.first_byte
    )
    return f"""\
    map $status $gw_limit_usual {{ default "";{every} }}
    map $gw_route:$status $gw_limit {{ default $gw_limit_usual;{own} }}
    map $status $gw_limit_setting {{ default "";{which} }}
"""


def unheld(budget: Budget) -> dict[str, str]:
    """What nginx can't hold of what this role is the one to refuse."""
    found = {}
    mine = budget.settings
    if "first_byte" in mine and budget.idle != budget.first_byte:
        which = (
            "timeout=" if mine["first_byte"].startswith(("Gateway", "Route", "Service")) else "the longer one"
        )
        found["idle_timeout"] = (
            f"nginx has one time for an answer to begin and for silence within it: {which} counts for both"
        )
    if "total" in mine:
        found["max_duration"] = "nginx has no time for a whole answer: only silence ends one"
    if mine.get("upload", "").endswith("body_timeout"):
        found["body_timeout"] = "nginx bounds how long a client says nothing, not how long a body takes"
    return found


def time(seconds: float) -> str:
    """Seconds as nginx writes them."""
    return f"{max(1, round(seconds * 1000))}ms"


def _kib(size: int) -> int:
    """Whole KiB, of four, that hold so many bytes."""
    return -(-size // 4096) * 4
