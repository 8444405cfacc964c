"""Where places and simulated clients are: coordinates of regions, the latency between them, their subnets.

All of it is data for the dns tier's settings (`settings["places"]`), and all of it can be replaced: who has
measured gives a table of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import asin, cos, radians, sin, sqrt
from typing import Any, NamedTuple


class Region(NamedTuple):
    """Degrees north and east, and the country (ISO 3166-1 alpha-2) that its clients are taken to be in."""

    latitude: float
    longitude: float
    country: str


REGIONS: dict[str, Region] = {
    "us-east-1": Region(38.9, -77.4, "US"),
    "us-east-2": Region(40.0, -83.0, "US"),
    "us-west-1": Region(37.4, -121.9, "US"),
    "us-west-2": Region(45.8, -119.7, "US"),
    "ca-central-1": Region(45.5, -73.6, "CA"),
    "ca-west-1": Region(51.0, -114.1, "CA"),
    "mx-central-1": Region(20.6, -100.4, "MX"),
    "sa-east-1": Region(-23.5, -46.6, "BR"),
    "eu-west-1": Region(53.3, -6.3, "IE"),
    "eu-west-2": Region(51.5, -0.1, "GB"),
    "eu-west-3": Region(48.9, 2.4, "FR"),
    "eu-central-1": Region(50.1, 8.7, "DE"),
    "eu-central-2": Region(47.4, 8.5, "CH"),
    "eu-north-1": Region(59.3, 18.1, "SE"),
    "eu-south-1": Region(45.5, 9.2, "IT"),
    "eu-south-2": Region(41.6, -0.9, "ES"),
    "me-south-1": Region(26.1, 50.6, "BH"),
    "me-central-1": Region(25.2, 55.3, "AE"),
    "il-central-1": Region(32.1, 34.8, "IL"),
    "af-south-1": Region(-33.9, 18.4, "ZA"),
    "ap-south-1": Region(19.1, 72.9, "IN"),
    "ap-south-2": Region(17.4, 78.5, "IN"),
    "ap-southeast-1": Region(1.3, 103.8, "SG"),
    "ap-southeast-2": Region(-33.9, 151.2, "AU"),
    "ap-southeast-3": Region(-6.2, 106.8, "ID"),
    "ap-southeast-4": Region(-37.8, 145.0, "AU"),
    "ap-southeast-5": Region(3.1, 101.7, "MY"),
    "ap-southeast-6": Region(-36.8, 174.8, "NZ"),
    "ap-southeast-7": Region(13.8, 100.5, "TH"),
    "ap-east-1": Region(22.3, 114.2, "HK"),
    "ap-east-2": Region(25.0, 121.5, "TW"),
    "ap-northeast-1": Region(35.7, 139.7, "JP"),
    "ap-northeast-2": Region(37.6, 127.0, "KR"),
    "ap-northeast-3": Region(34.7, 135.5, "JP"),
}
"""In a fixed order: a region's number is its subnet, so new ones go to the end."""

_EARTH_KM = 6371.0
_MS_PER_KM = 0.0125
"""There and back at two thirds of light's speed, over a way a quarter longer than the shortest."""
_MS_ALWAYS = 3.0
_MS_WITHIN = 1.0


def distance(one: Region, other: Region) -> float:
    """Kilometres along the great circle."""
    north, other_north = radians(one.latitude), radians(other.latitude)
    across = radians(other.longitude - one.longitude)
    half = sin((other_north - north) / 2) ** 2 + cos(north) * cos(other_north) * sin(across / 2) ** 2
    return 2 * _EARTH_KM * asin(sqrt(half))


def latency(one: Region, other: Region) -> float:
    """Round trip in milliseconds, estimated by distance alone: within about a third of the truth."""
    if one == other:
        return _MS_WITHIN
    return round(_MS_ALWAYS + _MS_PER_KM * distance(one, other), 1)


def subnet(number: int) -> tuple[str, str]:
    """The simulated clients of the n-th region: from the networks set apart for tests (RFC 2544, RFC 5180).

    IPv4 has room for 512 regions. Raises ValueError beyond.
    """
    if not 0 <= number < 512:
        raise ValueError(f"there are no simulated clients for region number {number}; 0 to 511 are")
    return f"198.{18 + number // 256}.{number % 256}.0/24", f"2001:2:0:{number:x}::/64"


def client(region: str, extra: Iterable[str] = ()) -> str:
    """An address of a simulated client in a region, e.g. for the client subnet of a query.

    `extra`: the user's own regions, in the order in which they were given to `table`. Raises KeyError for a
    region that is in neither.
    """
    names = [*REGIONS, *(name for name in extra if name not in REGIONS)]
    if region not in names:
        raise KeyError(region)
    return subnet(names.index(region))[0].replace(".0/24", ".10")


def table(home: str, extra: Mapping[str, Region] | None = None) -> dict[str, Any]:
    """What a dns role's `settings["places"]` is: home region, latency in milliseconds, subnets of clients.

    `home`: where loopback clients are. `extra`: regions that AWS lacks, or other facts for one of its own.
    """
    regions = REGIONS | dict(extra or {})
    subnets = []
    for number, (name, region) in enumerate(regions.items()):
        subnets += [{"net": net, "region": name, "country": region.country} for net in subnet(number)]
    return {
        "home": home,
        "latency": {
            one: {other: latency(regions[one], regions[other]) for other in regions} for one in regions
        },
        "subnets": subnets,
    }
