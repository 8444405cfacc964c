"""CDN: points of presence near the clients that keep copies of assets and cacheable answers."""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
from typing import Literal

from tierline.engines.answers.continents import is_country
from tierline.intent import Duration, Intent, Size, setting
from tierline.tiers.streaming import STREAMING, passing

SIGNING_KEY = "cdn.signing"
"""The name of the secret that signs URLs."""


def _path(value: str) -> str | None:
    return None if value.startswith("/") and not set(value) & set(' {};"$\\') else "a path such as /films/"


def _network(value: str) -> str | None:
    try:
        ipaddress.ip_network(value)
    except ValueError:
        return "networks such as 192.0.2.0/24"
    return None


def _word(value: str) -> str | None:
    return None if value.replace("_", "").isalnum() else "names of letters, digits and _"


def _site(value: str) -> str | None:
    return (
        None
        if set(value) <= set("abcdefghijklmnopqrstuvwxyz0123456789.-*")
        else 'host names, "*.example.com" too'
    )


def _country(value: str) -> str | None:
    return None if is_country(value) else "countries by their two letters (ISO 3166-1), such as IE"


class Countries(Intent):
    """Where clients must be, or must not be, to get anything at all: the others get 403, with a problem document.

    A client whose country isn't known is refused where some are allowed, and let in where some are denied.
    """

    allow: tuple[str, ...] = setting("Only clients in these countries.", default=(), allowed=_country)
    deny: tuple[str, ...] = setting("Clients everywhere but in these.", default=(), allowed=_country)

    def check(self) -> None:
        if bool(self.allow) == bool(self.deny):
            raise self.wrong("allow", self.allow, "allow= or deny=, one of them with countries")


class CDNRule(Intent):
    """How one part of the paths is kept. Of several rules, the one with the longest path counts."""

    path: str = setting(
        "The rule is for this path and all below it, when it ends in /; else for it alone.", allowed=_path
    )
    ttl: Duration | None = setting(
        "How long copies stay, whatever the origin says; private and no-store still count. Default: what it says.",
        default=None,
    )
    query: tuple[str, ...] | None = setting(
        "Parameters of the query that tell copies apart; the others never reach the origin. Default: all.",
        default=None,
        allowed=_word,
    )
    by: tuple[Literal["client", "device", "language"], ...] = setting(
        "What else tells copies apart: the x-client header, the kind of device (the origin receives it as "
        "x-device), the first language (x-language). Better: let the origin say Vary.",
        default=(),
    )
    signed: bool = setting("Only who has a token may have it (see `sign`).", default=False)
    sites: tuple[str, ...] = setting(
        "Sites that may embed it; the stack's own always may. Default: all.", default=(), allowed=_site
    )
    networks: tuple[str, ...] = setting(
        "Client networks that may have it. Default: all.", default=(), allowed=_network
    )


class CDN(Intent):
    """Points of presence that pull from the next tier and keep what its headers allow."""

    places: tuple[str, ...] = setting(
        "Regions with a point of presence; default: the stack's own region.", default=()
    )
    assets: str | None = setting("Folder with static files, served from the assets origin.", default=None)
    buckets: dict[str, str] = setting(
        "Paths whose files are objects of a Bucket that a service uses: with {'/media/': 'films'}, /media/a.jpg is the "
        "object media/a.jpg of the bucket films.",
        factory=dict,
    )
    assets_ttl: Duration = setting("How long a place and a browser keep an asset.", default="1h")
    rules: tuple[CDNRule, ...] = setting("How single paths are kept.", default=())
    countries: Countries | None = setting("Which countries' clients it serves. Default: all.", default=None)
    shield: str | None = setting(
        "One of the places that the others pull through, so that the origin is asked once.", default=None
    )
    compress: bool = setting("Compress text for who accepts it.", default=True)
    stale_while_revalidate: Duration = setting(
        "Serve stale this long while a fresh copy is fetched, where the origin doesn't say.", default=0
    )
    stale_if_error: Duration = setting(
        "Serve stale this long when the origin fails, where it doesn't say.", default="1d"
    )
    max_body: Size | None = setting("Largest request body; default: left to the gateway.", default=None)
    timeout: Duration | None = setting(
        "Time until an answer begins; default: left to the gateway.", default=None, above=0.1
    )
    idle_timeout: Duration | None = setting(
        "Silence after which an answer ends; default: left to the gateway.", default=None, above=0.1
    )
    size: Size = setting("Disk that one place may use for copies.", default="256MiB")
    raw: str | None = setting(
        "Engine configuration added as it is (nginx: into the server block; Varnish: into the frontend of the HAProxy "
        "in front of it).",
        default=None,
    )

    def check(self) -> None:
        paths = [rule.path for rule in self.rules]
        for path in paths:
            if paths.count(path) > 1:
                raise self.wrong("rules", path, "one rule for each path")
        for path in self.buckets:
            if _path(path) or not path.endswith("/") or path == "/":
                raise self.wrong("buckets", path, "paths that begin and end with /, such as /media/")
        if self.shield is not None and self.shield not in self.places:
            raise self.wrong("shield", self.shield, "one of places=")

    def features(self) -> dict[str, str]:
        """What this intent asks of its system, by feature, with the field that asks for it."""
        asked = {"pull": "CDN()", "tls": "CDN()", **passing("CDN()")}
        if self.assets is not None:
            asked["assets"] = f"assets={self.assets!r}"
        if self.buckets:
            asked["buckets"] = "buckets="
        if self.countries is not None:
            asked["countries"] = "countries="
        if self.raw is not None:
            asked["raw"] = "raw="
        if self.shield is not None:
            asked["shield"] = f"shield={self.shield!r}"
        for rule in self.rules:
            for feature, field in _FEATURES.items():
                if getattr(rule, field) not in (None, (), False):
                    asked[feature] = f"CDNRule({rule.path!r}, {field}=)"
        return asked


FEATURES: dict[str, str] = {
    "pull": "copies of what the next tier answers, with true Age and X-Cache; names that aren't ours get 421",
    "assets": "static files of a folder",
    "buckets": "objects of a bucket as static files, ranges too",
    "tls": "TLS 1.2 and 1.3 for clients, and checked certificates towards the next tier",
    "http2": "HTTP/2 for clients",
    "vary": "a copy for each of what the origin's Vary tells apart",
    "collapsing": "one fetch for many clients that ask at once",
    "ranges": "parts of a copy, and the first part fetches the whole",
    "gzip": "text compressed for who accepts it, with weak validators; pictures never",
    "brotli": "files that are text compressed with Brotli beforehand",
    "shield": "one place that the others pull through",
    "targeted": "`CDN-Cache-Control` (RFC 9213) comes before `Cache-Control`, and is passed on",
    "ttl_rules": "how long copies stay, by path",
    "query_keys": "which parameters tell copies apart, by path",
    "client_keys": "copies by kind of client, device or language, by path",
    "signed_urls": "only who has a token, in the URL or a cookie, by path",
    "hotlinks": "which sites may embed it, by path",
    "networks": "which networks may have it, by path",
    "countries": "which countries' clients are served",
    "purge_path": "purge of a path in all variants and queries",
    "purge_prefix": "purge of all below a path",
    "purge_tag": "purge of all that carries a tag",
    "stale_while_revalidate": "stale copies while a fresh one is fetched",
    "stale_if_error": "stale copies while the origin fails",
    "raw": "configuration of the engine's own, checked by it",
    "websocket": "upgraded connections, past the copies",
    **STREAMING,
}
"""What a system of this tier may support, and what that means."""

_FEATURES = {
    "ttl_rules": "ttl",
    "query_keys": "query",
    "client_keys": "by",
    "signed_urls": "signed",
    "hotlinks": "sites",
    "networks": "networks",
}


def sign(key: str, path: str, expires: int) -> str:
    """A token for a path, or for all below it when it ends in /, until a moment (seconds since the epoch).

    A client sends it as `?token=…` or as the cookie `cdn_token`.
    """
    told = f"{expires}.{_letters(path.encode())}"
    return f"{told}.{_letters(hmac.digest(key.encode(), told.encode(), hashlib.sha256))}"


def _letters(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
