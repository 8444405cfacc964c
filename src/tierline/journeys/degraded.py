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
    """A part that failed, and was answered by its fallback or by an old copy.

    part: its name. fields: the answer's fields that are missing or old because of it; empty where the view doesn't say.
    why: the code that a problem document's `type` would end with. retryable: the same request may succeed in a moment.
    stale: an old copy stands in. age: seconds since that copy was made; only where it is stale.
    """

    part: str
    fields: tuple[str, ...]
    why: str
    retryable: bool
    stale: bool
    age: int | msgspec.UnsetType = msgspec.UNSET


Degradations = dict[str, Degraded]
"""By part."""


def degraded(plan: Plan, part: str, error: BaseException, age: float | None = None) -> Degraded:
    """What is told of a part that failed. age: seconds, of the copy that stands in for its value."""
    return Degraded(
        part=part,
        fields=tuple(field for field, read in plan.reads.items() if part in read),
        why=code(error),
        retryable=transient(error),
        stale=age is not None,
        age=msgspec.UNSET if age is None else int(age),
    )


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
