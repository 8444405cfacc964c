"""Whether what a part returned is what it says."""

from __future__ import annotations

import functools
import logging
import time as clock
import types
import typing
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec

from tierline.journeys.encoding import plain
from tierline.journeys.fault import WrongType
from tierline.journeys.markup import HTML
from tierline.journeys.reply import Reply

if TYPE_CHECKING:
    from tierline.journeys.plan import Plan
    from tierline.journeys.run import Run

log = logging.getLogger("tierline.journeys")

SHARE = 256
"""Of so many requests, one has its values checked; in tests each."""
_SAY = 60.0
"""Seconds between two lines about the same part."""

_REPLY = "a Reply, which is for effects and views alone"
_NATIVE = (bytes, bytearray, date, datetime, time, timedelta, Decimal, UUID)
"""Types that are not the same as the text that they become."""


def mismatch(value: Any, kind: Any) -> str:
    """How a value, with all that is in it, differs from a type, such as "Expected `int`, got `str` - at `$.price`"; "" when
    it doesn't, or when the type is none that msgspec knows. It names types and fields, never values."""
    shallow = instances(kind)
    if shallow is not None and not isinstance(value, shallow):
        return f"Expected `{_named(kind)}`, got `{type(value).__name__}`"
    if not _known(kind):
        return ""
    try:
        plainly = msgspec.to_builtins(value, builtin_types=_NATIVE, enc_hook=plain)
        msgspec.convert(plainly, kind, builtin_types=_NATIVE)
    except msgspec.ValidationError as error:
        return str(error)
    except (TypeError, ValueError, RecursionError):
        return ""
    return ""


def _known(kind: Any) -> bool:
    """Whether msgspec can tell values of this type from others: none of a class that it doesn't know is in it."""
    try:
        return _described(kind)
    except TypeError:  # it can't be hashed
        return False


@functools.lru_cache(maxsize=1024)
def _described(kind: Any) -> bool:
    try:
        msgspec.json.schema(kind)
    except Exception:
        return False
    return True


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


class Checks:
    """Compares what parts and views returned with what they say. One per application.

    counts: by journey and part (or view), how often it differed.
    """

    def __init__(self) -> None:
        self.counts: dict[tuple[str, str], int] = {}
        self._said: dict[tuple[str, str], float] = {}

    def parts(self, run: Run, *, strict: bool) -> None:
        """Every part's value. strict: raises WrongType for the first that differs, instead of writing a log line."""
        for node in run.plan.every:
            part = node.part
            if part.batch or node.name in (run.degraded or ()):
                continue
            value = run.values[node.slot]
            if isinstance(value, Reply):
                self._tell(run.plan, node.name, f"part {node.name!r}", _REPLY, strict)
            if node.returns is Any:
                continue
            if value is None and (part.policy.fallback is None or run.plan.shape.conditions):
                continue  # None stands for what fell back, or wasn't run
            self._compare(run.plan, f"part {node.name!r}", node.name, value, node.returns, strict)

    def view(self, plan: Plan, body: Any, *, strict: bool) -> None:
        """A view's answer, where it is data."""
        function = next((function for view, function in plan.shape.views if view is plan.view), None)
        if plan.view is not None and function is not None and plan.view.media == "application/json":
            self._compare(plan, f"view {plan.view.name!r}", "", body, function.returns, strict)

    def _compare(self, plan: Plan, what: str, part: str, value: Any, kind: Any, strict: bool) -> None:
        if why := mismatch(value, kind):
            self._tell(plan, part, what, why, strict)

    def _tell(self, plan: Plan, part: str, what: str, why: str, strict: bool) -> None:
        text = f"{what} returned something else than it says: {why}"
        if strict:
            raise WrongType(text, part=part)
        key = (plan.journey.name, part or what)
        self.counts[key] = self.counts.get(key, 0) + 1
        now = clock.monotonic()
        if now >= self._said.get(key, 0.0):
            self._said[key] = now + _SAY
            log.warning("journey %s, %s", plan.journey.name, text)
