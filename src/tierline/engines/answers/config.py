"""The configuration of the answering server: one JSON file, checked as a whole before any of it is used."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec


class ConfigError(ValueError):
    """The file can't be read, is not of this form, or says something that can't be."""


class Check(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A health check of one target, run by the server itself.

    `tcp`: the port accepts. `http`, `https`: a GET of `path` answers 2xx or 3xx. As with Route 53, a
    certificate is not verified: the check asks whether the target lives, clients ask who it is.
    """

    kind: Literal["http", "https", "tcp"]
    host: str
    port: int
    path: str = "/"
    name: str = ""
    """Host header and SNI; `host` when empty."""
    interval: float = 1.0
    """Seconds from the end of one check to the start of the next."""
    timeout: float = 1.0
    """Seconds for a whole check, connecting included."""
    threshold: int = 2
    """Failures in a row that take a target out."""
    rise: int = 1
    """Successes in a row that put it back."""


class Target(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something that an answer points at: addresses, and its own HTTPS record's parameters."""

    name: str
    a: list[str] = []
    aaaa: list[str] = []
    https: str = ""
    """Service parameters, e.g. `alpn=h2 port=8443`; no HTTPS record when empty. ipv4hint is added."""
    check: Check | None = None
    """None: always taken as healthy."""
    left_out: bool = False
    """It hangs, as the supervisor knows: unhealthy whatever its check says, until a configuration says otherwise."""


class Place(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Targets that stand in one region. Healthy while any of them is."""

    region: str
    targets: list[Target]


class Simple(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="simple", tag_field="kind"
):
    """All healthy places at once, or the first `limit` of them; the same for everyone."""

    to: list[Node]
    limit: int = 0
    """0: all."""


class Multivalue(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="multivalue", tag_field="kind"
):
    """At most `limit` healthy targets, in random order."""

    to: list[Node]
    limit: int = 8


class Share(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    to: Node
    weight: float
    """Relative to the sum. 0: only when all others are unhealthy or 0 too."""


class Weighted(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="weighted", tag_field="kind"
):
    """One of the healthy ones, at random by weight, anew for each query."""

    to: list[Share]


class Latency(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="latency", tag_field="kind"
):
    """The healthy one with the least latency from the client's region, by the table `Config.latency`."""

    to: list[Node]


class Geography(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="geography", tag_field="kind"
):
    """By the client's country, else its continent, else the default; unhealthy ones are passed over."""

    country: dict[str, Node] = {}
    """ISO 3166-1 alpha-2 code → where to."""
    continent: dict[str, Node] = {}
    """AF, AN, AS, EU, NA, OC or SA → where to."""
    default: Node | None = None


class Failover(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="failover", tag_field="kind"
):
    """The first healthy one, in order."""

    to: list[Node]


Node = str | Simple | Multivalue | Weighted | Latency | Geography | Failover
"""The name of a place, or a policy over more of them."""


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A record set. Names are as in a zone file: relative to the zone unless they end with a dot."""

    name: str
    type: Literal["A", "AAAA", "ALIAS", "CAA", "CNAME", "HTTPS", "MX", "NS", "SRV", "TXT"]
    values: list[str]
    ttl: int | None = None
    """Seconds; the zone's when None."""


class Route(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A, AAAA and HTTPS of `name`, chosen for each client."""

    name: str
    to: Node
    ttl: int | None = None


class Soa(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """RFC 1035, section 3.3.13. Times in seconds; `minimum`: how long a negative answer lives (RFC 2308)."""

    primary: str
    contact: str = "hostmaster"
    serial: int = 1
    refresh: int = 7200
    retry: int = 900
    expire: int = 1_209_600
    minimum: int = 60


class Zone(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: str
    soa: Soa
    ns: list[str]
    ttl: int = 60
    records: list[Record] = []
    routes: list[Route] = []


class Subnet(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where clients of a network are. What a longer prefix leaves empty it takes from a shorter one."""

    net: str
    region: str = ""
    country: str = ""
    continent: str = ""
    """Follows from the country when empty."""


class Rate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much UDP answering a stranger's network gets: /24, or /56 of IPv6."""

    per_second: float = 100.0
    """Answers; 0 switches the limit off."""
    burst: int = 200
    slip: int = 2
    """Each n-th refused answer is sent truncated and empty, so that a real client comes back over TCP."""


class Tcp(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    idle: float = 10.0
    """Seconds without a whole query before a connection is closed (RFC 7766, section 6.2.3)."""
    connections: int = 256


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    listen: list[str]
    """`address:port` or `[address]:port`; UDP and TCP on each."""
    zones: list[Zone]
    places: dict[str, Place] = {}
    home: str = ""
    """Region of loopback clients, and of those whose network is not in `subnets`."""
    subnets: list[Subnet] = []
    latency: dict[str, dict[str, float]] = {}
    """Milliseconds from a client's region to a place's. A missing pair: 0 in one region, else the last."""
    trusted: list[str] = msgspec.field(default_factory=lambda: ["127.0.0.0/8", "::1/128"])
    """Networks without a rate limit, and whose sampled queries are written as hops."""
    transfer: list[str] = []
    """Networks that may ask for AXFR."""
    raw: str = ""
    """For a server whose files a keeper writes: more lines of them, as they are."""
    rate: Rate = Rate()
    tcp: Tcp = Tcp()
    udp_size: int = 1232
    """The largest UDP answer in bytes, 512 to 4096, whatever a client offers."""
    hops: str = ""
    """The file that hops are appended to; none when empty."""
    stats: str = ""
    """Unix socket that gives the counts as JSON to whoever connects; none when empty."""
    system: str = "embedded"
    region: str = ""
    """Written as the zone of hops."""


def load(path: str | Path) -> Config:
    """The file as a Config. Raises ConfigError with the field that is wrong."""
    try:
        return msgspec.json.decode(Path(path).read_bytes(), type=Config)
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigError(f"{path}: {error}") from None
