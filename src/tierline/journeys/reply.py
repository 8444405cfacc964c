"""An answer with a status, header fields and cookies of its own: what effects and views may return."""

from __future__ import annotations

import re
import typing
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import msgspec

T = TypeVar("T")

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_ASCII = "".join(map(chr, range(0x21, 0x7F)))
_COOKIE = re.compile(r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*")
_OWN = frozenset(
    {"content-length", "content-type", "transfer-encoding", "connection", "etag", "cache-control", "vary"}
)


class Cookie(msgspec.Struct, frozen=True):
    """A cookie (RFC 6265). It is `HttpOnly` and `SameSite=Lax`, and `Secure` where the client came by HTTPS.

    max_age: seconds; None for as long as the browser is open, 0 to remove it.
    """

    value: str
    max_age: int | None = None
    path: str = "/"
    http_only: bool = True
    same_site: str = "Lax"


class Reply(msgspec.Struct, Generic[T], frozen=True):
    """What an effect or a view answers, with more than its body.

    status: 200 to 599. headers: more fields. cookies: by name, the value or a Cookie. location: of what was made
    (201) or where to go (303): of this origin, unless external=True says that another site is meant, with http:// or
    https://; so that a path out of a request leads nowhere else. Others that name the effect get the body.
    """

    body: T
    status: int = 200
    headers: dict[str, str] = {}
    cookies: dict[str, str | Cookie] = {}
    location: str = ""
    external: bool = False

    def __post_init__(self) -> None:
        if not 200 <= self.status <= 599:
            raise ValueError(f"Reply.status: {self.status!r} is not allowed; allowed: 200 to 599")
        for name, value in self.headers.items():
            if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value) or name.lower() in _OWN:
                raise ValueError(f"Reply.headers: {name!r} can't be set to {value!r}")
            if name.lower() == "location":
                raise ValueError("Reply.headers: 'location' can't be set; write Reply(…, location=…)")
        if self.location and not self._leads():
            allowed = (
                "http:// and https://"
                if self.external
                else "a path of this origin, or another with external=True"
            )
            raise ValueError(f"Reply.location: {self.location[:200]!r} is not allowed; allowed: {allowed}")
        for name, cookie in self.cookies.items():
            known = cookie if isinstance(cookie, Cookie) else Cookie(cookie)
            words = f"{known.path}{known.same_site}"
            if (
                not _NAME.fullmatch(name)
                or not _COOKIE.fullmatch(known.value)
                or re.search(r"[;\x00-\x1f\x7f]", words)
                or not isinstance(known.max_age, int | None)
            ):
                raise ValueError(f"Reply.cookies: {name!r} can't be set to {known.value!r}")

    def _leads(self) -> bool:
        """Whether a browser goes where it is allowed to. It takes a backslash for a slash, and overlooks blanks."""
        if re.search(r"[\x00-\x20\x7f\\]", self.location):
            return False
        if self.external:
            return re.match(r"https?://[^/?#]", self.location, re.IGNORECASE) is not None
        return not self.location.startswith("//") and re.match(r"[^/?#]*:", self.location) is None

    def fields(self, secure: bool) -> list[tuple[bytes, bytes]]:
        """Its header fields. secure: the client came by HTTPS."""
        found = [(name.lower(), value) for name, value in self.headers.items()]
        if self.location:
            found.append(("location", quote(self.location, safe=_ASCII)))
        for name, cookie in self.cookies.items():
            known = cookie if isinstance(cookie, Cookie) else Cookie(cookie)
            words = [f"{name}={known.value}", f"Path={known.path}", f"SameSite={known.same_site}"]
            words += [f"Max-Age={known.max_age}"] if known.max_age is not None else []
            words += ["HttpOnly"] if known.http_only else []
            words += ["Secure"] if secure else []
            found.append(("set-cookie", "; ".join(words)))
        return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in found]


def is_reply(kind: Any) -> bool:
    """Whether an annotation is `Reply` or `Reply[…]`."""
    return kind is Reply or typing.get_origin(kind) is Reply


def unwrapped(kind: Any) -> Any:
    """The type of the body: `Order` of `Reply[Order]`."""
    if kind is Reply:
        return Any
    return typing.get_args(kind)[0] if typing.get_origin(kind) is Reply else kind
