"""What can go wrong, as one clear message each.

Every error names the object, the field, what was given, what is allowed and the next step.
The command line prints it and exits with `code`; nothing has been started and nothing is lost.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class TierlineError(Exception):
    """Base of all errors that are told to the user without a traceback. Exit code 2."""

    code = 2


class StackError(TierlineError):
    """The stack file says something that can't be: a field, a name, a reference."""


class PlanError(TierlineError):
    """The stack is sound, but this lineup can't play it."""


class EngineError(TierlineError):
    """An engine is missing, refuses its configuration, or can't run here."""


class RunError(TierlineError):
    """Starting, finding or stopping a line failed."""


def nearest(given: str, allowed: Iterable[str]) -> str:
    """`, did you mean 'x'?` for the nearest right spelling, or `;` when none is near: what is allowed follows."""
    close = difflib.get_close_matches(given, list(allowed), n=1, cutoff=0.6)
    return f", did you mean {close[0]!r}?" if close else ";"


def choices(allowed: Iterable[str]) -> str:
    """The allowed names for a message, sorted."""
    return ", ".join(sorted(allowed)) or "nothing"
