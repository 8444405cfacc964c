"""Seasons: capacity for times whose visitors are known before."""

from __future__ import annotations

import datetime
from typing import Any

from tierline.intent import Duration, Intent, Name, setting
from tierline.tiers.feature.tier import Service


def _moment(value: str) -> str | None:
    return None if season_moment(value) is not None else '"2026-12-18T18:00" or a time of day such as "18:00"'


def season_moment(value: str) -> datetime.datetime | datetime.time | None:
    """A date with time, or a time of day; None for anything else."""
    for kind in (datetime.time, datetime.datetime):
        try:
            found = kind.fromisoformat(value)
        except ValueError:
            continue
        return found if found.tzinfo is None else None
    return None


DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def _zone(value: str) -> str | None:
    import zoneinfo

    try:
        zoneinfo.ZoneInfo(value)
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        return "a name of the time zone database such as 'Europe/Berlin'"
    return None


class Season(Intent):
    """Capacity for a time that is known before: instances are there, and warm, when the visitors come.

    Without start and end it is played by `tierline season NAME start` and `end` alone.
    """

    name: Name = setting("The season's name, unique in the stack.")
    min: int = setting("Instances per zone at least, while it lasts.", default=2, above=1, below=256)
    services: tuple[Any, ...] = setting(
        "Services whose capacity it raises; none: all that have room in their scale, and the journeys.",
        default=(),
    )
    start: str | None = setting(
        "When visitors come: a date with time, or a time of day.", default=None, allowed=_moment
    )
    end: str | None = setting("When it is over, in the same form.", default=None, allowed=_moment)
    days: tuple[str, ...] = setting(
        "For times of day: on which days it begins; none: on every day.",
        default=(),
        allowed=lambda day: None if day in DAYS else f"one of {', '.join(DAYS)}",
    )
    timezone: str = setting("Of start and end.", default="UTC", allowed=_zone)
    lead: Duration = setting(
        "How long before start the instances start and are warmed.", default="5m", below=86400
    )
    warm_up: tuple[Any, ...] = setting(
        "What is done once the instances answer: paths that are fetched through the line (`/film/{1..40}`), "
        "`module:function` that is called, and Relational resources whose tables are read into their buffers.",
        default=(),
    )
    deadline: Duration = setting("Longest time for each of warm_up.", default="30s", above=0.1, below=3600)

    def check(self) -> None:
        start, end = (season_moment(each) if each else None for each in (self.start, self.end))
        if (start is None) != (end is None) or type(start) is not type(end):
            raise self.wrong("end", self.end, f"in the form of start={self.start!r}, or neither of the two")
        if isinstance(start, datetime.datetime) and isinstance(end, datetime.datetime) and end <= start:
            raise self.wrong("end", self.end, f"later than start={self.start!r}")
        if start is not None and start == end:
            raise self.wrong("end", self.end, f"another time than start={self.start!r}")
        if self.days and not isinstance(start, datetime.time):
            raise self.wrong("days", self.days, "none, unless start and end are times of day")
        for each in self.services:
            if not isinstance(each, Service | str):
                raise self.wrong("services", each, "services, or their names")
        for each in self.warm_up:
            path = isinstance(each, str) and (each.startswith("/") or each.count(":") == 1)
            if not path and getattr(each, "slot", "") != "domain.relational":
                raise self.wrong("warm_up", each, "a path, 'module:function' or a Relational resource")
