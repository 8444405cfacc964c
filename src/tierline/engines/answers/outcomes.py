"""What each network is answered, as records in text: for name servers that cannot choose by themselves.

BIND and PowerDNS are given the same configuration as tierline's own server (config.py). Here its policies
are worked out beforehand, for the health of this moment and every group of clients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

import dns.rdata
from dns.rdataclass import IN
from dns.rdatatype import RdataType

from tierline.engines.answers import rdata
from tierline.engines.answers.clients import Clients, Group
from tierline.engines.answers.config import Config, Multivalue, Node, Target, Weighted
from tierline.engines.answers.names import suffixes, to_text
from tierline.engines.answers.networks import network
from tierline.engines.answers.policy import Choice, Router, children
from tierline.engines.answers.rdata import Rdata
from tierline.engines.answers.zones import ROUTED, Entry, Zone, compile_target, compile_zones

_BITS = {4: 32, 6: 128}
_CHAIN = 8


class Line(NamedTuple):
    """One record. Names are absolute, with their dot."""

    owner: str
    ttl: int
    kind: str
    data: str
    weight: float = 0.0
    """Its share of the answers of its owner and type, when only one of them is given; 0: all are given."""


Outcome = tuple[Line, ...]
"""What is not the same for everyone in one zone."""

_Piece = tuple[int, int, tuple[Outcome, ...]]
"""A network's number and prefix length, and the outcome of each zone."""


class World:
    """A configuration, compiled. `healthy` tells of a place's target by their names."""

    def __init__(self, config: Config, healthy: Callable[[str, str], bool]) -> None:
        self._config = config
        self._zones = compile_zones(config)
        self._shares = _Shares(config, healthy)
        self._compiled = {
            id(target): compile_target(target, b"\x00")
            for place in config.places.values()
            for target in place.targets
        }
        self._clients = Clients(config)

    def zones(self) -> list[str]:
        """Names of the zones, without a dot at the end."""
        return [to_text(name).rstrip(".") for name in self._zones]

    def fixed(self, zone: str) -> list[Line]:
        """The records that are the same for everyone, SOA first."""
        return [
            Line(to_text(name), found.ttl, rdata.NAMES[kind], _text(kind, data))
            for name, entry in self._at(zone).entries.items()
            for kind, found in sorted(entry.sets.items(), key=lambda one: one[0] != rdata.SOA)
            if kind != rdata.ALIAS
            for data in found.data
        ]

    def outcomes(self) -> dict[tuple[Outcome, ...], list[str]]:
        """What is routed or an ALIAS in each zone, and the networks answered so: all addresses, once."""
        found: dict[tuple[Outcome, ...], list[str]] = {}
        for family in (4, 6):
            for net, outcome in self._merged(family):
                found.setdefault(outcome, []).append(net)
        return found

    def _at(self, zone: str) -> Zone:
        return next(each for name, each in self._zones.items() if to_text(name).rstrip(".") == zone)

    def _outcome(self, zone: Zone, group: Group) -> Outcome:
        lines: list[Line] = []
        for name, entry in zone.entries.items():
            if entry.route is not None or rdata.ALIAS in entry.sets:
                lines += self._chosen(name, name, entry, group, 0)
        return tuple(lines)

    def _chosen(self, owner: bytes, name: bytes, entry: Entry, group: Group, depth: int) -> list[Line]:
        """Addresses and HTTPS of `name` under the name of `owner`, for as long as all on the way live."""
        kinds = [kind for kind in ROUTED if kind in entry.sets]
        if entry.route is not None:
            return self._routed(owner, entry, group)
        found = [
            Line(to_text(owner), entry.sets[kind].ttl, rdata.NAMES[kind], _text(kind, data))
            for kind in kinds
            for data in entry.sets[kind].data
        ]
        for way in (rdata.ALIAS, rdata.CNAME):
            if way in entry.sets and depth < _CHAIN:
                target = entry.sets[way].data[0][1][0]
                below = self._entry(target)
                if below is not None:
                    lines = self._chosen(owner, target, below, group, depth + 1)
                    ttl = entry.sets[way].ttl
                    found += [line._replace(ttl=min(ttl, line.ttl)) for line in lines]
        return found

    def _routed(self, owner: bytes, entry: Entry, group: Group) -> list[Line]:
        assert entry.route is not None
        weighted, shares = self._shares.of(entry.route, group)
        found: dict[tuple[int, Rdata], float] = {}
        for target, share in shares:
            for kind in ROUTED:
                for data in self._compiled[id(target)][kind]:
                    found[kind, data] = found.get((kind, data), 0.0) + share
        return [
            Line(to_text(owner), entry.ttl, rdata.NAMES[kind], _text(kind, data), share if weighted else 0.0)
            for (kind, data), share in found.items()
        ]

    def _entry(self, name: bytes) -> Entry | None:
        zone = next((self._zones[suffix] for suffix in suffixes(name) if suffix in self._zones), None)
        return zone.find(name) if zone is not None and zone.cut(name) is None else None

    def _merged(self, family: int) -> list[tuple[str, tuple[Outcome, ...]]]:
        """The networks of a family; neighbours with the same outcome are one."""
        known: dict[Group, tuple[Outcome, ...]] = {}
        found: list[_Piece] = []
        for number, prefix in cover(self._config, family):
            group = self._clients.locate(family, number)[0]
            if group not in known:
                known[group] = tuple(self._outcome(zone, group) for zone in self._zones.values())
            piece = number, prefix, known[group]
            while found and _twins(found[-1], piece, _BITS[family]):
                number, prefix, outcome = found.pop()
                piece = number, prefix - 1, outcome
            found.append(piece)
        return [(f"{_address(family, number)}/{prefix}", outcome) for number, prefix, outcome in found]


class _Shares(Router):
    """A router that, where chance decides, tells the shares instead of throwing dice."""

    def __init__(self, config: Config, healthy: Callable[[str, str], bool]) -> None:
        super().__init__(config.places, config.latency, healthy)

    def of(self, node: Node, client: Group) -> tuple[bool, list[tuple[Target, float]]]:
        """Whether only one of the targets is to be given, and each target's share."""
        self._all = False
        self._all = not self._up(node, client)
        found: list[tuple[Target, float]] = []
        weighted = self._share(node, client, 1.0, found)
        if isinstance(node, Multivalue):
            del found[node.limit :]
        return weighted, found

    def _share(self, node: Node, client: Group, part: float, found: list[tuple[Target, float]]) -> bool:
        if isinstance(node, str):
            targets = self._places[node].targets
            up = [one for one in targets if self._all or self._healthy(node, one.name)]
            found += [(target, part / len(up)) for target in up]
            return False
        if not isinstance(node, Weighted):
            below = [(child, part) for child in self._select(node, client, Choice())]
        else:
            shares = [share for share in node.to if self._up(share.to, client)]
            shares = [share for share in shares if share.weight] or shares
            total = sum(share.weight for share in shares)
            below = [
                (share.to, part * share.weight / total if total else part / len(shares)) for share in shares
            ]
        return any([self._share(child, client, each, found) for child, each in below]) | isinstance(
            node, Weighted
        )


def policies(node: Node) -> set[str]:
    """Names of the policies in a route."""
    own = set() if isinstance(node, str) else {type(node).__name__.lower()}
    return own.union(*map(policies, children(node)))


def cover(config: Config, family: int) -> Iterator[tuple[int, int]]:
    """All addresses of a family as networks in order, none of them divided by one of the configuration's."""
    bits = _BITS[family]
    nets = [network(subnet.net) for subnet in config.subnets]
    nets.append(network("127.0.0.0/8") if family == 4 else network("::1/128"))
    inner = sorted({(number, prefix) for kind, number, prefix in nets if kind == family})

    def split(number: int, prefix: int, inside: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
        inside = [net for net in inside if net[1] > prefix]
        if not inside:
            yield number, prefix
            return
        middle = number | 1 << (bits - prefix - 1)
        yield from split(number, prefix + 1, [net for net in inside if net[0] < middle])
        yield from split(middle, prefix + 1, [net for net in inside if net[0] >= middle])

    return split(0, 0, inner)


def _twins(one: _Piece, other: _Piece, bits: int) -> bool:
    """Whether two pieces are the halves of one network and are answered alike."""
    same = one[1] == other[1] > 0 and one[2] == other[2]
    return same and one[0] ^ other[0] == 1 << (bits - one[1]) and one[0] < other[0]


def _address(family: int, number: int) -> str:
    return str(IPv4Address(number) if family == 4 else IPv6Address(number))


def _text(kind: int, data: Rdata) -> str:
    """Presentation form, as every server reads it."""
    wire = b"".join((data[0], *data[1], data[2]))
    return dns.rdata.from_wire(IN, RdataType.make(kind), wire, 0, len(wire)).to_text()
