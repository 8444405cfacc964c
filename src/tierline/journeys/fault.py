"""What can go wrong while a journey is answered, each with the HTTP status it becomes."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import msgspec


class JourneyError(Exception):
    """Base of what a part may raise to choose the journey's answer. `status` is the HTTP status."""

    status = 500
    slug = "part-failed"
    title = "A part of the journey failed"

    def __init__(
        self,
        detail: str = "",
        *,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
        retry_after: float | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.headers = dict(headers or {})
        """Fields of the answer, such as `WWW-Authenticate`."""
        self.retry_after = retry_after
        """Seconds after which it may be tried again."""
        if status is not None:
            self.status = status
        self.extra = extra


_TITLES = {406: "Not acceptable", 408: "Request timeout", 413: "Content too large"}


def refusal(detail: str, status: int) -> JourneyError:
    """What the application itself refuses: no part has failed, so the problem is named after the status."""
    error = JourneyError(detail, status=status)
    error.title = _TITLES[status]
    error.slug = error.title.lower().replace(" ", "-")
    return error


class NotFound(JourneyError):
    """Raise it in a part when what was asked for does not exist."""

    status = 404
    slug = "not-found"
    title = "Not found"


class Forbidden(JourneyError):
    """Raise it in a part when the caller may not have it."""

    status = 403
    slug = "forbidden"
    title = "Not allowed"


class Unauthorized(JourneyError):
    """Raise it in a part when the caller must sign in first."""

    status = 401
    slug = "unauthorized"
    title = "Sign in first"


class Conflict(JourneyError):
    """Raise it in a part when the state of things does not allow it."""

    status = 409
    slug = "conflict"
    title = "Not in this state"


class StepOutOfOrder(Conflict):
    """A required step of the user's journey has not been reached: `go_to` is the path to go back to."""

    slug = "step-out-of-order"
    title = "Another step comes first"


class CrossOrigin(Forbidden):
    """A page of another origin has sent a request that only the visitor's cookie authorises."""

    slug = "cross-origin"
    title = "Sent by another site"


class UnsupportedMedia(JourneyError):
    """The request's body is of another media type than JSON."""

    status = 415
    slug = "unsupported-media-type"
    title = "Another media type is expected"


class SessionBusy(JourneyError):
    """Another request of the same session has not ended in time."""

    status = 503
    slug = "session-busy"
    title = "The session is in use"


class NotUndone(JourneyError):
    """An effect was to be undone, and nobody knows whether it has been: nothing is done on top of it."""

    status = 503
    slug = "not-undone"
    title = "An earlier effect could not be undone yet"

    def __init__(self, names: list[str]) -> None:
        super().__init__(
            f"{', '.join(names)}: an earlier request with this key has begun to undo it, and no answer says whether it was; "
            "send the same request again later",
            retry_after=5,
        )


class SessionAway(JourneyError):
    """The session could not be loaded, or not be held for a change."""

    status = 503
    slug = "session-away"
    title = "The session is not available"


class SessionNotSaved(JourneyError):
    """What this request has written into its session is lost: its store is full or away."""

    status = 503
    slug = "session-not-saved"
    title = "The session could not be saved"


class DeadlineExceeded(JourneyError):
    """A part or a call took longer than it may."""

    status = 504
    slug = "deadline-exceeded"
    title = "A part of the journey took too long"


class BulkheadFull(JourneyError):
    """As many calls as the bulkhead allows are already running."""

    status = 503
    slug = "bulkhead-full"
    title = "A part of the journey is at its limit"


class WrongType(JourneyError):
    """A part returned something else than it says, or something that can't be sent."""

    status = 500
    slug = "wrong-type"
    title = "A part of the journey returned the wrong type"


class TooManyCalls(JourneyError):
    """One request made more calls than its journey may."""

    status = 500
    slug = "too-many-calls"
    title = "The journey made too many calls"


class TooLarge(JourneyError):
    """A reply or an answer is larger than its limit."""

    status = 502
    slug = "too-large"
    title = "A part of the journey returned too much"


class ServiceError(JourneyError):
    """A service answered with an error, or did not answer. `reply_status` is 0 when there was no reply.

    detail: all that is known, for the log. told: what a client may know of it, where that is less.
    """

    status = 502
    slug = "service-failed"
    title = "A service failed"
    says = ""
    """What a client is told instead of the detail."""

    def __init__(
        self,
        service: str,
        detail: str,
        *,
        reply_status: int = 0,
        body: bytes = b"",
        told: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(f"{service}: {detail}", service=service, retry_after=retry_after)
        told = self.says if told is None else told
        if told:
            self.detail = f"{service}: {told}"
        self.service = service
        self.reply_status = reply_status
        self.body = body
        if reply_status in (400, 401, 403, 404, 409, 410, 422, 429):
            self._refused()

    def _refused(self) -> None:
        self.status = self.reply_status
        self.slug = "service-refused"
        self.title = "A service refused the request"

    @property
    def retryable(self) -> bool:
        return self.reply_status in (0, 502, 503, 504) or (
            self.reply_status == 429 and self.retry_after is not None
        )

    def forward(self) -> None:
        """Shows the client the status, and what the service's problem document (RFC 9457) says of the request."""
        if 400 <= self.reply_status < 500:
            self._refused()
        with contextlib.suppress(msgspec.DecodeError):
            said = msgspec.json.decode(self.body, type=dict[str, Any])
            if isinstance(detail := said.get("detail") or said.get("title"), str):
                self.detail = f"{self.service}: {detail}"
            if isinstance(errors := said.get("errors"), list):
                self.extra["errors"] = errors


class BrokenContract(ServiceError):
    """A service answered an operation with something else than its OpenAPI document says."""

    slug = "broken-contract"
    title = "A service broke its contract"

    def __init__(self, service: str, operation: str, why: str, field: str = "") -> None:
        where = f" at {field}" if field else ""
        super().__init__(
            service,
            f"{operation}{where}: {why}",
            told=f"its answer to {operation} is not what its OpenAPI says{where}",
        )
        self.extra.update(operation=operation, **({"field": field} if field else {}))

    @property
    def retryable(self) -> bool:
        return False


class Unreachable(ServiceError):
    """No address of the service accepted a connection: nothing was sent."""

    says = "it can't be reached"


class BadInput(JourneyError):
    """Parameters that can't be used: `errors` is a list of {"in", "field", "given", "why"}."""

    status = 422
    slug = "bad-parameters"
    title = "Bad parameters"

    def __init__(self, errors: list[dict[str, Any]]) -> None:
        super().__init__(
            ", ".join(f"{error['field'] or error['in']}: {error['why']}" for error in errors), errors=errors
        )
        self.errors = errors


def released(error: BaseException) -> None:
    """Without their tracebacks, errors and the frames that they passed hold each other no more.

    Such a circle would keep what the part had, 50 MB perhaps, until the garbage collector comes by.
    """
    left, seen = [error], set()
    while left:
        each = left.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        each.__traceback__ = None
        left += [other for other in (each.__cause__, each.__context__) if other is not None]
