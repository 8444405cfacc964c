"""Analytics: where hops land."""

from __future__ import annotations

from tierline.intent import Duration, Intent, setting


class Telemetry(Intent):
    """Hops, counted completely and kept in detail when sampled."""

    retention: Duration = setting("How long hops are kept in detail.", default="7d")
