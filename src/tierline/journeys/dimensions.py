"""Dimensions: what an answer differs by, as one of a few values: currency, language, a flag.

Each is read once from the request. It is part of the key of what is stored, and its sources are part of `Vary`, so the
caches in front keep one copy of each of its values that they are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal

from tierline.errors import StackError, choices
from tierline.journeys.journey import RESERVED, Journey, place_of
from tierline.journeys.negotiate import best_language
from tierline.journeys.policy import CREDENTIALS, FIELD_NAME
from tierline.journeys.schedule import Input

if TYPE_CHECKING:
    from tierline.journeys.request import Request

LANGUAGES = "accept-language"
_MOST = 64
"""Values of one dimension: each is one more copy of every answer."""


class Dimension:
    """A named input with a finite set of values: `currency = Dimension("currency", ["EUR", "USD"], query="currency")`.

    A journey that has it in `Journey(uses=[currency])` gives its value to parts and views that name it.

    values: all there are: texts, numbers or booleans; compared without regard to case.
    query, cookie, header: where the request says it, asked in this order; what is there first counts. A header
    `accept-language` is negotiated (RFC 4647).
    default: the value for a request that says nothing, or something that is no value; the first one when missing.
    choose: a function of the text that the request said ("" for nothing) that returns one of the values, for a
    dimension that isn't said as it is: a currency by the country that the CDN found.
    """

    def __init__(
        self,
        name: str,
        values: Iterable[Any],
        *,
        query: str = "",
        cookie: str = "",
        header: str = "",
        default: Any = None,
        choose: Callable[[str], Any] | None = None,
    ) -> None:
        self.name = name
        self.values: tuple[Any, ...] = () if isinstance(values, str) else tuple(values)
        self.query = query
        self.cookie = cookie
        self.header = header.lower()
        self.choose = choose
        self._texts = {str(value).lower(): value for value in self.values}
        self._check(name, default)
        self.default: Any = self.values[0] if default is None else default
        self._languages: tuple[str, ...] = ()
        if self.header == LANGUAGES and choose is None:
            self._languages = tuple(str(v) for v in (self.default, *self.values))
        kinds = tuple(dict.fromkeys(type(value) for value in self.values))
        self.type: Any = kinds[0] if len(kinds) == 1 else Any
        self.vary = tuple(field for field in (self.header, "cookie" if cookie else "") if field)
        """The request's fields that it is read from."""

    def _check(self, name: str, default: Any) -> None:
        if not isinstance(name, str) or not name.isidentifier():
            raise StackError(f"Dimension: {name!r} is not a name; it has to be one that a parameter can have")
        where = f"Dimension {name!r}"
        if name in RESERVED and name != "locale":
            raise StackError(f"{where}: {name!r} is the name of {RESERVED[name]}; give it another")
        if (
            any(type(value) not in (str, int, bool) or value == "" for value in self.values)
            or not 2 <= len(self.values) <= _MOST
        ):
            raise StackError(
                f"{where}: its values are a list of 2 to {_MOST} texts, whole numbers or booleans"
            )
        if len(self._texts) < len(self.values):
            raise StackError(f"{where}: two of its values {list(self.values)!r} are the same")
        if default is not None and not self.known(default):
            raise StackError(
                f"{where}, default: {default!r} is none of its values; allowed: {choices(map(str, self.values))}"
            )
        if not (self.query or self.cookie or self.header):
            raise StackError(f"{where} is read from nothing; say query=, cookie= or header=")
        if self.query in ("fields", "stream"):
            raise StackError(f"{where}, query: {self.query!r} is the name of {RESERVED[self.query]}")
        if self.header in CREDENTIALS:
            raise StackError(
                f"{where}, header: {self.header!r} says who the caller is; for one cookie say cookie="
            )
        for what, text in (("header", self.header), ("cookie", self.cookie)):
            if text and not FIELD_NAME.fullmatch(text.lower()):
                raise StackError(f"{where}, {what}: {text!r} is not the name of a {what}")

    def __repr__(self) -> str:
        return f"Dimension({self.name!r}, {list(self.values)!r})"

    def joins(self, journey: Journey) -> None:
        """What `Journey(uses=…)` calls."""
        if self.name in journey.path_names or self.name in journey.dimensions:
            what = "a value in the path" if self.name in journey.path_names else "another dimension"
            raise journey.wrong(journey.place, f"uses: {self!r} has the name of {what}")
        journey.dimensions[self.name] = self

    def known(self, value: Any) -> bool:
        """Whether it is one of the values: `1` is not `True`."""
        return any(type(value) is type(each) and value == each for each in self.values)

    def said(self, request: Request) -> str:
        """What the request says, "" for nothing."""
        if self.query and (text := request.query.get(self.query)):
            return text
        if self.cookie and (text := _cookie(request, self.cookie)):
            return text
        return request.header(self.header) if self.header else ""

    def read(self, request: Request) -> Any:
        """Its value for this request."""
        text = self.said(request)
        if self.choose is not None:
            try:
                value = self.choose(text[:1024])
            except (LookupError, ValueError):
                return self.default
            return value if self.known(value) else self.default
        found = self._texts.get(text.strip().lower()) if text else None
        if found is None and self._languages and text:
            found = self._texts.get(best_language(text, self._languages).lower())
        return self.default if found is None else found

    def say(self, value: Any, query: dict[str, Any], headers: dict[str, str]) -> None:
        """Puts a value where `read` finds it: for tests and clients."""
        if self.query:
            query[self.query] = value
        elif self.cookie:
            headers["cookie"] = "; ".join(filter(None, (headers.get("cookie", ""), f"{self.cookie}={value}")))
        else:
            headers[self.header] = str(value)

    def asked(self) -> Input:
        """Its query value, as generated clients send it."""
        kind: Any = str if self.choose is not None else Literal[self.values]
        return Input(self.query, "query", kind, self.default)

    def explained(self) -> str:
        """For `explain`: `currency: EUR | USD, of query currency, cookie currency; else EUR`."""
        values = " | ".join(map(str, self.values))
        sources = (("query", self.query), ("cookie", self.cookie), ("header", self.header))
        where = ", ".join(f"{kind} {name}" for kind, name in sources if name)
        how = ""
        if self.choose is not None:
            how = f" by {getattr(self.choose, '__name__', 'a function')} ({place_of(self.choose)})"
        return f"{self.name}: {values}, of {where}{how}; anything else is {self.default}"


def _cookie(request: Request, name: str) -> str:
    """One cookie's value: the first, as browsers send the one of the nearest path first (RFC 6265, 5.4)."""
    for pair in request.joined().get(b"cookie", b"").decode("latin-1").split(";"):
        key, _, value = pair.partition("=")
        if key.strip() == name:
            return value.strip().strip('"')
    return ""


def dimension(
    values: Iterable[Any], *, query: str = "", cookie: str = "", header: str = "", default: Any = None
) -> Callable[[Callable[[str], Any]], Dimension]:
    """A Dimension whose value a function chooses by what the request says:

    `@dimension(["EUR", "USD"], header="x-country")` above `def currency(country): …`.
    """

    def made(function: Callable[[str], Any]) -> Dimension:
        return Dimension(
            function.__name__, values, query=query, cookie=cookie, header=header, default=default,
            choose=function,
        )  # fmt: skip

    return made
