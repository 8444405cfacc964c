"""Pagination by cursor: a position in an order, not a page number: nothing is skipped or seen twice."""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
import typing
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar, TypeVarTuple

import msgspec

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
_MOST = 1024
_NOT_OURS = "not a cursor of an earlier answer"
_keys: list[str] = []


def sign_with(secret: str) -> None:
    """The secret that cursors are signed with: the same in every process that answers the same clients."""
    _keys[:] = [secret]


def _signer() -> Any:
    from itsdangerous import Signer

    if not _keys:
        sign_with(secrets.token_hex(32))
    return Signer(_keys[0], salt=b"tierline.cursor", digest_method=hashlib.sha256)


class Cursor(Generic[*Ts]):
    """Where a page ends: the sort values of its last item, opaque to clients and signed, so that none can be made up.

    A part takes it as a query value, `after: Cursor[int, str] | None = None`; one that was changed, or holds values of
    other types, is answered with 422.
    """

    __slots__ = ("values",)

    def __init__(self, *values: *Ts) -> None:
        self.values: Any = values

    def __str__(self) -> str:
        raw = base64.urlsafe_b64encode(msgspec.msgpack.encode(self.values)).rstrip(b"=")
        return str(_signer().sign(raw).decode())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cursor) and self.values == other.values

    def __hash__(self) -> int:
        return hash(self.values)

    @classmethod
    def parse(cls, text: object, kind: Any = None) -> Cursor[Any]:
        """The cursor that `str` made; `kind` is `Cursor[int, str]`. Raises ValueError for anything else."""
        from itsdangerous import BadSignature

        if not isinstance(text, str) or len(text) > _MOST or not text.isascii():
            raise ValueError(_NOT_OURS)
        try:
            signed = _signer().unsign(text)
            raw = base64.b64decode(signed + b"=" * (-len(signed) % 4), altchars=b"-_", validate=True)
            types = typing.get_args(kind)
            wanted: Any = tuple.__class_getitem__(types) if types else tuple[Any, ...]
            values = msgspec.msgpack.decode(raw, type=wanted)
        except (BadSignature, binascii.Error, msgspec.DecodeError):
            raise ValueError(_NOT_OURS) from None
        return Cursor(*values)


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
