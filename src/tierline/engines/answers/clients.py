"""Where a client is: its group, which is all that routing may look at."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from tierline.engines.answers.config import Config, ConfigError, Subnet
from tierline.engines.answers.continents import CONTINENTS, continent, is_country
from tierline.engines.answers.networks import NetworkError, Trie, address

_WHOLE = {4: 24, 6: 56}
"""Prefix lengths to which a country from the registries' data is taken to hold."""


class Group:
    """Clients that routing can't tell apart. One object per combination, compared by identity."""

    __slots__ = ("continent", "country", "region")

    def __init__(self, region: str, country: str, continent: str) -> None:
        self.region = region
        self.country = country
        self.continent = continent


def registries() -> Callable[[str], str | None] | None:
    """Address → country by the optional package `iptocc`, or None where it is not installed."""
    try:
        country_code = import_module("iptocc").country_code
    except ImportError:
        return None

    def country(text: str) -> str | None:
        try:
            found = country_code(text)
        except Exception:  # a foreign extension's word on a stranger's address must never stop an answer
            return None
        return found if isinstance(found, str) else None

    return country


class Clients:
    """Networks to groups. Raises ConfigError for a network or continent that is none."""

    def __init__(self, config: Config, countries: Callable[[str], str | None] | None = None) -> None:
        self._groups: dict[tuple[str, str, str], Group] = {}
        self._trie: Trie[Subnet] = Trie()
        self._home = config.home
        self._countries = countries
        for subnet in config.subnets:
            if subnet.continent and subnet.continent not in CONTINENTS:
                raise ConfigError(
                    f"subnet {subnet.net}: {subnet.continent!r} is not one of {', '.join(CONTINENTS)}"
                )
            if subnet.country and not is_country(subnet.country):
                raise ConfigError(
                    f"subnet {subnet.net}: {subnet.country!r} is not a country's code such as DE"
                )
            try:
                self._trie.add(subnet.net, subnet)
            except NetworkError as error:
                raise ConfigError(f"subnet {error}") from None
        at_home = next((s for s in config.subnets if config.home and s.region == config.home), None)
        self._local = self._group(
            config.home, at_home.country if at_home else "", at_home.continent if at_home else ""
        )

    def _group(self, region: str, country: str, part: str) -> Group:
        key = (region, country, part or continent(country))
        return self._groups.setdefault(key, Group(*key))

    def locate(self, family: int, number: int) -> tuple[Group, int]:
        """The group of an address, and the scope prefix length for which that holds."""
        found, scope = self._trie.find(family, number)
        region = country = part = ""
        for subnet in found:
            region = subnet.region or region
            if subnet.country:
                country, part = subnet.country, subnet.continent
            part = subnet.continent or part
        if not found and (number >> 24 == 127 if family == 4 else number == 1):
            return self._local, 8 if family == 4 else 128
        if not country and self._countries is not None:
            country = self._countries(_text(family, number)) or ""
            scope = max(scope, _WHOLE[family])
        return self._group(region or self._home, country, part), scope

    def of(self, host: str) -> Group:
        """The group of a socket's address."""
        return self.locate(*address(host))[0]


def _text(family: int, number: int) -> str:
    if family == 4:
        return ".".join(str(byte) for byte in number.to_bytes(4, "big"))
    digits = f"{number:032x}"
    return ":".join(digits[at : at + 4] for at in range(0, 32, 4))
