"""Zones, compiled from the configuration: records in wire form, every mistake found before it is served."""

from __future__ import annotations

from tierline.engines.answers import rdata
from tierline.engines.answers.config import (
    Config,
    ConfigError,
    Geography,
    Latency,
    Multivalue,
    Node,
    Record,
    Simple,
    Target,
    Weighted,
)
from tierline.engines.answers.config import Zone as ZoneConfig
from tierline.engines.answers.continents import CONTINENTS, is_country
from tierline.engines.answers.names import NameError_, ends_with, parent, suffixes, to_text, to_wire
from tierline.engines.answers.policy import children, places_of
from tierline.engines.answers.rdata import Rdata, RdataError

ROUTED = (rdata.A, rdata.AAAA, rdata.HTTPS)
"""The types that a route answers."""


class RRset:
    __slots__ = ("data", "extra", "kind", "ttl")

    def __init__(self, kind: int, ttl: int, data: list[Rdata]) -> None:
        self.kind = kind
        self.ttl = ttl
        self.data = data
        self.extra: list[bytes] = []
        """Names whose addresses belong into the additional section (RFC 1035, section 3.3; RFC 2782)."""
        for prefix, names, _suffix in data:
            if kind in (rdata.MX, rdata.NS):
                self.extra.append(names[0])
            elif kind == rdata.SRV:
                self.extra.append(prefix[6:])


class Entry:
    """What the data has at one name; nothing at all for an empty non-terminal (RFC 8020)."""

    __slots__ = ("route", "sets", "ttl")

    def __init__(self) -> None:
        self.sets: dict[int, RRset] = {}
        self.route: Node | None = None
        self.ttl = 0


class Zone:
    __slots__ = ("cuts", "entries", "minimum", "name", "soa")

    def __init__(self, name: bytes, soa: RRset, minimum: int) -> None:
        self.name = name
        self.soa = soa
        self.minimum = minimum
        self.entries: dict[bytes, Entry] = {}
        self.cuts: set[bytes] = set()
        """Names below the apex with NS: what is delegated."""

    def entry(self, name: bytes) -> Entry:
        """The entry of a name, made with all empty non-terminals above it."""
        above = name
        while above not in self.entries:
            self.entries[above] = Entry()
            if above != self.name:
                above = parent(above)
        return self.entries[name]

    def cut(self, name: bytes) -> bytes | None:
        """The topmost delegation on the way to a name."""
        if self.cuts:
            for suffix in reversed(suffixes(name)):
                if suffix in self.cuts:
                    return suffix
        return None

    def find(self, name: bytes) -> Entry | None:
        """The entry of a name, by wildcard where that covers it (RFC 4592, section 3.3.1), or None."""
        found = self.entries.get(name)
        while found is None:
            name = parent(name)
            if name in self.entries:
                return self.entries.get(b"\x01*" + name)
        return found


def compile_target(target: Target, origin: bytes) -> dict[int, list[Rdata]]:
    """A target's records by type. The HTTPS record points at its owner and hints at the addresses."""
    found = {
        rdata.A: [rdata.encode(rdata.A, text, origin) for text in target.a],
        rdata.AAAA: [rdata.encode(rdata.AAAA, text, origin) for text in target.aaaa],
        rdata.HTTPS: [],
    }
    if target.https:
        hints = "".join(
            f" {key}={','.join(values)}"
            for key, values in (("ipv4hint", target.a), ("ipv6hint", target.aaaa))
            if values and key not in target.https
        )
        found[rdata.HTTPS] = [rdata.encode(rdata.HTTPS, f"1 . {target.https}{hints}", origin)]
    return found


def compile_zones(config: Config) -> dict[bytes, Zone]:
    """All zones by their wire names. Raises ConfigError for the first thing that can't be."""
    zones: dict[bytes, Zone] = {}
    for given in config.zones:
        try:
            zone = _compile(given, config)
        except (NameError_, RdataError) as error:
            raise ConfigError(f"zone {given.name}: {error}") from None
        if zone.name in zones:
            raise ConfigError(f"zone {given.name} is given twice")
        zones[zone.name] = zone
    for zone in zones.values():
        for name, entry in zone.entries.items():
            for _, (target,), _ in entry.sets[rdata.ALIAS].data if rdata.ALIAS in entry.sets else []:
                if not any(suffix in zones for suffix in suffixes(target)):
                    raise ConfigError(
                        f"ALIAS of {to_text(name)} points at {to_text(target)}, which is in no zone here; "
                        "use CNAME below the apex, or add the record"
                    )
    return zones


def _compile(given: ZoneConfig, config: Config) -> Zone:
    origin = to_wire(given.name.rstrip(".") + ".")
    soa = given.soa
    numbers = (soa.serial, soa.refresh, soa.retry, soa.expire, soa.minimum)
    if not all(0 <= number < 1 << 32 for number in numbers):
        raise ConfigError(f"zone {given.name}: a number of the SOA is not in 0 to 4294967295")
    if not given.ns:
        raise ConfigError(f"zone {given.name}: ns is empty")
    data = rdata.soa(to_wire(soa.primary, origin), to_wire(soa.contact, origin), numbers)
    zone = Zone(origin, RRset(rdata.SOA, _ttl(given.ttl, given.name), [data]), soa.minimum)
    zone.entry(origin).sets[rdata.SOA] = zone.soa
    _add(zone, Record(name="@", type="NS", values=given.ns), given.ttl)
    for record in given.records:
        _add(zone, record, given.ttl)
    for route in given.routes:
        name = _owner(zone, route.name)
        _check_node(route.to, config, route.name)
        entry = zone.entry(name)
        if entry.route is not None:
            raise ConfigError(f"{to_text(name)} has two routes")
        entry.route = route.to
        entry.ttl = _ttl(given.ttl if route.ttl is None else route.ttl, route.name)
    for name, entry in zone.entries.items():
        _check_entry(zone, name, entry)
        if rdata.NS in entry.sets and name != origin:
            zone.cuts.add(name)
    return zone


def _owner(zone: Zone, text: str) -> bytes:
    name = to_wire(text, zone.name)
    if not ends_with(name, zone.name):
        raise ConfigError(f"{text!r} is not in the zone {to_text(zone.name)}")
    return name


def _ttl(ttl: int, name: str) -> int:
    if not 0 <= ttl < 1 << 31:
        raise ConfigError(f"{name}: a TTL of {ttl} is not in 0 to 2147483647 (RFC 2181, section 8)")
    return ttl


def _add(zone: Zone, record: Record, default: int) -> None:
    name = _owner(zone, record.name)
    kind = rdata.TYPES[record.type]
    sets = zone.entry(name).sets
    if kind in sets:
        raise ConfigError(
            f"{to_text(name)} has two record sets of type {record.type}; put all values into one"
        )
    if not record.values:
        raise ConfigError(f"{to_text(name)} {record.type} has no values")
    try:
        data = list(dict.fromkeys(rdata.encode(kind, value, zone.name) for value in record.values))
    except RdataError as error:
        raise ConfigError(f"{to_text(name)} {record.type}: {error}") from None
    sets[kind] = RRset(kind, _ttl(default if record.ttl is None else record.ttl, record.name), data)


def _check_entry(zone: Zone, name: bytes, entry: Entry) -> None:
    text = to_text(name)
    if rdata.CNAME in entry.sets:
        if len(entry.sets) > 1 or entry.route is not None:
            extra = ": use ALIAS at the apex" if name == zone.name else ""
            raise ConfigError(f"{text} has a CNAME beside other data{extra} (RFC 1034, section 3.6.2)")
        if len(entry.sets[rdata.CNAME].data) > 1:
            raise ConfigError(f"{text} has a CNAME of more than one value")
    taken = [rdata.NAMES[kind] for kind in ROUTED if kind in entry.sets]
    if entry.route is not None and (taken or rdata.ALIAS in entry.sets):
        raise ConfigError(f"{text} has a route and {', '.join(taken) or 'ALIAS'}")
    if rdata.ALIAS in entry.sets and (taken or len(entry.sets[rdata.ALIAS].data) > 1):
        raise ConfigError(f"{text} has an ALIAS beside {', '.join(taken) or 'another'}")


def _check_node(node: Node, config: Config, name: str) -> None:
    for place in places_of(node):
        if place not in config.places:
            raise ConfigError(
                f"route {name}: no place {place!r}; there are {', '.join(sorted(config.places))}"
            )
    if isinstance(node, str):
        return
    if not children(node):
        raise ConfigError(f"route {name}: {type(node).__name__.lower()} has nothing to choose from")
    if isinstance(node, Weighted) and not all(0 <= share.weight < 1e9 for share in node.to):
        raise ConfigError(f"route {name}: a weight is below 0 or not a number")
    if isinstance(node, Multivalue | Simple) and node.limit < isinstance(node, Multivalue):
        raise ConfigError(f"route {name}: a limit of {node.limit} is too low")
    if isinstance(node, Latency):
        for child in node.to:
            if not list(places_of(child)):
                raise ConfigError(f"route {name}: a choice of latency has no place")
    if isinstance(node, Geography):
        for code in node.country:
            if not is_country(code):
                raise ConfigError(f"route {name}: {code!r} is not a country's code such as DE")
        for code in node.continent:
            if code not in CONTINENTS:
                raise ConfigError(
                    f"route {name}: {code!r} is not a continent's; there are {', '.join(CONTINENTS)}"
                )
    for child in children(node):
        _check_node(child, config, name)
