"""NATS JetStream: queues, topics, buses and streams."""

from tierline.engines.nats.engine import ENGINE

__all__ = ["ENGINE"]
