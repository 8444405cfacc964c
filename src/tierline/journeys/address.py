"""Where an instance of a service listens: an address of this line, or the URL of a service outside."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from tierline.errors import StackError
from tierline.journeys.wire import Connection

_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+")
_BASE = re.compile(r"(?:/[A-Za-z0-9._~!$&'()*+,;=:@%-]+)*")


@dataclass(eq=False, slots=True)
class Address:
    """Where an instance of a service listens. `distance` 0: this zone, 1: another zone, 2: another region.

    `host:port` and `unix:/path` are of this line: its calls have the service's name as Host. A URL is taken as it is: its
    authority is the Host, its path comes before that of each call, and `https` is TLS with the host's name in SNI.
    """

    where: str
    distance: int = 0
    host: str = field(default="", init=False)
    port: int = field(default=0, init=False)
    socket: str = field(default="", init=False)
    secure: bool = field(default=False, init=False)
    base: str = field(default="", init=False)
    authority: str = field(default="", init=False)
    start: str = field(default="", init=False)
    """What follows a request's target: the version and Host."""
    idle: list[Connection] = field(default_factory=list, init=False, repr=False)
    open: int = field(default=0, init=False)
    busy: int = field(default=0, init=False)
    failures: int = field(default=0, init=False)
    ejected_until: float = field(default=0.0, init=False)
    ejections: int = field(default=0, init=False)
    gone: bool = field(default=False, init=False)
    answered: int = field(default=0, init=False)
    took: float = field(default=0.0, init=False)
    """Seconds of all replies together, each from its request until it was whole."""

    def __post_init__(self) -> None:
        text = self.where
        if text.startswith(("unix:", "/")):
            self.socket = text.removeprefix("unix:")
            return
        if not text.isascii() or not text.isprintable() or " " in text:
            raise self._wrong("it holds characters that no address may")
        if "://" in text:
            self._url(text)
            return
        host, _, port = text.rstrip("/").rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise self._wrong("it is not host:port")
        self.host, self.port = host.strip("[]"), int(port)

    def _url(self, text: str) -> None:
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError as error:
            raise self._wrong(str(error)) from None
        if parts.scheme not in ("http", "https"):
            raise self._wrong(f"{parts.scheme}:// is not a way to call a service")
        if parts.username is not None or parts.password is not None:
            raise StackError(
                "an address holds a user and a password; leave them out, and send them as a header field: "
                'headers={"authorization": …}'
            )
        if parts.query or parts.fragment or "?" in text or "#" in text:
            raise self._wrong("it has a query or a fragment; values belong to calls: get(path, name=value)")
        if not parts.hostname or not _HOST.fullmatch(parts.hostname) or port == 0:
            raise self._wrong("it has no host")
        self.base = parts.path.rstrip("/")
        if not _BASE.fullmatch(self.base) or {".", ".."} & set(self.base.split("/")):
            raise self._wrong(f"{parts.path!r} is not a path that calls can begin with")
        self.secure = parts.scheme == "https"
        self.host = parts.hostname
        self.port = port or (443 if self.secure else 80)
        self.authority = parts.netloc.lower()

    def _wrong(self, why: str) -> StackError:
        return StackError(
            f"address {self.where!r}: {why}; allowed: host:port, unix:/path, http://host:port/base and "
            "https://host/base"
        )


def trusting(ca_file: str | Path | None, what: str) -> ssl.SSLContext:
    """TLS 1.2 or later that trusts these authorities, or the system's. Raises StackError for a file that holds none."""
    try:
        context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    except (OSError, ssl.SSLError) as error:
        raise StackError(
            f"{what}, ca_file: {str(ca_file)!r} can't be used: {error.strerror or error}; give a file of certificates (PEM)"
        ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context
