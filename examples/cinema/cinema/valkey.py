"""A small Redis (or Valkey) client that fails fast."""

from __future__ import annotations

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff
from redis.exceptions import RedisError

Unavailable = (RedisError, OSError)


def connect(url: str) -> Redis:
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=8,
        timeout=1,
        socket_timeout=1,
        socket_connect_timeout=1,
        # One retry: a connection that the server closed while idle is not an outage.
        retry=Retry(ConstantBackoff(0.01), 1),
    )
    return Redis.from_pool(pool)
