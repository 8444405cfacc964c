"""The base of everything that a stack file says: inert data, checked when it is built.

An intent is a frozen record whose fields are declared with `setting`. A mistake raises one StackError that
names the object, the field, what was given, what is allowed, the nearest right spelling, the file and line.
"""

from __future__ import annotations

import math
import re
import sys
import types
import typing
from collections.abc import Callable, Iterable, Set
from typing import Annotated, Any, Literal, TypeVar, Union, dataclass_transform

from tierline.errors import StackError, choices, nearest

_MISSING: Any = object()

_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_SIZES = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_NUMBER = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*")
_NAME = re.compile(r"[a-z][a-z0-9-]{0,39}")


def duration(value: str | float | int) -> float:
    """Seconds from `"30s"`, `"250ms"`, `"7d"`, or a plain number of seconds. Raises ValueError."""
    return _amount(value, _UNITS, "s", 'a duration such as "250ms", "30s", "5m", "7d"')


def size(value: str | int) -> int:
    """Bytes from `"64MiB"`, `"1GB"`, or a plain number of bytes. Raises ValueError."""
    return int(_amount(value, _SIZES, "b", 'a size such as "64MiB" or "1GB"'))


def _amount(value: Any, units: dict[str, Any], plain: str, allowed: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(allowed)
    if not isinstance(value, str):
        if not 0 <= value < math.inf:
            raise ValueError(allowed)
        return float(value) * float(units[plain])
    match = _NUMBER.fullmatch(value)
    unit = (match.group(2) or plain) if match else ""
    factor = units.get(unit) or units.get(unit.lower())
    if match is None or factor is None:
        raise ValueError(allowed)
    return float(match.group(1)) * float(factor)


def name(value: Any) -> str:
    """A name that is safe as a host, database and file name. Raises ValueError."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise ValueError("lower-case letters, digits and '-', beginning with a letter, at most 40")
    return value


Duration = Annotated[float, duration]
"""Seconds; written as `"30s"` or a number."""
Size = Annotated[int, size]
"""Bytes; written as `"64MiB"` or a number."""
Name = Annotated[str, name]


class Setting:
    """One field of an intent: its default, what it means, and its bounds."""

    __slots__ = ("above", "allowed", "annotation", "below", "default", "factory", "text")

    def __init__(
        self, default: Any, factory: Any, text: str, above: float | None, below: float | None, allowed: Any
    ) -> None:
        self.default = default
        self.factory = factory
        self.text = text
        self.above = above
        self.below = below
        self.allowed = allowed
        self.annotation: Any = Any


def setting(
    text: str,
    *,
    default: Any = _MISSING,
    factory: Callable[[], Any] | None = None,
    above: float | None = None,
    below: float | None = None,
    allowed: Callable[[Any], str | None] | None = None,
) -> Any:
    """Declare a field. `text` is its documentation; `above` and `below` are inclusive bounds; `allowed`
    returns what would be allowed when the value is not, or None."""
    return Setting(default, factory, text, above, below, allowed)


Self = TypeVar("Self", bound="Intent")


@dataclass_transform(frozen_default=True, field_specifiers=(setting,))
class Intent:
    """Base of the intents. Fields are given by name or, in their order, by position."""

    __settings__: typing.ClassVar[dict[str, Setting]] = {}
    between_zones: typing.ClassVar[frozenset[str]] = frozenset()
    """Features that only a line of several zones asks for."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        settings = dict(cls.__settings__)
        for field, declared in list(vars(cls).items()):
            if isinstance(declared, Setting):
                settings[field] = declared
                delattr(cls, field)
        cls.__settings__ = settings

    def __init__(self, *given: Any, **named: Any) -> None:
        settings = _annotated(type(self))
        if len(given) > len(settings):
            raise _error(self, f"takes at most {len(settings)} values by position, {len(given)} were given")
        for field, value in zip(settings, given, strict=False):
            if field in named:
                raise _error(self, f"{field} is given twice")
            named[field] = value
        values = self.__dict__
        if "name" in named and isinstance(named["name"], str):
            values["name"] = named["name"]  # so that a message about another field can say whose it is
        for field in named:
            if field not in settings:
                raise _error(
                    self, f"has no field {field!r}{nearest(field, settings)} allowed: {', '.join(settings)}"
                )
        for field, declared in settings.items():
            if field in named:
                values[field] = _checked(self, field, declared, named[field])
            elif (default := _default(declared)) is not _MISSING:
                values[field] = default
            else:
                raise _error(self, f"needs {field}: {declared.text}")
        values["__where__"] = where()
        self.check()

    def check(self) -> None:
        """Rules over several fields; raise with `self.wrong(field, …)`."""

    def wrong(self, field: str, given: Any, allowed: str) -> StackError:
        """The error for one field, at the line of the stack file where this object was built."""
        return _error(self, f"{field}={given!r} is not allowed: {allowed}")

    def __setattr__(self, field: str, value: Any) -> None:
        raise AttributeError(f"{type(self).__name__} is fixed once built; build another with {field}=…")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.data() == other.data()

    def __hash__(self) -> int:
        return hash((type(self), self.__dict__.get("name")))

    def __repr__(self) -> str:
        shown = ", ".join(
            f"{field}={self.__dict__.get(field)!r}"
            for field, declared in self.__settings__.items()
            if self.__dict__.get(field) not in (declared.default, _default(declared))
        )
        return f"{type(self).__name__}({shown})"

    def data(self) -> dict[str, Any]:
        """The fields as plain data (what JSON can hold); other named intents appear by their name."""
        return {field: _plain(self.__dict__[field]) for field in self.__settings__}


def _plain(value: Any) -> Any:
    if isinstance(value, Intent):
        inner = value.data()
        return {"kind": type(value).__name__, **inner}
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return getattr(value, "name", None) or repr(value)


def _annotated(cls: type[Intent]) -> dict[str, Setting]:
    """The settings with their annotations resolved, on first use: most intents are never built."""
    if "__resolved__" not in cls.__dict__:
        for owner in reversed(cls.__mro__):
            for field, annotation in vars(owner).get("__annotations__", {}).items():
                if field in cls.__settings__:
                    scope = {**vars(typing), **vars(sys.modules[owner.__module__])}
                    if isinstance(annotation, str):
                        annotation = eval(annotation, scope)  # noqa: S307  our own source
                    cls.__settings__[field].annotation = annotation
        type.__setattr__(cls, "__resolved__", True)
    return cls.__settings__


def _default(declared: Setting) -> Any:
    """What a field holds when nothing is given, or _MISSING."""
    if declared.factory is not None:
        return declared.factory()
    if declared.default is _MISSING or declared.default is None:
        return declared.default
    return _convert(declared.annotation, declared.default)


def _checked(owner: Intent, field: str, declared: Setting, value: Any) -> Any:
    try:
        value = _convert(declared.annotation, value)
    except ValueError as wrong:
        raise owner.wrong(field, getattr(wrong, "given", value), str(wrong)) from None
    for each in value if isinstance(value, tuple) else (value,):
        if isinstance(each, int | float) and not isinstance(each, bool):
            if declared.above is not None and each < declared.above:
                raise owner.wrong(field, value, f"at least {declared.above:g}")
            if declared.below is not None and each > declared.below:
                raise owner.wrong(field, value, f"at most {declared.below:g}")
        if declared.allowed is not None and each is not None and (allowed := declared.allowed(each)):
            raise owner.wrong(field, each, allowed)
    return value


def _convert(annotation: Any, value: Any) -> Any:
    """The value as the annotation wants it. Raises ValueError saying what is allowed."""
    origin = typing.get_origin(annotation)
    if origin is Annotated:
        return typing.get_args(annotation)[1](value)
    if origin in (Union, types.UnionType):
        return _convert_union(typing.get_args(annotation), value)
    if origin is Literal:
        options = typing.get_args(annotation)
        if value not in options:
            shown = [repr(option) for option in options]
            raise ValueError(f"one of {', '.join(shown)}{nearest(str(value), map(str, options)).rstrip(';')}")
        return value
    if origin is tuple:
        # A set has no order, and a plan must be the same every time.
        if isinstance(value, str | bytes | dict | Set) or not isinstance(value, Iterable):
            raise ValueError(f"a list of {_called(typing.get_args(annotation)[0])}")
        return tuple(_item(typing.get_args(annotation)[0], each) for each in value)
    if origin is dict:
        if not isinstance(value, dict):
            raise ValueError("a dict")
        return {
            _convert(str, key): _convert(typing.get_args(annotation)[1], each) for key, each in value.items()
        }
    if annotation is Any or annotation is Callable or origin is not None:
        return value
    if annotation is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if annotation is int and isinstance(value, bool):
        raise ValueError("a whole number")
    if annotation is type(None):
        if value is not None:
            raise ValueError("None")
        return None
    if isinstance(annotation, type) and issubclass(annotation, Intent) and isinstance(value, type):
        if issubclass(value, annotation):
            return value()  # DNS(route=Latency) is as clear as DNS(route=Latency())
        raise ValueError(_called(annotation))
    if not isinstance(value, annotation):
        raise ValueError(_called(annotation))
    return value


def _item(annotation: Any, value: Any) -> Any:
    """One of a list: a mistake is told with it alone, not with the whole list."""
    try:
        return _convert(annotation, value)
    except ValueError as wrong:
        wrong.given = value  # type: ignore[attr-defined]
        raise


def _convert_union(options: tuple[Any, ...], value: Any) -> Any:
    wanted: list[str] = []
    for option in options:
        try:
            return _convert(option, value)
        except ValueError as wrong:
            wanted.append(str(wrong))
    raise ValueError(" or ".join(dict.fromkeys(wanted)))


def _called(annotation: Any) -> str:
    plain = {str: "a string", int: "a whole number", float: "a number", bool: "True or False"}
    if annotation in plain:
        return plain[annotation]
    if annotation is type(None):
        return "None"
    if typing.get_origin(annotation) is Literal:
        return " or ".join(repr(option) for option in typing.get_args(annotation))
    if typing.get_origin(annotation) is tuple:
        return f"a list of {_called(typing.get_args(annotation)[0])}"
    if annotation is Any:
        return "anything"
    if typing.get_origin(annotation) is Annotated:
        return {duration: "a duration", size: "a size", name: "a name"}[typing.get_args(annotation)[1]]
    if typing.get_origin(annotation) in (Union, types.UnionType):
        return " or ".join(_called(option) for option in typing.get_args(annotation))
    if isinstance(annotation, type) and issubclass(annotation, Intent):
        kinds = [kind.__name__ for kind in _kinds(annotation)]
        return choices(kinds)
    return getattr(annotation, "__name__", str(annotation))


def _kinds(cls: type[Intent]) -> list[type[Intent]]:
    below = [each for direct in cls.__subclasses__() for each in _kinds(direct)]
    return below or [cls]


def where() -> tuple[str, int]:
    """File and line of the nearest caller outside tierline: the line of the user's stack file."""
    frame = sys._getframe(1)
    while frame.f_back is not None and str(frame.f_globals.get("__name__", "")).startswith("tierline."):
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno


def _error(owner: Intent, message: str) -> StackError:
    label = owner.__dict__.get("name")
    file, line = owner.__dict__.get("__where__") or where()
    whose = f"{type(owner).__name__}({label!r})" if isinstance(label, str) else type(owner).__name__
    return StackError(f"{whose}: {message}\n  at {file}:{line}")
