"""What an answer lacks, or shows an old copy of: one entry per part, the same in bodies, streams and clients."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from tierline.journeys.fault import JourneyError, ServiceError, TooLarge

if TYPE_CHECKING:
    from tierline.journeys.plan import Plan

_CODE = re.compile(r"[a-z0-9-]{1,64}")
_TRANSIENT = (429, 502, 503, 504)


class Degraded(msgspec.Struct, frozen=True, kw_only=True):
    """A part that failed, and was answered by its fallback or by an old copy; or one whose old copy is used while a new
    one is made.

    part: its name. fields: the answer's fields that are missing or old because of it; empty where the view doesn't say.
    why: the code that a problem document's `type` would end with, or stale-while-revalidate. retryable: the same request
    may succeed, or have the new value, in a moment. stale: an old copy stands in. age: seconds since that copy was made;
    only where it is stale.
    """

    part: str
    fields: tuple[str, ...]
    why: str
    retryable: bool
    stale: bool
    age: int | msgspec.UnsetType = msgspec.UNSET


Degradations = dict[str, Degraded]
"""By part."""

REVALIDATED = "stale-while-revalidate"
"""Why a part is old that has not failed."""


def degraded(plan: Plan, part: str, error: BaseException, age: float | None = None) -> Degraded:
    """What is told of a part that failed. age: seconds, of the copy that stands in for its value."""
    return Degraded(
        part=part,
        fields=_fields(plan, part),
        why=code(error),
        retryable=transient(error),
        stale=age is not None,
        age=msgspec.UNSET if age is None else int(age),
    )


def old(plan: Plan, part: str, age: float) -> Degraded:
    """What is told of a part whose copy of `age` seconds is used while a new one is made."""
    return Degraded(
        part=part, fields=_fields(plan, part), why=REVALIDATED, retryable=True, stale=True, age=int(age)
    )


def lacks(found: Degradations) -> bool:
    """Whether a part failed: such an answer is kept by no cache. One with old copies is, as old as it is."""
    return any(entry.why != REVALIDATED for entry in found.values())


def _fields(plan: Plan, part: str) -> tuple[str, ...]:
    return tuple(field for field, read in plan.reads.items() if part in read)


def code(error: BaseException) -> str:
    """A word for what went wrong, with nothing of what the error says."""
    if isinstance(error, JourneyError):
        return error.slug if _CODE.fullmatch(error.slug) else "part-failed"
    return "deadline-exceeded" if isinstance(error, TimeoutError) else "part-failed"


def transient(error: BaseException) -> bool:
    """Whether the same request may succeed a moment later: the failure is of time, load or connection."""
    if isinstance(error, ServiceError):
        return error.retryable
    if isinstance(error, JourneyError):
        return not isinstance(error, TooLarge) and (
            error.retry_after is not None or error.status in _TRANSIENT
        )
    return isinstance(error, OSError)
