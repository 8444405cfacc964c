"""Markup that a view answers with."""

from __future__ import annotations

from typing import Any


class HTML(str):
    """Markup that a view returns to answer with a web page instead of JSON. It escapes what it is made of.

    `HTML("<h1>{title}</h1>", title=title)`: a template whose values are escaped (str.format's language).
    `HTML(text)`: the text itself, escaped; what has `__html__` (markupsafe.Markup, another HTML) is kept as it is.
    `HTML.trusted(markup)`: markup that is safe already, such as what a template engine with autoescaping rendered.
    """

    __slots__ = ()

    def __new__(cls, text: object = "", /, **values: Any) -> HTML:
        from markupsafe import Markup, escape

        if values:
            return str.__new__(cls, Markup(text).format(**values))  # noqa: S704  the template is the page's own
        return str.__new__(cls, escape(text))

    @classmethod
    def trusted(cls, markup: str) -> HTML:
        """Markup that nothing is escaped in: only for what no client can have a part in."""
        return str.__new__(cls, markup)

    def __html__(self) -> HTML:
        return self


class Slot:
    """A deferred part in a page's first screen: `{reviews}`, or `reviews("Loading…")` with what stands there until then."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, until: object = "") -> HTML:
        return HTML.trusted(f'<slot name="{self.name}">{HTML(until)}</slot>')

    def __html__(self) -> HTML:
        return self()

    __str__ = __html__
