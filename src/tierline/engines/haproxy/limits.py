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
CLIENTS = 100_000
"""Callers that one limit counts at once; a table grows with them, to some 20 MB. HAProxy would forget the longest unseen
for a new one, so that who has many addresses could push out others, and itself. Instead newcomers share buckets."""
_CROWD = 64
_ROOM = 16
"""HAProxy learns nothing from others, not even of whom it knows, in a table that is full: where nobody else writes there
is always room for that."""
_LONGEST = {"consumer": 256}
"""Bytes of a caller's name: a token's subject has up to 255 (OpenID Connect Core 1.0, section 2), an address fewer."""

CALLER = "var(txn.caller)"
CALLED = f"""\
    http-request set-var(txn.caller) var(txn.consumer)
    http-request set-var(txn.caller) var(txn.consumer),sha2(256),hex if {{ var(txn.consumer) -m len ge {_LONGEST["consumer"]} }}
"""
"""Who is counted by name: a table would cut a longer one, and who begin alike would share a count."""


def peers(me: str, others: dict[str, str]) -> str:
    """The section that joins gateways. me: this one's name, which `localpeer` says too. others: their names, and the
    paths of their units' folders as seen from this one's; only this user can reach the sockets there."""
    lines = "".join(f"    server {name} unix@{folder}/peers.sock\n" for name, folder in others.items())
    return f"peers {PEERS}\n    bind unix@peers.sock mode 600\n    server {me}\n{lines}\n"


def limit(number: int, name: str, gateways: Sequence[str], given: dict[str, Any]) -> tuple[str, str]:
    """Rules and tables of a limit `{requests, per, burst, by, key, match, when, policy}`. A burst is what the same rate
    gives in a longer interval.

    number: which stick counter. gateways: this one first; each has a table of the limit, and a small one for the crowd
    that found no room.
    """
    most = given["burst"] or given["requests"]
    milliseconds = max(1, int(given["per"] * most / given["requests"] * 1000))
    mine, *theirs = [f"{name}-{gateway}" for gateway in gateways]
    key, share = given["key"], f"var(txn.share{number})"
    here = f"{{ path -m reg '^{given['match']}$' }}" if given["match"] else given.get("when", "")
    counted = f"{{ sc_tracked({number}) }}"
    rules = _line(f"track-sc{number} {key} table {mine}", here)
    rules += _line(f"set-var(txn.share{number}) {key},xxh32,mod({_CROWD})", here)
    rules += _line(f"track-sc{number} {share} table {mine}-crowd", f"!{counted} {{ {share} -m found }}")
    rules += _line(f"set-var(txn.used) sc_gpc0_rate({number})", counted)
    for table in theirs:
        rules += _line(f"set-var(txn.used) {key},table_gpc0_rate({table}),add(txn.used)", counted)
        # Whom another gateway doesn't know by name may be in its crowd.
        unknown = f"{{ table_cnt({table}-crowd) gt 0 }} !{{ {key},in_table({table}) }}"
        rules += _line(
            f"set-var(txn.used) {share},table_gpc0_rate({table}-crowd),add(txn.used)", counted, unknown
        )
    wait = max(1, round(given["per"]))
    over = f"{counted} {{ var(txn.used) -m int ge {most} }}"
    said = f" hdr retry-after {wait} hdr ratelimit-limit {most} hdr ratelimit-remaining 0 hdr ratelimit-reset {wait}"
    rules += refuse(429, "rate limit", over, said, policy=given["policy"])
    rules += _line(f"sc-inc-gpc0({number})")
    rules += _line(f"set-var(txn.most) int({most})", counted)
    rules += _line(f"set-var(txn.left) var(txn.used),neg,add({most - 1})", counted)
    rules += _line(f"set-var(txn.reset) int({wait})", counted)
    length = _LONGEST.get(given.get("by", "consumer"), 64)
    tables = "".join(
        f"backend {table}{kind}\n    stick-table type string len {length} size {size} nopurge expire {2 * milliseconds}ms "
        f"store gpc0,gpc0_rate({milliseconds}ms) peers {PEERS}\n\n"
        for table in (mine, *theirs)
        for kind, size in (("", CLIENTS if table == mine else CLIENTS + _ROOM), ("-crowd", _CROWD + _ROOM))
    )
    return rules, tables


def _line(action: str, *conditions: str) -> str:
    said = " ".join(each for each in conditions if each)
    return f"    http-request {action}{' if ' + said if said else ''}\n"


LEFT = """\
    http-after-response set-header ratelimit-limit %[var(txn.most)] if { var(txn.left) -m found }
    http-after-response set-header ratelimit-remaining %[var(txn.left)] if { var(txn.left) -m found }
    http-after-response set-header ratelimit-reset %[var(txn.reset)] if { var(txn.left) -m found }
"""
"""What is left of the limit that was looked at last."""
