"""The line's counter: rate limits and quotas counted for all gateways together."""

from tierline.engines.counter.engine import ENGINE

__all__ = ["ENGINE"]
