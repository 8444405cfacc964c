"""Whether what a part returned is what it says."""

from __future__ import annotations

import types
import typing
from typing import Any

from tierline.journeys.markup import HTML


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
