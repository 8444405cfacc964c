"""From a question to the records of its answer (RFC 1034, section 4.3.2), without a byte of wire form."""

from __future__ import annotations

from tierline.engines.answers import rdata
from tierline.engines.answers.clients import Group
from tierline.engines.answers.config import Node, Target
from tierline.engines.answers.names import ends_with, suffixes
from tierline.engines.answers.policy import Choice, Router, looks_at_client
from tierline.engines.answers.query import NOERROR, NXDOMAIN, REFUSED
from tierline.engines.answers.rdata import Rdata
from tierline.engines.answers.zones import ROUTED, Entry, RRset, Zone

Record = tuple[bytes, int, int, Rdata]
"""Owner, type, TTL, data."""

_CHAIN = 8
"""How many CNAME or ALIAS are followed."""
_DS = 43
"""Asked of the parent, not of whom it delegates to (RFC 4035, section 3.1.4.1); we do not sign."""
_ANY = (b"\x07RFC8482\x00", (), b"")
"""What ANY is answered with (RFC 8482, section 4.2): a HINFO of that name and nothing."""


class Outcome:
    """The answer's sections, and what its cache and its hop have to know."""

    __slots__ = (
        "additional",
        "answer",
        "authoritative",
        "authority",
        "choice",
        "depth",
        "rcode",
        "tailored",
    )

    def __init__(self) -> None:
        self.rcode = NOERROR
        self.authoritative = True
        self.answer: list[Record] = []
        self.authority: list[Record] = []
        self.additional: list[Record] = []
        self.tailored = False
        """Whether another client may be answered differently."""
        self.choice: Choice | None = None
        self.depth = 0


class Resolver:
    """Answers from compiled zones; `compiled` has every target's records by its identity."""

    def __init__(
        self, zones: dict[bytes, Zone], router: Router, compiled: dict[int, dict[int, list[Rdata]]]
    ) -> None:
        self._zones = zones
        self._router = router
        self._compiled = compiled

    def zone(self, name: bytes) -> Zone | None:
        """The nearest zone that a name is in."""
        for suffix in suffixes(name):
            if suffix in self._zones:
                return self._zones[suffix]
        return None

    def resolve(self, name: bytes, kind: int, client: Group, depth: int = 0) -> Outcome:
        """`depth`: how many ALIAS led here."""
        outcome = Outcome()
        outcome.depth = depth
        for step in range(_CHAIN):
            zone = self.zone(name)
            if zone is None:
                if not step:
                    outcome.rcode = REFUSED
                    outcome.authoritative = False
                return outcome
            cut = zone.cut(name)
            if cut is not None and not (kind == _DS and cut == name):
                self._refer(outcome, zone, cut, step)
                return outcome
            entry = zone.find(name)
            if entry is None:
                outcome.rcode = NXDOMAIN
                self._negative(outcome, zone)
                return outcome
            if cut is not None:
                self._negative(outcome, zone)
                return outcome
            alias = entry.sets.get(rdata.CNAME)
            if alias is None or kind in (rdata.CNAME, rdata.ANY):
                self._answer(outcome, zone, entry, name, kind, client)
                return outcome
            outcome.answer += _records(name, alias)
            target = alias.data[0][1][0]
            if any(target == owner for owner, *_ in outcome.answer):
                return outcome
            name = target
        return outcome

    def _refer(self, outcome: Outcome, zone: Zone, cut: bytes, step: int) -> None:
        """A delegation, with the addresses below it that the zone has as glue."""
        servers = zone.entries[cut].sets[rdata.NS]
        outcome.authoritative = bool(step)
        outcome.authority += _records(cut, servers)
        self._addresses(outcome, servers)

    def _negative(self, outcome: Outcome, zone: Zone) -> None:
        """RFC 2308, section 3: the SOA, for no longer than its minimum."""
        soa = zone.soa
        outcome.authority.append((zone.name, rdata.SOA, min(soa.ttl, zone.minimum), soa.data[0]))

    def _answer(
        self, outcome: Outcome, zone: Zone, entry: Entry, name: bytes, kind: int, client: Group
    ) -> None:
        before = len(outcome.answer)
        if kind == rdata.ANY:
            if entry.sets or entry.route is not None:
                outcome.answer.append((name, rdata.HINFO, 3600, _ANY))
        elif kind in entry.sets:
            found = entry.sets[kind]
            outcome.answer += _records(name, found)
            self._addresses(outcome, found)
        elif kind in ROUTED and entry.route is not None:
            self._route(outcome, entry.route, entry.ttl, name, kind, client)
        elif kind in ROUTED and rdata.ALIAS in entry.sets:
            self._alias(outcome, entry.sets[rdata.ALIAS], name, kind, client)
        if len(outcome.answer) == before:
            self._negative(outcome, zone)

    def _route(self, outcome: Outcome, node: Node, ttl: int, name: bytes, kind: int, client: Group) -> None:
        choice = outcome.choice = self._router.choose(node, client)
        outcome.tailored = looks_at_client(node)
        outcome.answer += self._targets(choice.targets, name, kind, ttl)
        if kind == rdata.HTTPS:
            for extra in (rdata.A, rdata.AAAA):
                outcome.additional += self._targets(choice.targets, name, extra, ttl)

    def _targets(self, targets: list[Target], name: bytes, kind: int, ttl: int) -> list[Record]:
        data = dict.fromkeys(data for target in targets for data in self._compiled[id(target)][kind])
        return [(name, kind, ttl, one) for one in data]

    def _alias(self, outcome: Outcome, alias: RRset, name: bytes, kind: int, client: Group) -> None:
        """The target's own records under this name, for no longer than either lives."""
        target = alias.data[0][1][0]
        if outcome.depth == _CHAIN:
            return
        below = self.resolve(target, kind, client, outcome.depth + 1)
        outcome.tailored |= below.tailored
        outcome.choice = below.choice or outcome.choice
        outcome.answer += [
            (name, kind, min(alias.ttl, ttl), data) for _, found, ttl, data in below.answer if found == kind
        ]

    def _addresses(self, outcome: Outcome, found: RRset) -> None:
        """Fixed addresses of the names in a record set; routed ones are left to be asked for."""
        for name in dict.fromkeys(found.extra):
            zone = self.zone(name)
            entry = zone.entries.get(name) if zone and ends_with(name, zone.name) else None
            for kind in (rdata.A, rdata.AAAA) if entry else ():
                if entry and kind in entry.sets:
                    outcome.additional += _records(name, entry.sets[kind])


def _records(name: bytes, found: RRset) -> list[Record]:
    return [(name, found.kind, found.ttl, data) for data in found.data]
