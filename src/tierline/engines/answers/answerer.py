"""From a query's bytes to its answer's: the caches, and the order in which a query is judged.

Whole answers are kept by question (in lower case), client group and everything else in the datagram but the
id and the client's own subnet: what is left to do for such a query are a few look-ups and slices (`known`).
Behind that, answers are kept by question and group alone, without EDNS. Only the rest is resolved. Everything
kept is forgotten when health or the configuration changes.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter_ns, time_ns

from tierline.engines.answers import rdata, reply
from tierline.engines.answers.clients import Clients, Group, registries
from tierline.engines.answers.config import Config, ConfigError, Geography, Node
from tierline.engines.answers.hops import Hops
from tierline.engines.answers.limit import DROP, PASS, Bucket, Limiter
from tierline.engines.answers.networks import NetworkError, Networks
from tierline.engines.answers.policy import Router, children
from tierline.engines.answers.query import FORMERR, RCODES, REFUSED, SERVFAIL, Query, parse
from tierline.engines.answers.resolve import Resolver
from tierline.engines.answers.stats import Stats
from tierline.engines.answers.transfer import transfer
from tierline.engines.answers.zones import compile_target, compile_zones

_MOST_KNOWN = 4096
_MOST_WHOLE = 4096
_MOST_SOURCES = 4096
_MOST_SUBNETS = 32_768
_LARGEST_KEY = 512
_STREAM = 65_535
_IN, _ANY = 1, 255
_ECS = b"\x00\x08\x00"
"""How a client subnet begins: its option code and the high byte of its length."""


class Known:
    """A whole answer without the id, the question and the client's address; and how often it was given."""

    __slots__ = ("body", "head", "hits", "size", "tally")

    def __init__(self, size: int, head: bytes, body: bytes, tally: reply.Tally) -> None:
        self.size = size
        """Of the query: together with the key it fixes where everything in it is."""
        self.head = head
        self.body = body
        self.tally = tally
        self.hits = 0


class Locale:
    """Where answers hold: a group, and the scope that they are told to hold for."""

    __slots__ = ("group", "known", "scope")

    def __init__(self, group: Group, scope: int) -> None:
        self.group = group
        self.scope = scope
        self.known: dict[bytes, Known] = {}


class Source:
    """What is remembered about one address that queries come from."""

    __slots__ = ("bucket", "locale", "trusted")

    def __init__(self, locale: Locale, bucket: Bucket | None, trusted: bool) -> None:
        self.locale = locale
        self.bucket = bucket
        self.trusted = trusted


class Answerer:
    """Answers by one configuration. Raises ConfigError when that can't be served."""

    def __init__(self, config: Config, healthy: Callable[[str, str], bool], stats: Stats, hops: Hops) -> None:
        if not 512 <= config.udp_size <= 4096:
            raise ConfigError(f"udp_size: {config.udp_size} is not in 512 to 4096")
        self._config = config
        self._size = config.udp_size
        self._stats = stats
        self._hops = hops
        zones = compile_zones(config)
        try:
            self._compiled = {
                id(target): compile_target(target, b"\x00")
                for place in config.places.values()
                for target in place.targets
            }
            self._trusted = Networks(config.trusted)
            self._transfer = Networks(config.transfer)
        except (NetworkError, rdata.RdataError) as error:
            raise ConfigError(str(error)) from None
        self.clients = Clients(config, registries() if _asks_country(config) else None)
        self._limiter = Limiter(config.rate) if config.rate.per_second else None
        self.router = Router(config.places, config.latency, healthy)
        self._resolver = Resolver(zones, self.router, self._compiled)
        self.sources: dict[str, Source] = {}
        self._locales: dict[tuple[Group, int], Locale] = {}
        self._subnets: dict[bytes, Locale] = {}
        self._kept = 0
        self._whole: dict[tuple[bytes, Group], reply.Template] = {}

    def forget(self) -> None:
        """Drops all kept answers, after counting them: something that they depend on has changed."""
        self._whole.clear()
        self._forget_known()

    def _forget_known(self) -> None:
        self.count()
        for locale in self._locales.values():
            locale.known.clear()
        self._kept = 0

    def count(self) -> None:
        """Brings the hits of kept answers into the statistics."""
        for locale in self._locales.values():
            for known in locale.known.values():
                if known.hits:
                    self._stats.add(known.tally, known.hits)
                    self._stats.hits += known.hits
                    known.hits = 0

    def known(self, data: bytes, locale: Locale) -> bytes | None:
        """The answer to a datagram, when it is kept. `locale` is its source's.

        The key is what the datagram has before the client's subnet, with the name in lower case; the rest is
        the subnet, which has its own locale. Bytes that only look like that were never kept.
        """
        end = data.find(0, 12)
        at = data.rfind(_ECS, end)
        if at < 0:
            found = locale.known.get(data[2:end].lower() + data[end:])
            if found is None:
                return None
            found.hits += 1
            return data[:2] + found.head + data[12 : end + 5] + found.body
        theirs = self._subnets.get(data[at + 4 :])
        if theirs is None:
            return None
        found = theirs.known.get(data[2:end].lower() + data[end : at + 4])
        if found is None or found.size != len(data):
            return None
        found.hits += 1
        return data[:2] + found.head + data[12 : end + 5] + found.body + data[at + 8 :]

    def _keep(self, query: Query, locale: Locale, answer: bytes, tally: reply.Tally) -> None:
        """Keeps an answer for `known`, unless that could not find what it needs in such a query."""
        data, subnet = query.data, query.subnet
        end = data.find(0, 12)
        at = data.rfind(_ECS, end)
        tail = len(subnet.raw) if subnet is not None else 0
        if (
            len(data) > _LARGEST_KEY
            or end != 11 + len(query.name)
            or at != (len(data) - tail - 4 if tail else -1)
            or (subnet is not None and not (subnet.source and data.endswith(subnet.raw)))
        ):
            return
        if self._kept >= _MOST_KNOWN:
            self._forget_known()
        self._kept += 1
        key = data[2:end].lower() + (data[end : at + 4] if tail else data[end:])
        body = answer[12 + len(query.question) : len(answer) - max(0, tail - 4)]
        locale.known[key] = Known(len(data), answer[2:12], body, tally)

    def source(self, host: str) -> Source:
        """What is known of an address, worked out at its first query."""
        found = self.sources.get(host)
        if found is None:
            if len(self.sources) >= _MOST_SOURCES:
                self.sources.clear()
            trusted = host in self._trusted
            bucket = None if trusted or self._limiter is None else self._limiter.bucket(host)
            found = self.sources[host] = Source(self._at(self.clients.of(host), 0), bucket, trusted)
        return found

    def _at(self, group: Group, scope: int) -> Locale:
        found = self._locales.get((group, scope))
        if found is None:
            found = self._locales[group, scope] = Locale(group, scope)
        return found

    def datagram(self, data: bytes, host: str) -> bytes | None:
        """The answer to a datagram that the caller has not found by `known`; None for none."""
        source = self.source(host)
        if source.bucket is not None:
            verdict = source.bucket.take()
            if verdict != PASS:
                self._stats.limited(verdict == DROP)
                silent = verdict == DROP or len(data) < 12 or data[2] & 0x80
                return None if silent else reply.refused_by_rate(data)
            known = self.known(data, source.locale)
            if known is not None:
                return known
        return self._answer(data, host, source, stream=False)

    def message(self, data: bytes, host: str) -> list[bytes]:
        """The answers to a query over TCP: one, or a transfer's many, or none at all."""
        query = parse(data)
        if query is not None and not query.error and query.kind in (rdata.AXFR, rdata.IXFR):
            zone = self._resolver.zone(query.name)
            if zone is None or zone.name != query.name or host not in self._transfer:
                self._stats.error(RCODES[REFUSED])
                return [reply.error(query, REFUSED, self._size)]
            self._stats.transfers += 1
            return transfer(query, zone, self._config.places, self._compiled)
        answer = self._answer(data, host, self.source(host), stream=True)
        return [] if answer is None else [answer]

    def _answer(self, data: bytes, host: str, source: Source, stream: bool) -> bytes | None:
        began = perf_counter_ns()
        query = parse(data)
        if query is None:
            self._stats.ignored += 1
            return None
        rcode = query.error
        if not rcode and query.kind in (rdata.AXFR, rdata.IXFR):
            rcode = REFUSED
        elif not rcode and query.kind in (0, rdata.OPT):
            rcode = FORMERR
        elif not rcode and query.klass not in (_IN, _ANY):
            rcode = REFUSED
        if rcode:
            self._stats.error(RCODES[rcode])
            return reply.error(query, rcode, self._size)
        try:
            return self._resolved(query, host, source, stream, began)
        except Exception as error:  # whatever one question met, the others must be answered
            self._stats.failed(error)
            self._stats.error(RCODES[SERVFAIL])
            return reply.error(query, SERVFAIL, self._size)

    def _resolved(self, query: Query, host: str, source: Source, stream: bool, began: int) -> bytes:
        locale = self._locate(query, source)
        key = query.name + query.question[-4:], locale.group
        template = self._whole.get(key)
        fresh = template is None
        if template is None:
            outcome = self._resolver.resolve(query.name, query.kind, locale.group)
            template = reply.Template(query.question, outcome)
            if not template.random:
                if len(self._whole) >= _MOST_WHOLE:
                    self._whole.clear()
                self._whole[key] = template
        else:
            self._stats.hits += 1
        tail = reply.opt(query, self._size, locale.scope if template.tailored else 0)
        limit = _STREAM if stream else max(512, min(query.size, self._size))
        answer = template.fill(query, limit, tail)
        self._stats.add(template.tally, 1)
        if query.trace:
            if source.trusted:
                self._hops.write(query, template, host, locale.group, began, time_ns())
        elif not fresh and not stream:  # what is asked only once is not worth a place
            self._keep(query, locale, answer, template.tally)
        return answer

    def _locate(self, query: Query, source: Source) -> Locale:
        """Where the client is: by its subnet when the resolver tells it, else by the resolver itself."""
        subnet = query.subnet
        if subnet is None or not subnet.source:
            return source.locale
        found = self._subnets.get(subnet.raw)
        if found is None:
            if len(self._subnets) >= _MOST_SUBNETS:
                self._subnets.clear()
            group, scope = self.clients.locate(subnet.family, subnet.number)
            mapped = 96 if len(subnet.raw) > 8 and subnet.family == 4 else 0
            found = self._subnets[subnet.raw] = self._at(group, scope + mapped)
        return found


def _asks_country(config: Config) -> bool:
    """Whether any route looks at the country: only then is the registries' data worth loading."""

    def asks(node: Node) -> bool:
        return isinstance(node, Geography) or any(asks(child) for child in children(node))

    return any(asks(route.to) for zone in config.zones for route in zone.routes)
