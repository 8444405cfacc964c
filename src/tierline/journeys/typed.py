"""What a generated, typed client of a service is made of: operations whose answers are held against the service's OpenAPI."""

from __future__ import annotations

import datetime
import enum
import re
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlencode

import msgspec

from tierline.journeys.fault import BrokenContract
from tierline.journeys.service import ServiceClient, ServiceReply
from tierline.journeys.target import target_of

if TYPE_CHECKING:
    from tierline.journeys.journey import Journey, Place
    from tierline.journeys.schedule import Input

UNSET = msgspec.UNSET
"""What an optional field is when the service left it out."""
Unset = msgspec.UnsetType
_JSON = re.compile(r"(?:application|text)/(?:[a-z0-9.!#$&^_-]+\+)?json", re.IGNORECASE)


class Operation:
    """One operation of a service.

    path: with the arguments' names in braces. answers: by status ("2XX" and "default" too) the type of its JSON; None for no
    body, bytes for any body. joined: query values whose lists are one text, by what joins them.
    """

    __slots__ = ("_answers", "joined", "method", "name", "path", "statuses")

    def __init__(
        self,
        name: str,
        method: str,
        path: str,
        answers: Mapping[int | str, Any],
        joined: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.method = method
        self.path = path
        self.joined = dict(joined or {})
        self._answers = {
            status: kind if kind in (None, bytes) else msgspec.json.Decoder(kind)
            for status, kind in answers.items()
        }
        self.statuses = ", ".join(map(str, answers))

    def target(self, values: dict[str, Any], query: Mapping[str, Any]) -> str:
        """Path and query of a call."""
        target = target_of(self.path, {name: _text(value) for name, value in values.items()})
        pairs: list[tuple[str, Any]] = []
        for name, value in query.items():
            if value is None:
                continue
            if isinstance(value, list | tuple | set | frozenset):
                texts = [_text(each) for each in value]
                pairs += (
                    [(name, self.joined[name].join(texts))]
                    if name in self.joined
                    else [(name, t) for t in texts]
                )
            else:
                pairs.append((name, _text(value)))
        return f"{target}?{urlencode(pairs)}" if pairs else target

    def answer(self, service: str, reply: ServiceReply) -> Any:
        """The reply as its type. Raises BrokenContract for one that the service's OpenAPI doesn't hold."""
        status = reply.status
        for key in (status, f"{status // 100}XX", "default"):
            if key in self._answers:
                decoder = self._answers[key]
                break
        else:
            raise BrokenContract(
                service, self.name, f"answered with the status {status}; its OpenAPI says: {self.statuses}"
            )
        if decoder is None:
            return None
        if decoder is bytes:
            return reply.body
        try:
            return decoder.decode(reply.body)
        except msgspec.ValidationError as error:
            why, _, field = str(error).partition(" - at `")
            raise BrokenContract(service, self.name, why, field.rstrip("`")) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            media = (reply.header("content-type") or "none").partition(";")[0]
            said = "" if _JSON.fullmatch(media.strip()) else f" (its Content-Type is {media[:60]})"
            raise BrokenContract(
                service, self.name, f"answered with what is no JSON{said}: {error}"
            ) from None


def _text(value: Any) -> str:
    """A value of a path or query as JSON would write it, without quotes."""
    if isinstance(value, str) and not isinstance(value, enum.Enum):
        return value
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, enum.Enum):
        return _text(value.value)
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    return str(value) if isinstance(value, int | float | uuid.UUID) else str(msgspec.to_builtins(value))


class TypedService:
    """Base of generated clients: `catalog: Catalog` in a part gives one of the service `catalog`.

    client: the same service without types; `get`, `post`, `put`, `patch`, `delete` and `request` are its own.
    """

    document: ClassVar[str] = ""
    """The file of the OpenAPI document, from the generated one's folder; "" when the service itself was asked."""
    digest: ClassVar[str] = ""
    made_by: ClassVar[str] = ""

    __slots__ = ("client", "delete", "get", "patch", "post", "put", "request")

    def __init__(self, client: ServiceClient) -> None:
        self.client = client
        self.get, self.post, self.put = client.get, client.post, client.put
        self.patch, self.delete, self.request = client.patch, client.delete, client.request

    async def _call(
        self,
        operation: Operation,
        path: dict[str, Any],
        query: Mapping[str, Any],
        fields: Mapping[str, Any] | None = None,
        body: Any = UNSET,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        sent = {name: _text(value) for name, value in (fields or {}).items() if value is not None}
        sent.update(headers or {})
        client, target = self.client, operation.target(path, query)
        if operation.method == "GET":
            reply = await client.get(target, headers=sent or None)
        elif isinstance(body, bytes):
            reply = await client.request(operation.method, target, body=body, headers=sent or None)
        elif body is UNSET:
            reply = await client.request(operation.method, target, headers=sent or None)
        else:
            sent["content-type"] = "application/json"
            data = msgspec.json.encode(body)
            reply = await client.request(operation.method, target, body=data, headers=sent)
        return operation.answer(reply.service, reply)


def is_typed(kind: Any) -> bool:
    """Whether an annotation is a generated client."""
    return isinstance(kind, type) and issubclass(kind, TypedService)


def typed_as(journey: Journey, what: str, place: Place, kind: Any, found: Input) -> None:
    """Notes which generated client parts want of a service. Raises StackError when they want two."""
    if not is_typed(kind) or found.type is kind:
        return
    if found.type is not Any:
        other = f"{found.type.__name__} ({found.place})"
        raise journey.wrong(
            place, f"{what} wants the service {found.name!r} as {kind.__name__}, elsewhere it is {other}"
        )
    found.type, found.place = kind, place


def as_typed(service: Any, kind: Any) -> Any:
    """The service as a part's annotation wants it; what is no ServiceClient (a fake, say) is left as it is."""
    return kind(service) if isinstance(service, ServiceClient) and is_typed(kind) else service
