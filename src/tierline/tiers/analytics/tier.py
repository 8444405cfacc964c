"""Analytics: where hops land."""

from __future__ import annotations

from tierline.intent import Duration, Intent, setting


class Telemetry(Intent):
    """Hops, counted completely and kept in detail when sampled; and the events of visitors."""

    retention: Duration = setting("How long hops are kept in detail.", default="7d")
    counts: Duration = setting(
        "How long counts are kept: by the second for an hour, by the minute for two days, then by the hour.",
        default="90d",
    )
    events: Duration = setting("How long events, such as the steps of a funnel, are kept.", default="400d")
