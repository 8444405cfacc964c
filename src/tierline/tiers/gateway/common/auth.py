"""Who calls, as a stack says it: tokens, keys, certificates, logins."""

from __future__ import annotations

import re
from typing import ClassVar

from tierline.engines.keysets import ALGORITHMS
from tierline.intent import Duration, Intent, Name, setting
from tierline.tiers.gateway.common import words


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
    issuer: str = setting("The `iss` that a token must carry.", allowed=words.plain)
    audience: str = setting("The `aud` that a token must carry.", allowed=words.plain)
    paths: tuple[str, ...] = setting("Path prefixes that need a token.", allowed=words.paths)
    jwks: str | None = setting(
        "File or https:// URL with the issuer's keys (RFC 7517); default: a local key.",
        default=None,
        allowed=words.source,
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
    paths: tuple[str, ...] = setting("Path prefixes that need a key.", allowed=words.paths)
    header: str = setting("The header that carries the key.", default="x-api-key", allowed=words.header)
    plans: tuple[Quota, ...] = setting("The plans, with their quotas.", default=())
    file: str | None = setting("JSON file of consumer → key; default: keys made on first use.", default=None)

    def check(self) -> None:
        known = {plan.name for plan in self.plans}
        for consumer, plan in self.consumers.items():
            if not re.fullmatch(r"[a-z][a-z0-9-]{0,39}", consumer):
                raise self.wrong("consumers", consumer, "names in lower-case letters, digits and '-'")
            if plan and plan not in known:
                raise self.wrong("consumers", plan, f"one of the plans: {', '.join(sorted(known)) or 'none'}")


class OIDC(Auth):
    """Login for browsers with OpenID Connect: the authorization code flow with PKCE, the session in cookies.

    A browser (a GET that takes `text/html`) without a session is sent to the provider and comes back logged in;
    everybody else gets 401. Who it is goes on as with a token: `x-tierline-subject` and `x-tierline-claims`, and
    rules of access see the ID token's claims. `issuer="local"` plays the provider here, with a page of test users.
    """

    kind = "oidc"
    paths: tuple[str, ...] = setting("Path prefixes that need a login.", allowed=words.paths)
    issuer: str = setting(
        "The provider, an https:// URL whose description is at /.well-known/openid-configuration; `local`: the line's own.",
        default="local",
        allowed=lambda v: None if v == "local" else words.remote(v),
    )
    client_id: str = setting("What the provider knows the line as.", default="tierline", allowed=words.plain)
    client_secret: str | None = setting(
        "File with the client's secret; needed unless the provider is local.", default=None
    )
    users: dict[str, dict[str, str]] = setting(
        "Test users of the local provider: name → more claims of theirs.",
        factory=lambda: {"alice": {}, "bob": {}},
    )
    scopes: tuple[str, ...] = setting(
        "What is asked of the provider beside `openid`.", default=("profile", "email"), allowed=words.word
    )
    callback: str = setting(
        "Where the provider sends browsers back to.", default="/-/login/callback", allowed=words.plain_path
    )
    logout: str = setting("The path that ends a session.", default="/-/logout", allowed=words.plain_path)
    session: Duration = setting("How long the local provider's tokens are good.", default="1h", above=5)
    refresh: Duration = setting(
        "How often the provider's keys and description are fetched again.", default="5m", above=1
    )
    ca: str | None = setting(
        "PEM file of the authority that the provider's certificate is checked with; default: the system's.",
        default=None,
    )

    @property
    def local(self) -> bool:
        """Whether the line plays the provider itself."""
        return self.issuer == "local"

    def check(self) -> None:
        if not self.local and self.client_secret is None:
            raise self.wrong("client_secret", None, f"a file with the secret that {self.issuer} gave")
        if self.local and self.client_secret is not None:
            raise self.wrong(
                "client_secret", self.client_secret, "nothing: the line makes one for its own provider"
            )
        if self.local and not self.users:
            raise self.wrong("users", self.users, "at least one test user")
        if self.ca is not None and not self.issuer.startswith("https://"):
            raise self.wrong("ca", self.ca, "only beside issuer='https://…'")
        for name in self.users:
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}", name):
                raise self.wrong("users", name, "names of letters, digits, '.', '_', '@' and '-'")


class MTLS(Auth):
    """Consumers known by a client certificate (mutual TLS), on a listener of the gateway's own: `mtls` in what `up`
    prints. Every client there needs a certificate of the authority; these paths answer nowhere else.

    Without `ca` the line's own authority is trusted, and `tierline certificate NAME` makes a certificate of it. The
    consumer's name is passed on in `x-tierline-consumer`.
    """

    kind = "mtls"
    consumers: dict[str, str] = setting(
        "Name in the certificate (common name; DNS or URI alternative name) → consumer. What isn't listed is refused."
    )
    paths: tuple[str, ...] = setting("Path prefixes that need a certificate.", allowed=words.paths)
    ca: str | None = setting(
        "PEM file of the authorities whose certificates are accepted; default: the line's own.", default=None
    )

    @property
    def alternative(self) -> bool:
        """Whether a name is one that only an alternative name can be."""
        return any("://" in name for name in self.consumers)

    def check(self) -> None:
        if not self.consumers:
            raise self.wrong("consumers", self.consumers, "at least one, or nobody could call")
        for name, consumer in self.consumers.items():
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.:/_@*-]{0,200}", name):
                raise self.wrong(
                    "consumers", name, "names in certificates: letters, digits and . : / _ @ * -"
                )
            if not re.fullmatch(r"[a-z][a-z0-9-]{0,39}", consumer):
                raise self.wrong("consumers", consumer, "consumers in lower-case letters, digits and '-'")
