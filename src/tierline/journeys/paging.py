"""Pagination by cursor: a position in an order, not a page number: nothing is skipped or seen twice."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import msgspec

T = TypeVar("T")
_MOST = 512


class Cursor:
    """Where a page ends: the sort values of its last item, opaque to clients.

    A part takes it as a query value, `after: Cursor | None = None`; a bad one is answered with 422.
    """

    __slots__ = ("values",)

    def __init__(self, *values: Any) -> None:
        self.values = values

    def __str__(self) -> str:
        return base64.urlsafe_b64encode(msgspec.msgpack.encode(self.values)).rstrip(b"=").decode()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cursor) and self.values == other.values

    def __hash__(self) -> int:
        return hash(self.values)

    @classmethod
    def parse(cls, text: object) -> Cursor:
        """The cursor that `str` made. Raises ValueError for anything else."""
        if not isinstance(text, str) or len(text) > _MOST:
            raise ValueError("not a cursor of an earlier answer")
        try:
            raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
            values = msgspec.msgpack.decode(raw)
        except (binascii.Error, msgspec.DecodeError, ValueError):
            raise ValueError("not a cursor of an earlier answer") from None
        if not isinstance(values, list) or not all(
            isinstance(v, (str, int, float, type(None))) for v in values
        ):
            raise ValueError("not a cursor of an earlier answer")
        return cls(*values)


class Page(msgspec.Struct, Generic[T]):
    """Some items, and the cursor of the next ones; `next` is None on the last page."""

    items: list[T]
    next: str | None = None


def page(found: Sequence[T], size: int, key: Callable[[T], Any]) -> Page[T]:
    """A page of at most `size` of a search that asked for `size + 1`: the one too many tells that more exist.

    key: an item's sort value, or a tuple of them.
    """
    items = list(found[:size])
    if len(found) <= size or not items:
        return Page(items)
    last = key(items[-1])
    return Page(items, str(Cursor(*last) if isinstance(last, tuple) else Cursor(last)))
