"""What a gateway is asked to do, piece by piece: who calls, how often, what they may, where it goes."""

from __future__ import annotations

import datetime
import ipaddress
import re
from typing import ClassVar, Literal

from tierline.engines.keysets import ALGORITHMS
from tierline.intent import Duration, Intent, Name, setting

_PATH = re.compile(r"/[A-Za-z0-9._~!&()*+,:@%/{}-]*")
_TOKEN = re.compile(r"[A-Za-z0-9!#&*+.^_|~-]+")
_VALUE = re.compile(r"[ !#&-~]*")
_HOST = re.compile(r"(\*\.)?[a-z0-9-]+(\.[a-z0-9-]+)*")


def paths(value: str) -> str | None:
    """A path as engines' configuration can hold it, or what would be allowed."""
    return None if _PATH.fullmatch(value) else "paths that begin with /, of URL characters only"


def plain_path(value: str) -> str | None:
    """A path without templates, or what would be allowed."""
    return None if re.fullmatch(r"/[A-Za-z0-9._~/-]*", value) else "a plain path such as /openapi.json"


def _methods(value: str) -> str | None:
    return None if value.isalpha() and value.isupper() else 'methods in capitals, such as "GET"'


def _hosts(value: str) -> str | None:
    return None if _HOST.fullmatch(value) else 'host names in lower case, "*." before one for all below it'


def _header(value: str) -> str | None:
    return None if _TOKEN.fullmatch(value) else "the name of a header"


def _word(value: str) -> str | None:
    return None if value and " " not in value and _value(value) else "one word"


def _value(value: str) -> bool:
    """Printable, and nothing that an engine's configuration would read as its own: no quotes, $, %, \\."""
    return bool(_VALUE.fullmatch(value)) and not set(value) & set("'`\\")


def headers(given: object) -> str | None:
    """Names and values of headers, or what would be allowed."""
    assert isinstance(given, dict)
    for name, value in given.items():
        if not _TOKEN.fullmatch(name):
            return f"names of headers ({name!r} is none)"
        if value is not None and not _value(value):
            return f"values of printable ASCII without quotes, $, % and \\ ({name} has another)"
        if name.lower().startswith("x-tierline-") or name.lower() in (
            "host",
            "traceparent",
            "content-length",
        ):
            return f"headers that the line does not keep for itself ({name} is one)"
    return None


def _address(value: str) -> str | None:
    try:
        ipaddress.ip_network(value, strict=True)
    except ValueError:
        return 'addresses or networks such as "10.0.0.0/8" or "2001:db8::/32"'
    return None


def _date(value: str) -> str | None:
    try:
        datetime.date.fromisoformat(value)
    except ValueError:
        return 'a date such as "2027-01-31"'
    return None


class Auth(Intent):
    """Base of the ways to authenticate."""

    kind: ClassVar[str] = ""


class JWT(Auth):
    """Signed tokens (RFC 7519) in the Authorization header.

    Without `jwks` the line makes an ES256 key of its own on first use; a service that names the gateway's
    auth in `uses` receives it to sign with (`JWT_SIGNING_KEY_FILE`), and `tierline token` signs for you.
    What the token claims is passed on in `x-tierline-claims` (base64url JSON), which nobody else can set.
    """

    kind = "jwt"
    issuer: str = setting("The `iss` that a token must carry.", allowed=lambda v: _plain(v))
    audience: str = setting("The `aud` that a token must carry.", allowed=lambda v: _plain(v))
    paths: tuple[str, ...] = setting("Path prefixes that need a token.", allowed=paths)
    jwks: str | None = setting(
        "File or https:// URL with the issuer's keys (RFC 7517); default: a local key.",
        default=None,
        allowed=lambda v: source(v),
    )
    refresh: Duration = setting("How often keys from a URL are fetched again.", default="5m", above=1)
    ca: str | None = setting(
        "PEM file of the authority that the URL's certificate is checked with; default: the system's.",
        default=None,
    )
    algorithms: tuple[str, ...] = setting(
        "Signature algorithms (RFC 7518) that are accepted; never `none`, never a shared secret.",
        default=("ES256", "RS256"),
        allowed=lambda v: None if v in ALGORITHMS else f"one of {', '.join(ALGORITHMS)}",
    )
    clock_skew: Duration = setting("Tolerance for `exp` and `nbf`.", default="60s", above=1)
    name: str = setting("What a service's `uses` calls it.", default="auth")

    @property
    def remote(self) -> bool:
        """Whether the keys come from a URL."""
        return self.jwks is not None and "://" in self.jwks

    def check(self) -> None:
        if not self.algorithms:
            raise self.wrong("algorithms", self.algorithms, "at least one, or every token would be refused")
        if self.ca is not None and not (self.jwks or "").startswith("https://"):
            raise self.wrong("ca", self.ca, "only beside jwks='https://…'")


def source(value: str) -> str | None:
    """A file, or a URL that nobody on the way can change: TLS, or this machine itself."""
    scheme, there, rest = value.partition("://")
    if not there:
        return None
    host = rest.partition("/")[0].rpartition("@")[2].partition(":")[0]
    safe = scheme == "https" or (scheme == "http" and host in ("127.0.0.1", "localhost"))
    if not safe or "@" in rest.partition("/")[0] or _plain(value) or not host or " " in value:
        return "a file, an https:// URL, or an http:// URL of this machine (127.0.0.1, localhost)"
    return None


def _plain(value: str) -> str | None:
    return None if _value(value) and value else "printable ASCII without quotes, $, % and \\"


class Quota(Intent):
    """A plan that consumers with an API key are on: at most `requests` in `per`, each."""

    name: Name = setting("The plan's name.")
    requests: int = setting("Requests allowed in each interval.", above=1)
    per: Duration = setting("The interval.", default="1d", above=1)


class APIKeys(Auth):
    """Callers known by a key in a header. The consumer's name is passed on in `x-tierline-consumer`.

    The line makes a key for each consumer on first use (`.tierline/secrets.json`, `apikey.<consumer>`);
    `file` gives your own instead, as a JSON object of consumer → key.
    """

    kind = "api_key"
    consumers: dict[str, str] = setting("Consumer → the plan that it is on, or '' for no quota.")
    paths: tuple[str, ...] = setting("Path prefixes that need a key.", allowed=paths)
    header: str = setting("The header that carries the key.", default="x-api-key", allowed=_header)
    plans: tuple[Quota, ...] = setting("The plans, with their quotas.", default=())
    file: str | None = setting("JSON file of consumer → key; default: keys made on first use.", default=None)

    def check(self) -> None:
        known = {plan.name for plan in self.plans}
        for consumer, plan in self.consumers.items():
            if not re.fullmatch(r"[a-z][a-z0-9-]{0,39}", consumer):
                raise self.wrong("consumers", consumer, "names in lower-case letters, digits and '-'")
            if plan and plan not in known:
                raise self.wrong("consumers", plan, f"one of the plans: {', '.join(sorted(known)) or 'none'}")


class RateLimit(Intent):
    """At most `requests` in `per`, with bursts. Counted in each zone's gateway on its own."""

    requests: int = setting("Requests allowed in each interval.", above=1)
    per: Duration = setting("The interval.", default="1s", above=0.05)
    by: Literal["all", "client", "consumer"] = setting(
        "Counted for everybody together, per client address, or per API key or token subject.",
        default="client",
    )
    burst: int | None = setting("Tokens that may be saved up; default: `requests`.", default=None)
    paths: tuple[str, ...] = setting("Path prefixes; default: every path.", default=(), allowed=paths)


class Access(Intent):
    """Who may call some paths: all conditions that are given must hold, else the answer is 403.

    Conditions on claims and scopes need the gateway's `auth`; its paths then need a token.
    """

    paths: tuple[str, ...] = setting("Path prefixes that this is about.", allowed=paths)
    methods: tuple[str, ...] = setting("Methods; default: all.", default=(), allowed=_methods)
    claims: dict[str, str] = setting("Claims that the token must carry, with their values.", factory=dict)
    scopes: tuple[str, ...] = setting(
        "Words that the token's `scope` must hold, all of them.", default=(), allowed=_word
    )
    addresses: tuple[str, ...] = setting(
        "Networks, in one of which the client must be.", default=(), allowed=_address
    )

    def check(self) -> None:
        if not (self.claims or self.scopes or self.addresses):
            raise self.wrong("claims", self.claims, "at least one of claims, scopes and addresses")
        for name, value in self.claims.items():
            if not _TOKEN.fullmatch(name) or not _value(value):
                raise self.wrong("claims", {name: value}, "plain names and values")


class Canary(Intent):
    """A part of a route's requests for another service."""

    to: str = setting("The service that is tried.")
    weight: int = setting("Percent of the requests.", default=0, above=0, below=100)
    header: str | None = setting(
        "Requests with this header go there whatever the weight says.", default=None, allowed=_header
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

    path: str = setting("Path prefix, or a template such as `/films/{id}`.", allowed=paths)
    to: str | None = setting("The service; default: who exposes the path.", default=None)
    exact: bool = setting("Only this very path, nothing below it.", default=False)
    methods: tuple[str, ...] = setting("Methods; default: all.", default=(), allowed=_methods)
    hosts: tuple[str, ...] = setting("Host names; default: all.", default=(), allowed=_hosts)
    headers: dict[str, str] = setting("Headers that must have these values.", factory=dict)
    rewrite: str | None = setting("What the path's prefix becomes behind.", default=None, allowed=paths)
    timeout: Duration | None = setting("Deadline; default: the gateway's.", default=None)
    retries: int | None = setting("Tries again; default: the gateway's.", default=None, above=0, below=5)
    canary: Canary | None = setting("A part of it for another service.", default=None)
    mirror: Mirror | None = setting("A copy of it for another service.", default=None)
    request: dict[str, str | None] = setting("Request headers to set, or to remove (None).", factory=dict)
    response: dict[str, str | None] = setting("Response headers to set, or to remove (None).", factory=dict)

    def check(self) -> None:
        for field in ("headers", "request", "response"):
            if allowed := headers(getattr(self, field)):
                raise self.wrong(field, getattr(self, field), allowed)
        if "{" in self.path and self.rewrite is not None:
            raise self.wrong("rewrite", self.rewrite, "a path without {…}, or no rewrite")


class Version(Intent):
    """One version of the API, beside the others. The last one is what a request without a version gets.

    `deprecated` is told in `Deprecation` (RFC 9745) and `sunset` in `Sunset` (RFC 8594), with `Link`.
    """

    name: Name = setting("As clients write it: `v1`.")
    services: dict[str, str] = setting("Service → the one that plays it in this version.", factory=dict)
    deprecated: str | None = setting("The day since when it is deprecated.", default=None, allowed=_date)
    sunset: str | None = setting("The day from which it may stop answering.", default=None, allowed=_date)
    link: str | None = setting("Where the change is explained.", default=None, allowed=_plain)
