"""Keeps the files of another name server as health and the configuration say.

    python -m tierline.engines.answers.keeper [--check] PROGRAM CONFIG.json

PROGRAM is `bind9` or `powerdns`: `engines/PROGRAM/files.py` says what the files hold, how they are checked
and how the running server is told. Neither checks anybody's health; this process does, with the checks of
tierline's own server, and a place that is down is out of the files until it answers again.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

import msgspec

from tierline.engines import steady
from tierline.engines.answers.config import Config, ConfigError, load
from tierline.engines.answers.health import Health
from tierline.engines.answers.loop import IN, Loop
from tierline.engines.answers.outcomes import World
from tierline.engines.answers.server import check
from tierline.engines.answers.stats import listen

_SECOND = 1.0
_SOON = 0.02
"""Places that go down together are one change."""
_AGAIN = 0.2
PROGRAMS = ("bind9", "powerdns")


class Files(Protocol):
    """What `engines/PROGRAM/files.py` offers."""

    def render(self, config: Config, world: World, folder: Path) -> dict[str, str]:
        """Name → text of every file, in that folder."""

    def problem(self, folder: Path) -> str:
        """What the program's own checker says against the folder's files; empty when nothing."""

    def tell(self, folder: Path) -> bool:
        """The running program reads its files anew. False when it doesn't run."""


def files(program: str) -> Files:
    return cast(Files, import_module(f"tierline.engines.{program}.files"))


def rendered(program: str, config: Config, world: World) -> None:
    """Raises ConfigError when the program itself would refuse the configuration."""
    which = files(program)
    with tempfile.TemporaryDirectory(prefix="tierline-dns-") as folder:
        put(Path(folder), which.render(config, world, Path(folder)))
        if problem := which.problem(Path(folder)):
            raise ConfigError(problem)


def put(folder: Path, texts: dict[str, str]) -> bool:
    """Writes what differs, each file at once; whether anything did. What only files of before held is removed."""
    known = folder / ".files"
    before = known.read_text().splitlines() if known.exists() else []
    changed = False
    for name, text in texts.items():
        path = folder / name
        if path.exists() and path.read_text() == text:
            continue
        changed = True
        new = folder / f"{name}.new"
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "w") as file:  # noqa: PTH123  a descriptor
            file.write(text)
        new.replace(path)
    for name in set(before) - set(texts):
        (folder / name).unlink(missing_ok=True)
        changed = True
    known.write_text("\n".join(texts))
    return changed


class Keeper:
    """Raises ConfigError when the file can't be used."""

    def __init__(self, program: str, path: str) -> None:
        self._program = program
        self._path = Path(path)
        self._folder = self._path.parent
        self._loop = Loop()
        self._files = files(program)
        self._stamp = self._look()
        self._config = load(path)
        check(self._config)
        self._pending = False
        self._health = Health(self._loop, self._soon)
        self._health.use(self._config)
        self._write()
        self._loop.after(_SECOND, self._second)
        self._telling = listen(self._config.stats)
        self._loop.add(self._telling.fileno(), IN, self._told)

    def _told(self, _events: int) -> None:
        """Who connects is told of the targets' health: how the supervisor knows that this process doesn't hang."""
        with suppress(OSError):
            client, _ = self._telling.accept()
            with client:
                client.settimeout(0.2)
                client.sendall(msgspec.json.encode(self._health.data()))

    def run(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.on_signal(number, self._loop.stop)
        self._loop.on_signal(signal.SIGHUP, self._reload)
        self._loop.run()
        self._health.stop()
        self._telling.close()
        self._loop.close()

    def _look(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino

    def _second(self) -> None:
        self._loop.after(_SECOND, self._second)
        if self._look() not in (None, self._stamp):
            self._reload()

    def _soon(self) -> None:
        if not self._pending:
            self._pending = True
            self._loop.after(_SOON, self._write)

    def _write(self) -> None:
        self._pending = False
        world = World(self._config, self._health.healthy)
        try:
            changed = put(self._folder, self._files.render(self._config, world, self._folder))
        except OSError as error:  # a full disk: the server answers as before, until there is room
            print(f"can't be written: {error}", file=sys.stderr, flush=True)
            self._loop.after(_SECOND, self._soon)
            return
        if changed:
            self._tell()

    def _tell(self) -> None:
        """Until it has been heard: a server that is just starting may have read the files of before."""
        if not self._files.tell(self._folder):
            self._loop.after(_AGAIN, self._tell)

    def _reload(self) -> None:
        self._stamp = self._look()
        try:
            config = load(self._path)
            check(config)
            rendered(self._program, config, World(config, self._health.healthy))
        except (ConfigError, OSError) as error:
            print(f"configuration refused, the last good one stays: {error}", file=sys.stderr, flush=True)
            return
        self._config = config
        self._health.use(config)
        self._write()
        print("configuration loaded", file=sys.stderr, flush=True)


def main(arguments: list[str]) -> int:
    """Exit code 0 after a clean stop, 1 for a configuration that can't be used, 2 for wrong arguments."""
    steady.begin()
    only_check = arguments[:1] == ["--check"]
    words = arguments[only_check:]
    if len(words) != 2 or words[0] not in PROGRAMS:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        if only_check:
            config = load(words[1])
            check(config)
            rendered(words[0], config, World(config, lambda _place, _target: True))
            return 0
        keeper = Keeper(*words)
    except (ConfigError, OSError) as error:
        print(f"configuration refused: {error}", file=sys.stderr)
        return 1
    keeper.run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
