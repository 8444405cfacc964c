"""What paths, methods, hosts, headers and dates may look like, so that every engine's configuration can hold them."""

from __future__ import annotations

import datetime
import ipaddress
import re

_PATH = re.compile(r"/[A-Za-z0-9._~!&()*+,:@%/{}-]*")
TOKEN = re.compile(r"[A-Za-z0-9!#&*+.^_|~-]+")
_VALUE = re.compile(r"[ !#&-~]*")
_HOST = re.compile(r"(\*\.)?[a-z0-9-]+(\.[a-z0-9-]+)*")


def paths(value: str) -> str | None:
    """A path as engines' configuration can hold it, or what would be allowed."""
    return None if _PATH.fullmatch(value) else "paths that begin with /, of URL characters only"


def plain_path(value: str) -> str | None:
    """A path without templates, or what would be allowed."""
    return None if re.fullmatch(r"/[A-Za-z0-9._~/-]*", value) else "a plain path such as /openapi.json"


def methods(value: str) -> str | None:
    return None if value.isalpha() and value.isupper() else 'methods in capitals, such as "GET"'


def hosts(value: str) -> str | None:
    return None if _HOST.fullmatch(value) else 'host names in lower case, "*." before one for all below it'


def header(value: str) -> str | None:
    return None if TOKEN.fullmatch(value) else "the name of a header"


def word(value: str) -> str | None:
    return None if value and " " not in value and printable(value) else "one word"


def printable(value: str) -> bool:
    """Printable, and nothing that an engine's configuration would read as its own: no quotes, $, %, \\."""
    return bool(_VALUE.fullmatch(value)) and not set(value) & set("'`\\")


def headers(given: object) -> str | None:
    """Names and values of headers, or what would be allowed."""
    assert isinstance(given, dict)
    for name, value in given.items():
        if not TOKEN.fullmatch(name):
            return f"names of headers ({name!r} is none)"
        if value is not None and not printable(value):
            return f"values of printable ASCII without quotes, $, % and \\ ({name} has another)"
        if name.lower().startswith("x-tierline-") or name.lower() in (
            "host",
            "traceparent",
            "content-length",
        ):
            return f"headers that the line does not keep for itself ({name} is one)"
    return None


def address(value: str) -> str | None:
    try:
        ipaddress.ip_network(value, strict=True)
    except ValueError:
        return 'addresses or networks such as "10.0.0.0/8" or "2001:db8::/32"'
    return None


def date(value: str) -> str | None:
    try:
        datetime.date.fromisoformat(value)
    except ValueError:
        return 'a date such as "2027-01-31"'
    return None


def template(value: object, request: bool) -> str | None:
    """A JSON template, or what would be allowed."""
    if isinstance(value, dict):
        if not all(isinstance(name, str) for name in value):
            return "JSON: names of members are text"
        return next((told for each in value.values() if (told := template(each, request))), None)
    if isinstance(value, list | tuple):
        return next((told for each in value if (told := template(each, request))), None)
    if isinstance(value, str):
        if not request and re.search(r"\{(query|header):", value):
            return "fields of the answer; the request's query and headers are for request_body"
        return None
    if value is None or isinstance(value, bool | int) or (isinstance(value, float) and value - value == 0):
        return None
    return "what JSON can hold: objects, lists, text, numbers, true, false, null"


def source(value: str) -> str | None:
    """A file, or a URL that nobody on the way can change: TLS, or this machine itself."""
    return None if "://" not in value or remote(value) is None else f"a file, {_URL}"


_URL = "an https:// URL, or an http:// URL of this machine (127.0.0.1, localhost)"


def remote(value: str) -> str | None:
    """A URL that nobody on the way can change, or what would be allowed."""
    scheme, _, rest = value.partition("://")
    host = rest.partition("/")[0].rpartition("@")[2].partition(":")[0]
    safe = scheme == "https" or (scheme == "http" and host in ("127.0.0.1", "localhost"))
    if not safe or "@" in rest.partition("/")[0] or plain(value) or not host or " " in value:
        return _URL
    return None


def plain(value: str) -> str | None:
    return None if printable(value) and value else "printable ASCII without quotes, $, % and \\"
