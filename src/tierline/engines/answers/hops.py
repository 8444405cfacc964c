"""The hop of a sampled query (trips/hop.py): which policy spoke, and what it answered."""

from __future__ import annotations

from time import perf_counter_ns

from tierline.engines.answers import rdata
from tierline.engines.answers.clients import Group
from tierline.engines.answers.names import to_text
from tierline.engines.answers.query import Query
from tierline.engines.answers.reply import Template
from tierline.trips.hop import Hop
from tierline.trips.record import Recorder, parse, span_id


class Hops:
    """Appends to a file, a line per hop at once: sampled queries are few and `trip` waits for them."""

    def __init__(self, path: str, system: str, region: str) -> None:
        self._recorder = Recorder(path) if path else None
        self._system = system
        self._region = region
        self.count = 0

    @property
    def lost(self) -> int:
        """Hops that could not be written."""
        return self._recorder.lost if self._recorder is not None else 0

    def write(self, query: Query, template: Template, host: str, group: Group, began: int, now: int) -> None:
        """`began`: perf_counter_ns, `now`: time_ns. An unsampled or invalid traceparent writes nothing."""
        span = parse(query.trace)
        if self._recorder is None or span is None or not span.sampled:
            return
        took = perf_counter_ns() - began
        choice = template.choice
        attributes: dict[str, object] = {
            "dns.question.name": to_text(query.name).rstrip(".") or ".",
            "dns.question.type": rdata.NAMES.get(query.kind, str(query.kind)),
            "dns.response_code": template.tally.rcode,
            "client.address": host,
        }
        if group.region:
            attributes["client.region"] = group.region
        if group.country:
            attributes["client.country"] = group.country
        if choice is not None:
            attributes["dns.answers"] = [
                address for target in choice.targets for address in target.a + target.aaaa
            ]
        self._recorder.write(
            Hop(
                flags="01",
                status=0 if template.tally.rcode == "NOERROR" else 1,
                trace=span.trace,
                span=span_id(),
                parent=span.span,
                tier="dns",
                system=self._system,
                zone=self._region,
                start_us=(now - took) // 1000,
                duration_us=took // 1000,
                verdict=choice.verdict if choice is not None else template.tally.rcode.lower(),
                name=str(attributes["dns.question.name"]),
                attributes=attributes,
            )
        )
        self._recorder.flush()
        self.count += 1
