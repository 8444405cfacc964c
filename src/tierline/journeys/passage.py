"""Files that pass through: an upload or a download that a service answers, streamed both ways and never held whole."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from tierline.errors import StackError
from tierline.journeys.journey import METHODS, Place
from tierline.journeys.policy import Requires, bound

_PATH = re.compile(r"(/([A-Za-z0-9._~!$&'()*+,;=:@%-]+|\{[A-Za-z_]\w*\}))+")
_MEDIA = re.compile(r"[a-z0-9!#$&^_.+*-]+/[a-z0-9!#$&^_.+*-]+")
_SIZE = re.compile(r"(\d+)\s*(B|KB|MB|GB|KiB|MiB|GiB)?")
_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def size(given: str | int, field: str) -> int:
    """`"20MB"`, `"5MiB"`, or a number of bytes."""
    if isinstance(given, int) and not isinstance(given, bool) and given > 0:
        return given
    if isinstance(given, str) and (match := _SIZE.fullmatch(given.strip())):
        return int(match[1]) * _UNITS[match[2] or "B"]
    raise StackError(
        f'{field}: {given!r} is not a size; allowed: a number of bytes or text such as "20MB", "5MiB"'
    )


class Passage:
    """A path whose requests a service answers: `Passage("avatar", "/avatar/{id}", to="members", methods=["PUT"])`.

    to: the service. at: its path, when it isn't the same; names in braces are those of `path`.
    methods: GET (with HEAD) by default. requires: as for a Journey. most: the largest body that is taken.
    media: the media types of bodies, `"image/*"` and `"multipart/form-data"` too; any when it is left out.
    timeout: how long neither side may send anything. What the service is sent of the client's fields: what describes
    the content, ranges and conditions, and what the service's `forward` names.
    """

    def __init__(
        self,
        name: str,
        path: str,
        *,
        to: str,
        at: str = "",
        methods: Iterable[str] = ("GET",),
        requires: bool | str | Iterable[str] | Mapping[str, Any] | None = None,
        most: str | int = "100MB",
        media: Iterable[str] = (),
        timeout: str | float = "30s",
    ) -> None:
        frame = sys._getframe(1)
        self.place = Place(frame.f_code.co_filename, frame.f_lineno)
        what = f"Passage {name!r}"
        for field, text in (("path", path), ("at", at or path)):
            if not isinstance(text, str) or not _PATH.fullmatch(text):
                raise StackError(
                    f"{what}, {field}: {text!r} is not a path such as /files/{{id}} ({self.place})"
                )
        if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9_-]*", name):
            raise StackError(f"{what}: allowed: lower case letters, digits, '-' and '_' ({self.place})")
        self.name, self.path, self.to, self.at = name, path, to, at or path
        if path.startswith("/-/"):
            raise StackError(
                f"{what}, path: {path!r} is among the application's own, such as /-/health ({self.place})"
            )
        named = set(re.findall(r"\{(\w+)\}", path))
        if unknown := sorted(set(re.findall(r"\{(\w+)\}", self.at)) - named):
            raise StackError(f"{what}, at: {unknown[0]!r} is no value of the path {path} ({self.place})")
        self.methods = (methods.upper(),) if isinstance(methods, str) else tuple(m.upper() for m in methods)
        for method in self.methods:
            if method not in METHODS:
                raise StackError(
                    f"{what}, methods: {method!r} is not allowed; allowed: {', '.join(METHODS)} ({self.place})"
                )
        if isinstance(media, str):
            raise StackError(f"{what}, media: {media!r} is one text; give a list: [{media!r}]")
        self.media = tuple(each.lower() for each in media)
        for each in self.media:
            if not _MEDIA.fullmatch(each):
                raise StackError(f"{what}, media: {each!r} is not a media type such as image/png or image/*")
        try:
            self.requires = None if requires is None else Requires(requires)
        except StackError as error:
            raise StackError(f"{what}, {error} ({self.place})") from None
        self.most = size(most, f"{what}, most")
        self.timeout = bound(timeout, f"{what}, timeout")
        # As a journey's: the answer is of one caller's, and the cache in front is passed by.
        self.private = True
        self.deadline = self.timeout
        self._pattern = re.compile(
            "/".join(
                f"(?P<{piece[1:-1]}>[^/]+)" if piece.startswith("{") else re.escape(piece)
                for piece in path.split("/")
            )
        )

    def __repr__(self) -> str:
        return f"Passage({self.name!r}, {self.path!r}, to={self.to!r})"

    def match(self, raw_path: str) -> dict[str, str] | None:
        """The path's values as they were sent, still quoted."""
        found = self._pattern.fullmatch(raw_path)
        return None if found is None else found.groupdict()

    def takes(self, media: str) -> bool:
        """Whether a body of this Content-Type is taken."""
        kind = media.partition(";")[0].strip().lower()
        return not self.media or any(
            kind == each or (each.endswith("/*") and kind.startswith(each[:-1])) or each == "*/*"
            for each in self.media
        )
