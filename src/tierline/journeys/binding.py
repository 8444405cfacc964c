"""Functions bound to the slots of a plan, so that nothing stands between a part and its values."""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any

from tierline.journeys.inputs import Parameter


def pairs(given: tuple[Parameter, ...], slots: dict[str, int]) -> Callable[[list[Any]], dict[str, Any]]:
    """The values of these parameters by name."""
    found = [(p.name, slots[p.name]) for p in given]
    return lambda values: {name: values[index] for name, index in found}


def called(
    given: tuple[Parameter, ...],
    slots: dict[str, int],
    function: Callable[..., Any],
    read: Container[str] | None = None,
) -> Callable[[list[Any]], Any]:
    """The function bound to its slots: `lambda values: function(values[3], x=values[5])`. read: the parameters that it
    uses, where it doesn't use all; the others are None."""
    words = []
    for parameter in given:
        used = read is None or parameter.name in read
        word = f"values[{slots[parameter.name]}]" if used else "None"
        words.append(f"{parameter.name}={word}" if parameter.keyword else word)
    return _made(f"lambda values: function({', '.join(words)})", function=function)


def limited(
    invoke: Callable[[list[Any]], Any], slot: int, name: str, vary: tuple[str, ...]
) -> Callable[[list[Any]], Any]:
    """The function with a request that has no other header fields than those that its cache varies by."""

    def bound(values: list[Any]) -> Any:
        values = values.copy()
        values[slot] = values[slot].limited(name, vary)
        return invoke(values)

    return bound


def by_name(shown: tuple[str, ...], slots: dict[str, int]) -> Callable[[list[Any]], Any]:
    """The parts by name: `lambda values: {"details": values[3], …}`."""
    return _made(f"lambda values: {{{', '.join(f'{name!r}: values[{slots[name]}]' for name in shown)}}}")


def _made(source: str, **names: Any) -> Callable[[list[Any]], Any]:
    """A function from its source. Names are identifiers."""
    return eval(source, names)  # type: ignore[no-any-return]  # noqa: S307
