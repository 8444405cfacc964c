"""The request as parts may see it, and the values that the engine takes from it."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import hashlib
import re
from collections.abc import Awaitable, Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from tierline.journeys.fault import BadInput, UnsupportedMedia, refusal
from tierline.journeys.inputs import NOTHING, converter, is_list, spoken
from tierline.journeys.negotiate import best_language
from tierline.journeys.plan import Plan

CLAIMS = b"x-tierline-claims"
"""The verified claims of the caller's token, base64url JSON: set by the gateway, never by a client."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What an application takes from a request, and from where."""

    locales: tuple[str, ...] = ()
    trust_bearer: bool = False
    affiliate: str = "x-affiliate"
    version: str = "x-app-version"
    origins: frozenset[str] = frozenset()
    """Origins besides the request's own whose pages may send what a cookie authorises."""


class Request:
    """What was asked. A part that names `request` gets it; nothing of it is shared between requests."""

    __slots__ = ("client", "headers", "kept", "reading", "scope")

    def __init__(
        self,
        scope: Mapping[str, Any],
        headers: dict[bytes, bytes],
        client: str,
        reading: Reading,
    ) -> None:
        self.scope = scope
        self.headers = headers
        self.client = client
        self.reading = reading
        self.kept: dict[str, Any] = {}

    @property
    def method(self) -> str:
        return str(self.scope["method"])

    @property
    def path(self) -> str:
        return str(self.scope["path"])

    def header(self, name: str, default: str = "") -> str:
        """A header's value."""
        value = self.headers.get(name.lower().encode("latin-1"))
        return default if value is None else value.decode("latin-1")

    def joined(self) -> dict[bytes, bytes]:
        """The header fields, with all that were sent as `cookie` (HTTP/2 may split it) as one."""
        cookies = [value for name, value in self.scope["headers"] if name == b"cookie"]
        return {**self.headers, b"cookie": b"; ".join(cookies)} if len(cookies) > 1 else self.headers

    @property
    def query(self) -> dict[str, str]:
        """The query's values; the last, when one is given several times."""
        return dict(parse_qsl(self.scope["query_string"].decode("latin-1"), keep_blank_values=True))

    @property
    def locale(self) -> str:
        return best_language(self.header("accept-language"), self.reading.locales)

    @property
    def affiliate(self) -> str:
        return self.header(self.reading.affiliate)

    @property
    def version(self) -> str:
        return self.header(self.reading.version)

    @property
    def identity(self) -> dict[str, Any] | None:
        """The claims of the caller's token as the gateway has verified them, or None."""
        if "identity" in self.kept:
            found: dict[str, Any] | None = self.kept["identity"]
            return found
        claims = _claims(self.headers.get(CLAIMS))
        if claims is None and self.reading.trust_bearer:
            kind, _, token = self.headers.get(b"authorization", b"").partition(b" ")
            if kind.lower() == b"bearer" and token.count(b".") == 2:
                claims = _claims(token.split(b".")[1])
        self.kept["identity"] = claims
        return claims

    def limited(self, part: str, vary: tuple[str, ...]) -> LimitedRequest:
        """What a cached part may read of the request."""
        return LimitedRequest(self, part, vary)


class LimitedRequest:
    """The request as a cached part sees it: the header fields that its `Cache(vary=…)` names, and the method."""

    __slots__ = ("_part", "_request", "_vary")

    def __init__(self, request: Request, part: str, vary: tuple[str, ...]) -> None:
        self._request = request
        self._part = part
        self._vary = vary

    @property
    def method(self) -> str:
        return self._request.method

    def header(self, name: str, default: str = "") -> str:
        """A header field's value. Raises LookupError for one that the cache doesn't vary by."""
        if name.lower() not in self._vary:
            raise LookupError(
                f"part {self._part!r} is cached and reads the field {name!r}; "
                f"allowed: {', '.join(self._vary)}, as its Cache(vary=…) says"
            )
        return self._request.header(name, default)

    def __getattr__(self, name: str) -> Any:
        raise LookupError(
            f"part {self._part!r} is cached and reads request.{name}; allowed: request.header(…)"
        )


def _claims(text: bytes | None) -> dict[str, Any] | None:
    if not text or len(text) > 16384:
        return None
    try:
        raw = text if text[:1] == b"{" else base64.b64decode(text + b"=" * (-len(text) % 4), altchars=b"-_")
        return msgspec.json.decode(raw, type=dict[str, Any])
    except (binascii.Error, msgspec.DecodeError, ValueError):
        return None


_OF_ONE_TOKEN = frozenset({"exp", "iat", "nbf", "jti", "auth_time", "nonce", "at_hash", "sid"})


def claimed(identity: Mapping[str, Any] | None) -> bytes:
    """Tells apart what callers may do, by all that their next token says too."""
    kept = {name: value for name, value in (identity or {}).items() if name not in _OF_ONE_TOKEN}
    return hashlib.blake2b(msgspec.json.encode(kept, order="deterministic"), digest_size=16).digest()


BUILTIN: dict[str, Callable[[Request], Any]] = {
    "request": lambda request: request,
    "client": lambda request: request.client,
    "locale": lambda request: request.locale,
    "identity": lambda request: request.identity,
    "affiliate": lambda request: request.affiliate,
    "version": lambda request: request.version,
}
"""`session`, `steps` and `body` have to be waited for, so they are not here."""


class Filler:
    """Puts a request's values into the slots of a plan, or tells all that is wrong with them."""

    __slots__ = ("_builtins", "_paths", "_queries", "body", "quick", "sole")

    def __init__(self, plan: Plan, positions: Mapping[str, int]) -> None:
        slots = plan.slots
        inputs = plan.inputs.values()
        self._paths = [
            (i.name, positions[i.name], slots[i.name], converter(i.type), i.type)
            for i in inputs
            if i.source == "path"
        ]
        self._queries = [
            (i.name, slots[i.name], converter(i.type), i.type, i.default, is_list(i.type))
            for i in inputs
            if i.source == "query"
        ]
        dimensions = plan.journey.dimensions
        self._builtins = [
            (slots[i.name], dimensions[i.name].read if i.source == "dimension" else BUILTIN[i.name])
            for i in inputs
            if i.source == "dimension" or i.name in BUILTIN
        ]
        self.body = next(((slots["body"], i.type) for i in inputs if i.name == "body"), None)
        self.quick = not self._queries and not self._builtins
        # Where the path's last piece is all there is, as for most screens.
        sole = self.quick and len(self._paths) == 1 and self._paths[0][1] == -1
        self.sole = (self._paths[0][2], self._paths[0][3]) if sole else None

    def fill(
        self, values: list[Any], pieces: Sequence[str], query: dict[str, list[str]], request: Request | None
    ) -> None:
        errors: list[dict[str, Any]] | None = None
        for name, position, slot, convert, kind in self._paths:
            try:
                values[slot] = convert(pieces[position])
            except (msgspec.ValidationError, ValueError) as error:
                errors = errors or []
                errors.append(_error("path", name, pieces[position], kind, error))
        if self.quick:
            if errors:
                raise BadInput(errors)
            return
        for name, slot, convert, kind, default, many in self._queries:
            given = query.get(name)
            if given is None:
                if default is NOTHING:
                    errors = errors or []
                    errors.append({"in": "query", "field": name, "why": f"is required; a {spoken(kind)}"})
                continue
            try:
                values[slot] = convert(given if many else given[-1])
            except (msgspec.ValidationError, ValueError) as error:
                errors = errors or []
                errors.append(_error("query", name, given if many else given[-1], kind, error))
        if errors:
            raise BadInput(errors)
        for slot, take in self._builtins:
            values[slot] = take(request)  # type: ignore[arg-type]


def _error(where: str, name: str, given: Any, kind: Any, error: Exception) -> dict[str, Any]:
    why = str(error).removesuffix(" - at `$`")
    shown = given[:100] if isinstance(given, (str, list)) else given
    return {"in": where, "field": name, "given": shown, "why": f"{why}; it takes {spoken(kind)}"}


def parse_query(raw: bytes) -> dict[str, list[str]]:
    """Every value of every name. At most 200 pairs."""
    found: dict[str, list[str]] = {}
    try:
        pairs = parse_qsl(raw.decode("latin-1"), keep_blank_values=True, max_num_fields=200)
    except ValueError:
        raise BadInput([{"in": "query", "field": "", "why": "has more than 200 values"}]) from None
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return found


_LINGERS = 1.0
"""Seconds for which the rest of a refused body is still taken."""


async def rest(receive: Callable[[], Awaitable[Mapping[str, Any]]]) -> None:
    """Takes what a client still sends of a body that has been refused, for a moment: a server that closes amid it resets the
    connection, and the client may never see the answer (RFC 9112, 9.6)."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LINGERS):
            while True:
                message = await receive()
                if message["type"] != "http.request" or not message.get("more_body"):
                    return


async def read_body(receive: Callable[[], Awaitable[Mapping[str, Any]]], most: int) -> bytes | None:
    """The request's body; None when the client went away."""
    pieces: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        piece = message.get("body", b"")
        size += len(piece)
        if size > most:
            raise refusal(f"the request's body is larger than {most} bytes", 413)
        pieces.append(piece)
        if not message.get("more_body"):
            return b"".join(pieces)


_LONG = re.compile(rb"[0-9]{19}")
_JSON = re.compile(rb"application/(?:[a-z0-9.!#$&^_-]+\+)?json\s*(?:;.*)?", re.IGNORECASE)


def is_own(headers: Mapping[bytes, bytes], trusted: Container[str]) -> bool:
    """Whether a request that changes something was sent by a page of this origin, or by no page at all.

    Browsers say where a request comes from: `Sec-Fetch-Site`, or `Origin` where they are older. One that brings no
    cookie is authorised by what no other site's page has.
    """
    if b"cookie" not in headers:
        return True
    origin = headers.get(b"origin")
    if origin is not None and origin.decode("latin-1") in trusted:
        return True
    site = headers.get(b"sec-fetch-site")
    if site is not None:
        return site in (b"same-origin", b"none")
    if origin is None:
        return True
    own = origin.partition(b"://")[2].lower()
    return bool(own) and own == headers.get(b"host", b"").lower()


def decode_body(raw: bytes, kind: Any, media: bytes = b"application/json") -> Any:
    """The body's JSON as the type that parts ask for; an empty one is None. media: the request's Content-Type."""
    if raw and not _JSON.fullmatch(media):
        given = media.decode("latin-1")[:100] or "none"
        raise UnsupportedMedia(
            f"the body's Content-Type is {given}; allowed: application/json",
            headers={"accept": "application/json"},
        )
    if not raw:
        try:
            return msgspec.convert(None, kind)
        except msgspec.ValidationError:
            raise BadInput([{"in": "body", "field": "", "why": f"is required; a {spoken(kind)}"}]) from None
    try:
        value = msgspec.json.decode(raw, type=kind)
        if _LONG.search(raw):
            # Nothing that keeps it, a session or an effect's answer, could hold a larger number.
            msgspec.msgpack.encode(value, enc_hook=str)
        return value
    except OverflowError:
        raise BadInput(
            [{"in": "body", "field": "", "why": "holds a whole number of more than 64 bits"}]
        ) from None
    except msgspec.ValidationError as error:
        why, _, where = str(error).partition(" - at `$")
        raise BadInput([{"in": "body", "field": where.strip(".`"), "why": why}]) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadInput([{"in": "body", "field": "", "why": f"is not JSON: {error}"}]) from None
