"""When a season is, and whose capacity it raises."""

from __future__ import annotations

import datetime
from typing import Any
from zoneinfo import ZoneInfo

from tierline.plan.model import Role
from tierline.tiers.feature.common.season import DAYS, season_moment


def concerns(season: dict[str, Any], role: Role) -> bool:
    """Whether a season raises this role's least: those it names, or all that have room."""
    scale = role.settings.get("scale")
    if not scale or scale["max"] < 2 or role.slot == "feature.function":
        return False
    return not season["services"] or role.name in season["services"] or role.slot == "experience"


def window(
    season: dict[str, Any], now: datetime.datetime
) -> tuple[datetime.datetime | None, datetime.datetime | None]:
    """When a season's instances start (its lead before the visitors) and when it ends: now, or the next time.

    Without times: (None, None); when it is over for good, the last time.
    """
    if season["start"] is None:
        return None, None
    place, lead = ZoneInfo(season["timezone"]), datetime.timedelta(seconds=season["lead"])
    start, end = season_moment(season["start"]), season_moment(season["end"])
    if isinstance(start, datetime.datetime) and isinstance(end, datetime.datetime):
        return start.replace(tzinfo=place) - lead, end.replace(tzinfo=place)
    assert isinstance(start, datetime.time) and isinstance(end, datetime.time)
    today = (now.astimezone(place) + lead).date()
    for day in (today + datetime.timedelta(days=number) for number in range(-2, 9)):
        if season["days"] and DAYS[day.weekday()] not in season["days"]:
            continue
        begins = datetime.datetime.combine(day, start, place) - lead
        over = day if end > start else day + datetime.timedelta(days=1)
        ends = datetime.datetime.combine(over, end, place)
        if ends > now:
            return begins, ends
    return None, None


def schedule(season: dict[str, Any]) -> list[dict[str, str]]:
    """Its begin (its lead before the visitors) and its end as a scheduler wants them; nothing without times.

    `at`: one moment in UTC (ISO 8601). Or `cron` (minute, hour, day, month, weekday with Sunday 0) in `timezone`.
    """
    if season["start"] is None:
        return []
    place, lead = ZoneInfo(season["timezone"]), datetime.timedelta(seconds=season["lead"])
    start, end = season_moment(season["start"]), season_moment(season["end"])
    found = []
    for moment, before in ((start, lead), (end, datetime.timedelta())):
        if isinstance(moment, datetime.datetime):
            at = (moment.replace(tzinfo=place) - before).astimezone(datetime.UTC)
            found.append({"at": at.strftime("%Y-%m-%dT%H:%M:%SZ")})
            continue
        assert isinstance(moment, datetime.time) and isinstance(start, datetime.time)
        # A week in which the first day of the season is a Monday tells how far lead and midnight shift the days.
        monday = datetime.datetime(2024, 1, 1)
        shifted = datetime.datetime.combine(monday, moment) - before
        if moment is end and moment < start:
            shifted += datetime.timedelta(days=1)
        days = [(DAYS.index(day) + 1 + (shifted.date() - monday.date()).days) % 7 for day in season["days"]]
        weekdays = ",".join(str(day) for day in sorted(days)) or "*"
        cron = f"{shifted.minute} {shifted.hour} * * {weekdays}"
        found.append({"cron": cron, "timezone": season["timezone"]})
    return found
