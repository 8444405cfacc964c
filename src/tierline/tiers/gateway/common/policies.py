"""What a gateway is asked to do, piece by piece: how often, what callers may, where it goes."""

from __future__ import annotations

from typing import Any, Literal

from tierline.intent import Duration, Intent, Name, Size, setting
from tierline.tiers.gateway.common import words


class RateLimit(Intent):
    """At most `requests` in `per`, with bursts. Counted for the whole line, where the gateway can."""

    requests: int = setting("Requests allowed in each interval.", above=1)
    per: Duration = setting("The interval.", default="1s", above=0.05)
    by: Literal["all", "client", "consumer"] = setting(
        "Counted for everybody together, per client address, or per API key or token subject.",
        default="client",
    )
    burst: int | None = setting("Tokens that may be saved up; default: `requests`.", default=None)
    paths: tuple[str, ...] = setting("Path prefixes; default: every path.", default=(), allowed=words.paths)


class Access(Intent):
    """Who may call some paths: all conditions that are given must hold, else the answer is 403.

    Conditions on claims and scopes need the gateway's `auth`; its paths then need a token.
    """

    paths: tuple[str, ...] = setting("Path prefixes that this is about.", allowed=words.paths)
    methods: tuple[str, ...] = setting("Methods; default: all.", default=(), allowed=words.methods)
    claims: dict[str, str] = setting("Claims that the token must carry, with their values.", factory=dict)
    scopes: tuple[str, ...] = setting(
        "Words that the token's `scope` must hold, all of them.", default=(), allowed=words.word
    )
    addresses: tuple[str, ...] = setting(
        "Networks, in one of which the client must be.", default=(), allowed=words.address
    )

    def check(self) -> None:
        if not (self.claims or self.scopes or self.addresses):
            raise self.wrong("claims", self.claims, "at least one of claims, scopes and addresses")
        for name, value in self.claims.items():
            if not words.TOKEN.fullmatch(name) or not words.printable(value):
                raise self.wrong("claims", {name: value}, "plain names and values")


class Canary(Intent):
    """A part of a route's requests for another service."""

    to: str = setting("The service that is tried.")
    weight: int = setting("Percent of the requests.", default=0, above=0, below=100)
    header: str | None = setting(
        "Requests with this header go there whatever the weight says.", default=None, allowed=words.header
    )

    def check(self) -> None:
        if not self.weight and self.header is None:
            raise self.wrong("weight", self.weight, "a weight or a header, or nobody would be sent there")


class Mirror(Intent):
    """A copy of a route's requests for another service, whose answers are thrown away."""

    to: str = setting("The service that sees the copies.")
    percent: int = setting("Percent of the requests.", default=100, above=1, below=100)


class Route(Intent):
    """Where some requests go and what happens to them on the way. More specific routes win: exact paths
    before templates before prefixes, long before short, and with more conditions before fewer."""

    path: str = setting("Path prefix, or a template such as `/films/{id}`.", allowed=words.paths)
    to: str | None = setting("The service; default: who exposes the path.", default=None)
    exact: bool = setting("Only this very path, nothing below it.", default=False)
    methods: tuple[str, ...] = setting("Methods; default: all.", default=(), allowed=words.methods)
    hosts: tuple[str, ...] = setting("Host names; default: all.", default=(), allowed=words.hosts)
    headers: dict[str, str] = setting("Headers that must have these values.", factory=dict)
    rewrite: str | None = setting("What the path's prefix becomes behind.", default=None, allowed=words.paths)
    timeout: Duration | None = setting(
        "Time until an answer begins; default: the service's, or the gateway's.", default=None, above=0.001
    )
    idle_timeout: Duration | None = setting(
        "Silence after which an answer ends; default: the service's, or the gateway's.",
        default=None,
        above=0.1,
    )
    max_duration: Duration | None = setting(
        "Time for a request and its whole answer; default: the service's, or the gateway's.",
        default=None,
        above=0.1,
    )
    max_body: Size | None = setting(
        "Largest request body; default: the service's, or the gateway's.", default=None
    )
    retries: int | None = setting("Tries again; default: the gateway's.", default=None, above=0, below=5)
    canary: Canary | None = setting("A part of it for another service.", default=None)
    mirror: Mirror | None = setting("A copy of it for another service.", default=None)
    request: dict[str, str | None] = setting("Request headers to set, or to remove (None).", factory=dict)
    response: dict[str, str | None] = setting("Response headers to set, or to remove (None).", factory=dict)
    request_body: Any = setting(
        "JSON template that the body of a POST, PUT or PATCH becomes: `{name}` is a part of the path's template or a "
        "field of the body (`{film.id}`, `{items.0}`, `{body}`: all of it), `{query:name}` and `{header:name}`.",
        default=None,
    )
    response_body: Any = setting(
        "JSON template that a JSON answer with 2xx becomes; `{name}` is a field of the answer.", default=None
    )

    def check(self) -> None:
        for field in ("request_body", "response_body"):
            if allowed := words.template(getattr(self, field), field == "request_body"):
                raise self.wrong(field, getattr(self, field), allowed)
        for field in ("headers", "request", "response"):
            if allowed := words.headers(getattr(self, field)):
                raise self.wrong(field, getattr(self, field), allowed)
        if "{" in self.path and self.rewrite is not None:
            raise self.wrong("rewrite", self.rewrite, "a path without {…}, or no rewrite")


class Version(Intent):
    """One version of the API, beside the others. The last one is what a request without a version gets.

    `deprecated` is told in `Deprecation` (RFC 9745) and `sunset` in `Sunset` (RFC 8594), with `Link`.
    """

    name: Name = setting("As clients write it: `v1`.")
    services: dict[str, str] = setting("Service → the one that plays it in this version.", factory=dict)
    deprecated: str | None = setting("The day since when it is deprecated.", default=None, allowed=words.date)
    sunset: str | None = setting(
        "The day from which it may stop answering.", default=None, allowed=words.date
    )
    link: str | None = setting("Where the change is explained.", default=None, allowed=words.plain)
