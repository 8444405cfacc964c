"""Zone transfer (RFC 5936): a whole zone over TCP, to addresses that the configuration allows."""

from __future__ import annotations

from struct import pack

from tierline.engines.answers import rdata
from tierline.engines.answers.config import Place
from tierline.engines.answers.policy import places_of
from tierline.engines.answers.query import Query
from tierline.engines.answers.rdata import Rdata
from tierline.engines.answers.reply import Writer
from tierline.engines.answers.resolve import Record
from tierline.engines.answers.zones import ROUTED, Zone

_FULL = 16_000
"""Bytes after which a new message is begun."""


def transfer(
    query: Query, zone: Zone, places: dict[str, Place], compiled: dict[int, dict[int, list[Rdata]]]
) -> list[bytes]:
    """The zone as messages, SOA first and last. A route is given as the records of all its targets.

    ALIAS has no form on the wire and is left out.
    """
    messages: list[bytes] = []
    writer, count = Writer(query.question.lower()), 0

    def close() -> None:
        head = query.data[:2] + bytes((0x84, 0)) + pack("!4H", 1, count, 0, 0)
        messages.append(head + query.question + bytes(writer.body))

    soa: Record = (zone.name, rdata.SOA, zone.soa.ttl, zone.soa.data[0])
    for record in [soa, *_records(zone, places, compiled), soa]:
        writer.add([record])
        count += 1
        if len(writer.body) > _FULL:
            close()
            writer, count = Writer(query.question.lower()), 0
    if count:
        close()
    return messages


def _records(
    zone: Zone, places: dict[str, Place], compiled: dict[int, dict[int, list[Rdata]]]
) -> list[Record]:
    found: list[Record] = []
    for name, entry in zone.entries.items():
        for kind, records in entry.sets.items():
            if kind not in (rdata.SOA, rdata.ALIAS):
                found += [(name, kind, records.ttl, data) for data in records.data]
        if entry.route is not None:
            targets = [target for place in places_of(entry.route) for target in places[place].targets]
            for kind in ROUTED:
                data = dict.fromkeys(one for target in targets for one in compiled[id(target)][kind])
                found += [(name, kind, entry.ttl, one) for one in data]
    return found
