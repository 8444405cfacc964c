"""HTTP cache: a shared cache in front of the gateway (RFC 9111)."""

from __future__ import annotations

import re

import msgspec

from tierline.intent import Duration, Intent, Size, setting
from tierline.tiers.streaming import passing


class Purge(msgspec.Struct, frozen=True):
    """Which copies must not be found again."""

    paths: tuple[str, ...] = ()
    """These paths, with any query and in all variants."""
    prefixes: tuple[str, ...] = ()
    """These and all below them: `/films` is for `/films/1`, not for `/filmstars`."""
    tags: tuple[str, ...] = ()
    """What came with one of these in `Surrogate-Key`."""


def _path(value: str) -> str | None:
    plain = re.fullmatch(r"(/[A-Za-z0-9._~-]+)+/?|/", value) and not {".", ".."} & set(value.split("/"))
    return None if plain else "plain path prefixes that begin with /, such as /cart"


class HTTPCache(Intent):
    """A caching reverse proxy that obeys the origin's headers."""

    stale_while_revalidate: Duration = setting(
        "Serve stale this long while a fresh copy is fetched.", default=0
    )
    stale_if_error: Duration = setting("Serve stale this long when the origin fails.", default=0)
    client_control: bool = setting(
        "Obey a request's own Cache-Control (no-cache, max-age=0, no-store). A browser's reload then asks the "
        "origin, and so can anybody else.",
        default=False,
    )
    bypass: tuple[str, ...] = setting(
        "Path prefixes, by whole segments, that the load balancer sends straight to the gateway, beside those that need "
        "a token, a key or a login and what is private.",
        default=(),
        allowed=_path,
    )
    memory: Size = setting("Memory for keys and metadata.", default="16MiB")
    disk: Size = setting("Disk for bodies.", default="256MiB")
    raw: str | None = setting(
        "Engine configuration added as it is (nginx: into the location; Varnish: at the end of vcl_recv; Squid: lines "
        "of squid.conf; Traffic Server: lines of records.config).",
        default=None,
    )

    def features(self) -> dict[str, str]:
        """What this intent asks of its system, by feature, with the field that asks for it."""
        asked = {"freshness": "HTTPCache()", "validation": "HTTPCache()", "vary": "HTTPCache()"}
        asked |= passing("HTTPCache()")
        if self.stale_while_revalidate:
            asked["stale_while_revalidate"] = "stale_while_revalidate="
        if self.stale_if_error:
            asked["stale_if_error"] = "stale_if_error="
        if self.client_control:
            asked["client_control"] = "client_control="
        return asked
