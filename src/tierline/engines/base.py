"""The contract of an engine: a real program that plays roles.

An engine turns a unit (roles that share a process) into processes described as pure data. It starts
nothing: `run` starts processes, `deploy` bakes the same files into images.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

import msgspec

if TYPE_CHECKING:
    from tierline.engines.context import Context
    from tierline.plan.model import Unit


class Binary(msgspec.Struct, frozen=True):
    """The program that really runs."""

    path: str
    version: str
    source: Literal["stack", "wheel", "path"]


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """How to know that a process answers, not just that it was started.

    `http`: GET of `target` (a URL) answers with a status below `below`. `tcp`: `target` host:port accepts.
    `redis`, `nats`: the engine's own greeting on `target` host:port. `exec`: `argv` exits 0.
    `udp-dns`: an SOA query for `name` to `target` host:port is answered without an error.
    `say`: `target` (host:port, or `unix:` and a path) answers `say` with what begins with `expect`.
    """

    kind: Literal["http", "tcp", "redis", "nats", "exec", "udp-dns", "say", "none"]
    target: str = ""
    argv: tuple[str, ...] = ()
    name: str = ""
    headers: dict[str, str] = {}
    say: bytes = b""
    expect: bytes = b""
    below: int = 500
    advice: str = ""
    """What to look at when it doesn't answer, for who reads the error."""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A command that runs to its end once, before or after its process is ready.

    Skipped when the file `unless` exists. When `creates` is set, that (empty) marker file is written after
    success. `env` is added to the process's own. `rewinds`: folders removed when the step fails, so that a
    half-made data folder is never taken for a whole one.
    """

    argv: tuple[str, ...]
    about: str
    unless: str | None = None
    creates: str | None = None
    env: dict[str, str] = {}
    rewinds: tuple[str, ...] = ()
    timeout: float = 60.0
    unprivileged: bool = False


class Filling(msgspec.Struct, frozen=True):
    """How full a process is, in bytes, and what helps."""

    used: int
    most: int
    advice: str


class Together(msgspec.Struct, frozen=True):
    """Followers of which one confirms each write."""

    names: frozenset[str]
    files: dict[str, str]
    """The leader's files (among `live`) that make it wait for one of them."""


class Cluster(msgspec.Struct, frozen=True, kw_only=True):
    """Processes that hold the same data: one leads and takes the writes, the others follow it.

    Who leads outlives the line: it is what the file `marker` says, and the engine describes its processes
    accordingly. The commands are a member's own; each ends within seconds.
    """

    name: str
    leader: str
    """The process that leads, as the marker says."""
    marker: str
    """A file with the name of the process that leads. Written before a follower is promoted."""
    following: tuple[str, ...]
    """On the leader: a line for each process that receives what it writes: its name, `follows` or `catches-up`, the
    bytes that aren't on its disk yet, and the ms until it shows a write."""
    position: tuple[str, ...]
    """On a follower: prints how far it has come, as a number."""
    promote: tuple[str, ...]
    """On a follower: makes it lead; returns when it takes writes. Does nothing on who leads already."""
    confirm: tuple[str, ...]
    """On the leader, once it has been told to go on together: ends when a follower has all that was acknowledged, and
    no write is acknowledged any more without one."""
    complete: tuple[str, ...]
    """On a follower: ends with 0 when it has everything of a leader that was stopped in order."""
    made: str
    """A marker file of the process: without it a follower is made anew from the leader at its next start."""
    alone: dict[str, str]
    """The leader's files (among `live`) when no follower confirms what it writes."""
    together: tuple[Together, ...]
    """Those that may confirm it, the best first: in other zones, as one that stands with the leader falls with it."""


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """One operating-system process, as data."""

    name: str
    engine: str
    argv: tuple[str, ...]
    env: dict[str, str] = {}
    cwd: str | None = None
    region: str = ""
    zone: str = ""
    roles: tuple[str, ...] = ()
    files: dict[str, str] = {}
    """Absolute path → text, written with mode 0600 before `check` and the start."""
    raw: dict[str, str] = {}
    """Lines of the stack's own in its configuration, by where the stack has them."""
    certificates: tuple[str, ...] = ()
    """Those of `files` that hold a certificate which is renewed while it runs: engines/<engine>/live.py is told."""
    folders: tuple[str, ...] = ()
    """Folders that must exist; they are the process's own (mode 0700, owned by who it runs as)."""
    writes: tuple[str, ...] = ()
    """Files that it appends to (hops): made before it starts, owned by who it runs as."""
    leftovers: tuple[str, ...] = ()
    """Files outside its folders that the program leaves when it dies; removed afterwards."""
    unprivileged: bool = False
    """Drop root: PostgreSQL refuses to run as root. Ignored for an ordinary user."""
    umask: int = 0o077
    """Nobody else may open what it makes, its sockets in /tmp above all. -1: the umask of who started the line."""
    after: tuple[str, ...] = ()
    """Names of processes that must be ready before this one starts."""
    before_start: tuple[Step, ...] = ()
    after_ready: tuple[Step, ...] = ()
    """Part of becoming ready: who waits for this process waits for these too."""
    check: tuple[str, ...] = ()
    """The engine's own configuration checker; a non-zero exit refuses the configuration."""
    ready: Probe = Probe(kind="none")
    ready_timeout: float = 20.0
    alive: Probe = Probe(kind="none")
    """Asked again and again while it runs: cheap, and without a hop, a count or a line in a log. `none`: its readiness probe,
    where that is `http`, `redis` or `nats`; a process with a voice sends heartbeats."""
    hang_after: float = 10.0
    """Seconds without an answer before it is restarted."""
    stdout: str | None = None
    """Append standard output to this file instead of the log (HAProxy's hop log)."""
    stop_signal: Literal["TERM", "INT", "QUIT", "USR1"] = "TERM"
    stop_timeout: float = 1.0
    drained: float = 10.0
    """Seconds for what it is answering, where somebody else answers already: a successor, or other instances."""
    drain: tuple[str, ...] = ()
    """A command before the stop signal, for a program that would cut requests off: it stops accepting, and returns
    once what was under way is answered. Cut off itself after `stop_timeout`."""
    reload: Literal["none", "HUP", "USR2", "files"] = "none"
    """How a changed file is applied while running: a signal, or `files` when the engine watches them."""
    live: tuple[str, ...] | None = None
    """Which of `files` can change while it runs; None: all of them. Another file's change is a restart."""
    voice: bool = False
    """It talks to its supervisor over a socket (run/voice.py), and can hand its listeners to a successor."""
    checks: bool = False
    """It asks those behind it whether they are well from its first moment, and so starts after them."""
    cluster: Cluster | None = None
    """Set when it is one of several that hold the same data."""
    fills: bool = False
    """It refuses writes when it is full: engines/<engine>/filling.py tells how full it is."""
    note: str = ""
    """What the user is told when it starts for the first time."""


class Engine(Protocol):
    """What each `engines/<name>/` offers as the module attribute `ENGINE`."""

    name: str

    def binary(self) -> Binary:
        """Where the program is. Raises EngineError with the command that installs it."""

    def version(self) -> str:
        """The program's own version; asked of the program, so only when it is printed."""

    def processes(self, unit: Unit, context: Context) -> list[Process]:
        """The unit's processes with their files, resolved against the context's addresses."""
