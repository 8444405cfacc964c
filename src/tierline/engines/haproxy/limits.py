"""Limits and quotas in HAProxy's stick tables, counted together by all gateways of the line.

HAProxy's peers hand entries on as they are, and the last word wins: two gateways that count in one table would
overwrite each other. So each gateway counts in a table of its own, which the others only read, and a limit looks
at the sum. What comes to another gateway while a count is on its way (about a millisecond) can be let in beyond
the limit, never more than the requests under way at once. A gateway that starts again learns everybody's counts,
its own too, from the others; and a worker that replaces another from that one, so that a reload forgets nothing
(in the first five seconds after a start, while HAProxy still waits for others to learn from, for up to five
seconds). Only the last request on a connection that idled at the replaced worker is counted by that one alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tierline.engines.haproxy.callers import refuse

PEERS = "line"
_CLIENTS = "20k"
"""Callers that are counted at once; the longest unseen is forgotten."""


def peers(me: str, others: dict[str, str]) -> str:
    """The section that joins gateways. me: this one's name, which `localpeer` says too. others: their names, and the
    paths of their units' folders as seen from this one's; only this user can reach the sockets there."""
    lines = "".join(f"    server {name} unix@{folder}/peers.sock\n" for name, folder in others.items())
    return f"peers {PEERS}\n    bind unix@peers.sock mode 600\n    server {me}\n{lines}\n"


def limit(number: int, name: str, gateways: Sequence[str], given: dict[str, Any]) -> tuple[str, str]:
    """Rules and tables of a limit `{requests, per, burst, key, match, when, policy}`. A burst is what the same rate
    gives in a longer interval.

    number: which stick counter. gateways: this one first; each has a table of the limit.
    """
    most = given["burst"] or given["requests"]
    window = given["per"] * most / given["requests"]
    milliseconds = max(1, int(window * 1000))
    mine, *theirs = [f"{name}-{gateway}" for gateway in gateways]
    condition = f" if {{ path -m reg '^{given['match']}$' }}" if given["match"] else ""
    if given.get("when"):
        condition = f" if {given['when']}"
    wait = max(1, round(given["per"]))
    counted = f"{{ sc_tracked({number}) }}"
    rules = (
        f"    http-request track-sc{number} {given['key']} table {mine}{condition}\n"
        f"    http-request set-var(txn.used) sc_gpc0_rate({number}) if {counted}\n"
    )
    for table in theirs:
        rules += f"    http-request set-var(txn.used) {given['key']},table_gpc0_rate({table}),add(txn.used) if {counted}\n"
    over = f"{counted} {{ var(txn.used) -m int ge {most} }}"
    said = f" hdr retry-after {wait} hdr ratelimit-limit {most} hdr ratelimit-remaining 0 hdr ratelimit-reset {wait}"
    rules += refuse(429, "rate limit", over, said, policy=given["policy"])
    rules += (
        f"    http-request sc-inc-gpc0({number})\n"
        f"    http-request set-var(txn.most) int({most}) if {counted}\n"
        f"    http-request set-var(txn.left) var(txn.used),neg,add({most - 1}) if {counted}\n"
        f"    http-request set-var(txn.reset) int({wait}) if {counted}\n"
    )
    tables = "".join(
        f"backend {table}\n    stick-table type string len 64 size {_CLIENTS} expire {2 * milliseconds}ms "
        f"store gpc0,gpc0_rate({milliseconds}ms) peers {PEERS}\n\n"
        for table in (mine, *theirs)
    )
    return rules, tables


LEFT = """\
    http-after-response set-header ratelimit-limit %[var(txn.most)] if { var(txn.left) -m found }
    http-after-response set-header ratelimit-remaining %[var(txn.left)] if { var(txn.left) -m found }
    http-after-response set-header ratelimit-reset %[var(txn.reset)] if { var(txn.left) -m found }
"""
"""What is left of the limit that was looked at last."""
