"""What a function asks for by its parameters: read from its signature, once."""

from __future__ import annotations

import dataclasses
import inspect
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import msgspec

from tierline.journeys.annotations import annotations_of, signature_of
from tierline.journeys.journey import Journey, Place
from tierline.journeys.paging import Cursor

PERSONAL = frozenset({"session", "identity", "steps"})
"""Whoever asks for one of these gets an answer of their own."""
NOTHING = inspect.Parameter.empty

T = TypeVar("T")


class QueryMark:
    """Marks an annotation as that of a query value."""

    def __repr__(self) -> str:
        return "Query"


QUERY = QueryMark()
Query = Annotated[T, QUERY]
"""`page: Query[int] = 1`: a value of the query, whatever the names of parts and services are."""


@dataclass(frozen=True, slots=True)
class Unresolved:
    """An annotation whose names exist only for a type checker, or inside a function."""

    text: str


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a part, a look-up or a view."""

    name: str
    type: Any
    default: Any
    keyword: bool
    annotated: bool = True
    """Its type is written down."""


def parameters(journey: Journey, what: str, function: Callable[..., Any], place: Place) -> list[Parameter]:
    """The function's parameters with their types; a type that can't be read is Any."""
    try:
        signature = signature_of(function)
    except (TypeError, ValueError):
        raise journey.wrong(place, f"{what}: its parameters can't be read") from None
    hints = type_hints(function)
    found = []
    for name, parameter in signature.parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            stars = "*" if parameter.kind is parameter.VAR_POSITIONAL else "**"
            raise journey.wrong(place, f"{what} takes {stars}{name}; name what it needs instead")
        found.append(
            Parameter(
                name,
                hints.get(name, Any),
                parameter.default,
                parameter.kind is parameter.KEYWORD_ONLY,
                name in hints,
            )
        )
    return found


def type_hints(function: Callable[..., Any]) -> dict[str, Any]:
    """Annotations as types, one by one: one that can't be resolved does not hide the others."""
    function = inspect.unwrap(function)
    try:
        return typing.get_type_hints(function, include_extras=True)
    except Exception:
        names = {**vars(sys.modules.get(getattr(function, "__module__", ""), types)), **vars(typing)}
        names.update(getattr(function, "__globals__", {}))
        found = {}
        for name, annotation in annotations_of(function).items():
            if isinstance(annotation, typing.ForwardRef):
                annotation = annotation.__forward_arg__
            if isinstance(annotation, str):
                try:
                    annotation = eval(annotation, names)  # noqa: S307  the module's own annotation
                except Exception:
                    annotation = Unresolved(annotation)
            found[name] = annotation
        return found


def marked(kind: Any) -> bool:
    """Whether an annotation is `Query[…]`, or `Query[…] | None`."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return any(marked(member) for member in typing.get_args(kind))
    return typing.get_origin(kind) is Annotated and any(each is QUERY for each in typing.get_args(kind)[1:])


def unmarked(kind: Any) -> Any:
    """The annotation without `Query[…]`, so that two parts may write the same value either way."""
    if not marked(kind):
        return kind
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return typing.Union[tuple(unmarked(member) for member in typing.get_args(kind))]  # noqa: UP007
    inner, *rest = typing.get_args(kind)
    kept = [each for each in rest if each is not QUERY]
    return Annotated[inner, *kept] if kept else inner


def resembles(name: str, known: Iterable[str]) -> str:
    """The known name that this one is a slip of the keyboard away from, or ""."""
    return next((other for other in sorted(known) if other != name and _slip(name, other)), "")


def _slip(one: str, other: str) -> bool:
    """One letter more, less, another, or two neighbours swapped (Damerau-Levenshtein distance 1)."""
    if abs(len(one) - len(other)) > 1 or min(len(one), len(other)) < 3:
        return False
    start = next(
        (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )
    left, right = one[start:], other[start:]
    if len(left) == len(right):
        return left[1:] == right[1:] or (left[:2] == right[1::-1] and left[2:] == right[2:])
    return left[1:] == right or left == right[1:]


def convertible(kind: Any) -> bool:
    """A type that a path or query value can be turned into."""
    if kind is Any or _is_cursor(kind):
        return True
    try:
        msgspec.json.schema(kind, schema_hook=schema_hook)
    except Exception:
        return False
    origin = typing.get_origin(kind)
    if origin is typing.Annotated:
        return convertible(typing.get_args(kind)[0])
    if origin in (typing.Union, types.UnionType):
        return all(convertible(member) or member is type(None) for member in typing.get_args(kind))
    if origin in (list, tuple, set, frozenset):
        return all(convertible(member) for member in typing.get_args(kind) if member is not ...)
    base = origin or kind
    if typing.is_typeddict(base) or dataclasses.is_dataclass(base):
        return False
    return not (isinstance(base, type) and issubclass(base, (Mapping, msgspec.Struct)))


def schema_hook(kind: type) -> dict[str, Any]:
    if _is_cursor(kind):
        return {"type": "string", "description": "an opaque cursor from an earlier answer"}
    raise NotImplementedError


def is_list(kind: Any) -> bool:
    """Whether a query value is given several times: `?tag=a&tag=b`."""
    origin = typing.get_origin(kind)
    if origin is typing.Annotated:
        return is_list(typing.get_args(kind)[0])
    if origin in (typing.Union, types.UnionType):
        return any(is_list(member) for member in typing.get_args(kind))
    return (origin or kind) in (list, tuple, set, frozenset)


def converter(kind: Any) -> Callable[[Any], Any]:
    """Text (or a list of texts) to a value of the type; raises msgspec.ValidationError."""
    convert = msgspec.convert
    if kind is str:
        return lambda text: text
    if kind is int:

        def whole(text: str) -> Any:
            if len(text) < 19 and text.isascii() and text.isdigit():
                return int(text)
            return _storable(convert(text, int, strict=False))

        return whole

    def change(text: Any) -> Any:
        value = convert(text, kind, strict=False, dec_hook=_hook)
        if type(value) in (int, list, tuple, set, frozenset):
            for each in (value,) if type(value) is int else value:
                _storable(each)
        return value

    return change


def _storable(value: Any) -> Any:
    """A whole number that stores and other services can take: none beyond 64 bits."""
    if type(value) is int and not -(2**63) <= value < 2**64:
        raise msgspec.ValidationError("Expected `int` of at most 64 bits")
    return value


def _is_cursor(kind: Any) -> bool:
    return kind is Cursor or typing.get_origin(kind) is Cursor


def _hook(kind: type, value: Any) -> Any:
    if _is_cursor(kind):
        return Cursor.parse(value, kind)
    raise NotImplementedError(f"{kind} is not a type for a path or query value")


def spoken(kind: Any) -> str:
    """A type for a message."""
    if kind is Any:
        return "anything"
    if _is_cursor(kind):
        return "the cursor of an earlier answer"
    if kind is type(None):
        return "None"
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        limits = [limit for meta in inner[1:] if isinstance(meta, msgspec.Meta) for limit in _limits(meta)]
        return " ".join([spoken(inner[0]), ", ".join(limits)]).strip()
    if origin in (typing.Union, types.UnionType):
        return " | ".join(spoken(member) for member in inner)
    return kind.__name__ if isinstance(kind, type) and not inner else str(kind).replace("typing.", "")


def _limits(meta: msgspec.Meta) -> list[str]:
    words = (
        ("≥", meta.ge), (">", meta.gt), ("≤", meta.le), ("<", meta.lt), ("a multiple of", meta.multiple_of),
        ("at least as long as", meta.min_length), ("at most as long as", meta.max_length), ("like", meta.pattern),
    )  # fmt: skip
    return [f"{word} {limit}" for word, limit in words if limit is not None]


def compatible(produced: Any, wanted: Any) -> bool:
    """Whether a value of the first type can be what the second asks for. In doubt, yes."""
    if Any in (produced, wanted) or produced is wanted or object is wanted:
        return True
    produced, wanted = _bare(produced), _bare(wanted)
    if Any in (produced, wanted):
        return True
    for_union = (typing.Union, types.UnionType)
    # Every member of what is made must suit; so this comes first, and `int | None` suits `int | str | None`.
    if typing.get_origin(produced) in for_union:
        return all(compatible(member, wanted) for member in typing.get_args(produced))
    if typing.get_origin(wanted) in for_union:
        return any(compatible(produced, member) for member in typing.get_args(wanted))
    if type(None) in (produced, wanted):
        return produced is wanted
    made, asked = typing.get_origin(produced) or produced, typing.get_origin(wanted) or wanted
    if not (isinstance(made, type) and isinstance(asked, type)):
        return True
    if made is int and asked is float:
        return True
    if typing.is_typeddict(made) or typing.is_typeddict(asked):
        return made is asked or (made is dict or asked is dict)
    try:
        return issubclass(made, asked)
    except TypeError:
        return True


def _bare(kind: Any) -> Any:
    if kind is None:
        return type(None)
    while typing.get_origin(kind) is typing.Annotated:
        kind = typing.get_args(kind)[0]
    if isinstance(kind, (typing.TypeVar, typing.ForwardRef)) or kind is typing.Never:
        return Any
    return kind
