"""A budget (plan/budgets.py) in HAProxy's words: time-outs of frontends and backends, buffers, refusals by size.

HAProxy has one time for an answer to begin and for silence within it (timeout server). A role that isn't the one to
refuse waits for the longer of both. One that is waits for the first; event streams, which a client asks for by
`Accept: text/event-stream`, may be silent as long as the budget says.
"""

from __future__ import annotations

from collections.abc import Iterable

from tierline.plan.budgets import beyond, shown
from tierline.plan.model import Budget

EVENTS = "{ req.hdr(accept) -m sub -i text/event-stream }"
"""A request for an event stream."""
_SLACK, _MORE = 4096, 100
"""Bytes, and a number, of fields that are taken beyond all budgets, so that a rule can refuse them in words: what doesn't
fit gets a page of HAProxy's own."""
_REWRITES = 1024
"""Bytes that rules may add to the fields of a message (HAProxy's own default)."""


def frontend(budget: Budget) -> str:
    """Lines of a frontend: a client that says nothing, or takes nothing, is left after the silence of the budget."""
    return f"    timeout client {time(budget.idle)}\n"


def backend(budget: Budget) -> str:
    """Lines of a backend."""
    mine = "first_byte" in budget.settings
    wait = budget.first_byte if mine else max(budget.first_byte, budget.idle)
    lines = (
        f"    timeout connect {time(budget.connect)}\n"
        f"    timeout server {time(wait)}\n"
        f"    timeout tunnel {time(budget.idle)}\n"
    )
    if mine and budget.idle > wait:
        lines += f"    http-request set-timeout server {time(budget.idle)} if {EVENTS}\n"
    return lines


def told(budget: Budget) -> dict[int, str]:
    """What HAProxy's own refusals say, by status: text of a log-format string."""
    found = {504: beyond(budget, "first_byte")} if "first_byte" in budget.settings else {}
    if "answer_fields" in budget.settings:
        # HAProxy says the same of an answer that is none.
        found[502] = f"no whole answer came, or {beyond(budget, 'answer_fields')}"
    return found


def waited(budget: Budget, routes: Iterable[Budget]) -> tuple[str, dict[int, str]]:
    """The same for a frontend whose routes have times of their own: a rule that sets the usual text, and the texts."""
    if all(each.first_byte == budget.first_byte for each in routes):
        return "", told(budget)
    rule = f'    http-request set-var(txn.wait) str("{beyond(budget, "first_byte")}")\n'
    return rule, told(budget) | {504: "%[var(txn.wait)]"}


def unheld(budget: Budget) -> dict[str, str]:
    """What HAProxy can't hold of what this role is the one to refuse."""
    found = {}
    mine = budget.settings
    if "first_byte" in mine and budget.idle > budget.first_byte:
        found["idle_timeout"] = (
            "HAProxy has one time for an answer to begin and for silence within it: an answer that isn't asked for with "
            f"Accept: text/event-stream ends after timeout= ({shown('first_byte', budget.first_byte)}) of silence"
        )
    if "total" in mine:
        found["max_duration"] = "HAProxy has no time for a whole answer: only silence ends one"
    if mine.get("upload", "").endswith("body_timeout"):
        found["body_timeout"] = "HAProxy bounds how long a client says nothing, not how long a body takes"
    if "body" in mine and not mine["body"].startswith(("Gateway", "Route", "Service")):
        found["max_body"] = "HAProxy counts no body that doesn't say how long it is: such a one isn't bounded"
    return found


def sizes(budgets: Iterable[Budget], headroom: int) -> str:
    """Lines of the global section: buffers that hold the largest request or answer fields of all roles.

    headroom: bytes that rules may add to an answer's fields, beside what every role has.
    """
    all_ = list(budgets)
    most = max(max(each.request_line + each.request_fields + _SLACK, each.answer_fields) for each in all_)
    count = max(each.field_count for each in all_) + _MORE
    rewrites = _REWRITES + headroom
    # Fields are kept with an index of their own, of 8 bytes each, beside them.
    size = -(-(most + 16 * count + rewrites) // 4096) * 4096
    return f"    tune.bufsize {size}\n    tune.maxrewrite {rewrites}\n    tune.http.maxhdr {count}\n"


def time(seconds: float) -> str:
    """Seconds as HAProxy writes them."""
    return f"{max(1, round(seconds * 1000))}ms"
