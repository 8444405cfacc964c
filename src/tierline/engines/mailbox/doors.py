"""How many connections a protocol has at once, in all and from one address: each costs memory and a descriptor.

Behind a balancer every client has the balancer's address, so one address may have half of all.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

MOST = {"smtp": 100, "pop3": 256, "imap": 256}
"""Connections of each protocol; one over SMTP may hold a whole mail in memory."""
IDLE = {"smtp": 300.0, "pop3": 600.0, "imap": 1800.0}
"""Seconds of silence after which a session ends: at least 5 minutes (RFC 5321, 4.5.3.2.7), 10 (RFC 1939, 3), and 30 once
somebody is logged in (RFC 3501, 5.4)."""


class Doors:
    """Of one protocol. Whoever comes in goes out again."""

    def __init__(self, protocol: str, config: dict[str, Any]) -> None:
        """config: the mailbox's. `most`, `each` and `idle` in it are another total, share of one address, and silence
        for all protocols."""
        self.most = int(config.get("most") or MOST[protocol])
        self.each = int(config.get("each") or max(1, self.most // 2))
        self.idle = float(config.get("idle") or IDLE[protocol])
        self._inside: Counter[str] = Counter()

    def refuses(self, address: str) -> str:
        """Why nobody more comes in from an address; empty: come in (and `leave`)."""
        if self._inside.total() >= self.most:
            return "too many connections, try again later"
        if self._inside[address] >= self.each:
            return "too many connections from your address, try again later"
        self._inside[address] += 1
        return ""

    def leave(self, address: str) -> None:
        self._inside[address] -= 1
        if not self._inside[address]:
            del self._inside[address]
