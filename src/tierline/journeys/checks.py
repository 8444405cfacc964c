"""Whether what a part returned is what it says."""

from __future__ import annotations

import types
import typing
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec

from tierline.journeys.encoding import plain
from tierline.journeys.markup import HTML

_NATIVE = (bytes, bytearray, date, datetime, time, timedelta, Decimal, UUID)
"""Types that are not the same as the text that they become."""


def mismatch(value: Any, kind: Any) -> str:
    """How a value, with all that is in it, differs from a type, such as "Expected `int`, got `str` - at `$.price`"; "" when
    it doesn't, or when the type is none that msgspec knows. It names types and fields, never values."""
    shallow = instances(kind)
    if shallow is not None and not isinstance(value, shallow):
        return f"Expected `{_named(kind)}`, got `{type(value).__name__}`"
    try:
        plainly = msgspec.to_builtins(value, builtin_types=_NATIVE, enc_hook=plain)
        msgspec.convert(plainly, kind, builtin_types=_NATIVE)
    except msgspec.ValidationError as error:
        return str(error)
    except (TypeError, ValueError, RecursionError):
        return ""
    return ""


def _named(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) and not typing.get_args(kind) else str(kind)


def instances(returns: Any) -> Any:
    """What `isinstance` can tell at once about a returned value, or None."""
    while typing.get_origin(returns) is typing.Annotated:
        returns = typing.get_args(returns)[0]
    if returns is None:
        return type(None)
    if typing.is_typeddict(returns):
        return dict
    origin = typing.get_origin(returns)
    if origin in (typing.Union, types.UnionType):
        members = [instances(member) for member in typing.get_args(returns)]
        flat = [kind for member in members for kind in (member if isinstance(member, tuple) else (member,))]
        return None if None in flat else tuple(flat)
    returns = origin or returns
    if returns is float:
        return (float, int)
    if returns in (Any, object, HTML) or not isinstance(returns, type):
        return None
    return None if getattr(returns, "_is_protocol", False) else returns
