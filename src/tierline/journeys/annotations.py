"""What a function says about its parameters, read without evaluating what can't be evaluated.

From Python 3.14 on annotations are evaluated when they are asked for (PEP 649), and a name that exists only for a
type checker raises then. Asked for as forward references (PEP 749, `annotationlib.Format.FORWARDREF`), such a name
says so, and the others are what they are.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any

if sys.version_info >= (3, 14):
    from annotationlib import Format, get_annotations

    def annotations_of(function: Callable[..., Any]) -> dict[str, Any]:
        return get_annotations(function, format=Format.FORWARDREF)

    def signature_of(function: Callable[..., Any]) -> inspect.Signature:
        return inspect.signature(function, annotation_format=Format.FORWARDREF)

else:

    def annotations_of(function: Callable[..., Any]) -> dict[str, Any]:
        """The annotations as they are written: types, or text."""
        found: dict[str, Any] = getattr(function, "__annotations__", {})
        return found

    def signature_of(function: Callable[..., Any]) -> inspect.Signature:
        """The parameters; their annotations as they are written."""
        return inspect.signature(function)


def waits(function: Callable[..., Any]) -> bool:
    """Whether what it returns has to be waited for, or comes piece by piece."""
    function = inspect.unwrap(function)
    while hasattr(function, "func"):
        function = function.func
    each = (function, type(function).__call__)
    return any(
        inspect.iscoroutinefunction(one)
        or inspect.isasyncgenfunction(one)
        or inspect.isgeneratorfunction(one)
        for one in each
    )
