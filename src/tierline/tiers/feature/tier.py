"""Feature services and what they integrate with: services, functions, queues, topics, streams, buckets, mail."""

from __future__ import annotations

from typing import Any

from tierline.intent import Duration, Intent, Name, Size, setting


class Scale(Intent):
    """How many instances run in each zone, and what one of them should carry. Of several targets the one that
    asks for most decides. A number between `min` and `max` without a target is changed by `tierline scale` alone.
    """

    min: int = setting(
        "Instances per zone at least; 0: a function sleeps while nothing is queued.",
        default=1,
        above=0,
        below=64,
    )
    max: int = setting("Instances per zone at most.", default=1, above=1, below=256)
    rps: float | None = setting(
        "Requests per second that one instance should carry.", default=None, above=0.1
    )
    cpu: float | None = setting(
        "Share of a core that one instance should use.", default=None, above=0.05, below=1
    )
    latency: Duration | None = setting(
        "Mean time that an answer should take.", default=None, above=0.001, below=60
    )
    queue: float | None = setting(
        "Messages that may wait for each instance: of a function's source, or of the queues that a service uses.",
        default=None,
        above=1,
    )
    cooldown: Duration = setting(
        "How long less must be needed before an instance is removed.", default="30s", above=0.5, below=3600
    )
    cooldown_out: Duration | None = setting(
        "Rest after adding instances; by default a sixth of cooldown.", default=None, above=0.5, below=3600
    )
    cooldown_in: Duration | None = setting(
        "Instead of cooldown, for removing alone.", default=None, above=0.5, below=3600
    )
    idle: Duration = setting(
        "How long nothing may be queued before a function's last instance sleeps (min=0).",
        default="60s",
        above=0.5,
    )

    def check(self) -> None:
        if self.max < self.min:
            raise self.wrong("max", self.max, f"at least min={self.min}")


class Resource(Intent):
    """Base of what services use. `slot` is what a lineup chooses a system for."""

    slot = ""
    name: Name = setting("The resource's name, unique in the stack.")


class Service(Intent):
    """An application: ASGI or WSGI (`module:app`), or any command that listens on `$PORT`."""

    slot = "feature.service"
    name: Name = setting("The service's name, unique in the stack.")
    app: str | None = setting("`module:attribute` of an ASGI or WSGI application.", default=None)
    command: tuple[str, ...] = setting(
        "A command that listens on $HOST:$PORT, instead of an app; both are replaced in its words.",
        default=(),
    )
    uses: tuple[Any, ...] = setting("Resources, other services, and the gateway's auth.", default=())
    expose: tuple[str, ...] = setting(
        "Path prefixes that the gateway routes to it.",
        default=(),
        allowed=lambda path: None if path.startswith("/") else "paths that begin with /",
    )
    scale: Scale = setting("Instances per zone.", factory=Scale)
    health: str = setting(
        "The path that answers below 400 when the service is well. A command is ready once it answers there, below 500.",
        default="/health",
    )
    drain: Duration = setting(
        "How long what it is answering may take once it has a successor or is removed; then it is cut off.",
        default="10s",
        above=0.1,
        below=600,
    )
    timeout: Duration | None = setting(
        "Time until its answer begins; default: the gateway's.", default=None, above=0.001
    )
    idle_timeout: Duration | None = setting(
        "Silence after which its answer ends; default: the gateway's.", default=None, above=0.1
    )
    max_duration: Duration | None = setting(
        "Time for a request and its whole answer; default: the gateway's.", default=None, above=0.1
    )
    max_body: Size | None = setting("Largest request body; default: the gateway's.", default=None)
    env: dict[str, str] = setting("More environment variables.", factory=dict)
    forward: tuple[str, ...] = setting(
        "The client's header fields that go with journeys' calls, e.g. `authorization`.", default=()
    )
    hang_after: Duration | None = setting(
        "How long it may answer nothing, its event loop blocked for example, before it is restarted; default: the stack's.",
        default=None,
        above=2,
        below=3600,
    )
    start_timeout: Duration = setting(
        "How long it may take at its start until it answers.", default="30s", above=1, below=3600
    )
    private: bool = setting(
        "Its answers are each caller's own: requests for it bypass the HTTP cache.", default=False
    )
    fuse: bool = setting("May share a Python process with its neighbours.", default=True)
    interface: str = setting(
        "`asgi` or `wsgi`.",
        default="asgi",
        allowed=lambda kind: None if kind in ("asgi", "wsgi") else "'asgi' or 'wsgi'",
    )

    def check(self) -> None:
        if self.scale.min < 1:
            raise self.wrong("scale", self.scale, "min=1 or more: only functions can sleep")
        if (self.app is None) == (not self.command):
            raise self.wrong("app", self.app, "exactly one of app='module:app' and command=[…]")
        if self.app is not None and (self.app.count(":") != 1 or self.app.startswith(":")):
            raise self.wrong("app", self.app, "'module:attribute', e.g. 'cinema.catalog:app'")
        for used in self.uses:
            if not isinstance(used, Resource | Service | Intent | str):
                raise self.wrong("uses", used, "resources, services, or a service's name")


class Function(Intent):
    """A function that runs for each event of a queue, a topic or a stream, in a process of its own."""

    slot = "feature.function"
    name: Name = setting("The function's name, unique in the stack.")
    handler: str = setting("`module:function`, called with one event.")
    on: Any = setting("The queue, topic or stream whose messages it handles.")
    uses: tuple[Any, ...] = setting("Resources and services.", default=())
    timeout: Duration = setting(
        "Longest run of one call; a handler that doesn't end then is ended with its process.",
        default="30s",
        above=0.1,
        below=43200,
    )
    batch: int = setting(
        "Messages handed over in one call, at most; above 1 the handler gets a list.",
        default=1,
        above=1,
        below=100,
    )
    concurrency: int = setting(
        "Calls at a time in each worker, each in a process.", default=1, above=1, below=64
    )
    retries: int | None = setting(
        "Attempts after the first, then the message is set aside; None: of a queue what dead_letter_after leaves, else 4.",
        default=None,
        above=0,
        below=999,
    )
    backoff: Duration = setting(
        "Time before the second attempt; it doubles with each, up to 5 min.",
        default="1s",
        above=0.01,
        below=300,
    )
    memory: Size | None = setting("Memory that one process of the handler may take.", default=None)
    scale: Scale | None = setting(
        "Workers of its own in each zone, by how much is queued; None: one in the zone's process for functions.",
        default=None,
    )
    env: dict[str, str] = setting("More environment variables.", factory=dict)

    def check(self) -> None:
        if self.scale is not None and (self.scale.rps or self.scale.latency):
            raise self.wrong("scale", self.scale, "queue= or cpu=: a function has no requests, but messages")
        if self.handler.count(":") != 1:
            raise self.wrong("handler", self.handler, "'module:function'")
        if not isinstance(self.on, Queue | Topic | Stream):
            raise self.wrong("on", self.on, "a Queue, Topic or Stream")
        if isinstance(self.on, Queue) and self.timeout > self.on.visibility:
            raise self.wrong(
                "timeout",
                f"{self.timeout:g}s",
                f"at most visibility={self.on.visibility:g}s of Queue({self.on.name!r}): what takes longer would be delivered "
                "a second time while it runs",
            )


class Queue(Resource):
    """Messages that one consumer each handles, redelivered until acknowledged."""

    slot = "feature.queue"
    dead_letter_after: int = setting(
        "Deliveries before a message is put aside.", default=5, above=1, below=1000
    )
    visibility: Duration = setting("Time to acknowledge before redelivery.", default="30s", above=1)
    retention: Duration = setting("How long an unread message is kept.", default="4d")


class Topic(Resource):
    """Messages that every subscriber receives."""

    slot = "feature.topic"


class Stream(Resource):
    """An ordered log that readers replay."""

    slot = "feature.stream"
    key: str | None = setting("The field that orders and partitions.", default=None)
    retention: Duration = setting("How long entries are kept.", default="7d")


class Bucket(Resource):
    """Objects behind the S3 API."""

    slot = "feature.bucket"
    max_object: Size = setting("Largest object.", default="64MiB")

    def check(self) -> None:
        if len(self.name) < 3 or self.name.endswith("-"):
            raise self.wrong("name", self.name, "at least 3 characters and no - at the end, as S3 has it")


class Mail(Resource):
    """Outgoing mail over SMTP; locally an inbox that keeps every mail and delivers none."""

    slot = "feature.mail"
    sender: str = setting(
        "The address that mail comes from.",
        default="noreply@localhost",
        allowed=lambda value: None if "@" in value else "an address with an @",
    )


__all__ = ["Bucket", "Function", "Mail", "Queue", "Resource", "Scale", "Service", "Stream", "Topic"]
