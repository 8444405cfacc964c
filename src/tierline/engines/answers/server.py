"""The server: sockets, the configuration as it changes, health, counts. `serve` runs until TERM or INT."""

from __future__ import annotations

import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from time import time

import msgspec

from tierline.engines.answers import stats as counts
from tierline.engines.answers.answerer import Answerer
from tierline.engines.answers.config import Config, ConfigError, load
from tierline.engines.answers.health import Health, verify
from tierline.engines.answers.hops import Hops
from tierline.engines.answers.loop import IN, Loop
from tierline.engines.answers.networks import NetworkError, address
from tierline.engines.answers.stats import Stats
from tierline.engines.answers.tcp import Tcp
from tierline.engines.answers.udp import Udp

_SECOND = 1.0


def endpoint(text: str) -> tuple[int, tuple[str, int]]:
    """Family and socket address of `address:port` or `[address]:port`."""
    host, _, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    try:
        address(host)
    except NetworkError as error:
        raise ConfigError(f"listen {text!r}: {error}") from None
    if not port.isdigit() or int(port) > 65535 or bracketed != (":" in host):
        raise ConfigError(f"listen {text!r} is not address:port or [address]:port")
    return socket.AF_INET6 if bracketed else socket.AF_INET, (host, int(port))


def check(config: Config) -> None:
    """Everything that can be wrong in a configuration, without serving it. Raises ConfigError."""
    if not config.listen:
        raise ConfigError("listen is empty")
    for text in config.listen:
        endpoint(text)
    verify(config)
    Answerer(config, lambda _place, _target: True, Stats(), Hops("", "", ""))


class Server:
    """Raises ConfigError when the file, or an address in it, can't be used."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._stamp = self._look()
        self.config = load(path)
        check(self.config)
        self.loop = Loop()
        self.stats = Stats()
        self.health = Health(self.loop, self._health_changed)
        self.hops = Hops(self.config.hops, self.config.system, self.config.region)
        self.answerer = Answerer(self.config, self.health.healthy, self.stats, self.hops)
        self._sockets: dict[str, tuple[Udp, Tcp]] = {}
        self._telling: socket.socket | None = None
        self._bind(self.config)
        self._tell(self.config.stats)
        self._tune()
        self.health.use(self.config)
        self.loop.after(_SECOND, self._second)

    def _current(self) -> Answerer:
        return self.answerer

    def _look(self) -> tuple[int, int, int] | None:
        """What changes when the file does."""
        try:
            found = Path(self._path).stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size

    def _bind(self, config: Config) -> None:
        """Listens on exactly the configuration's addresses; when one can't be had, on those of before."""
        new: dict[str, tuple[Udp, Tcp]] = {}
        try:
            for text in config.listen:
                if text not in self._sockets and text not in new:
                    family, where = endpoint(text)
                    udp = Udp(family, where, self._current)
                    try:
                        bound = udp.socket.getsockname()
                        tcp = Tcp(self.loop, family, (where[0], bound[1]), self._current, self.stats)
                    except OSError:
                        udp.socket.close()
                        raise
                    new[text] = udp, tcp
        except OSError as error:
            for udp, tcp in new.values():
                udp.socket.close()
                tcp.close()
            raise ConfigError(f"listen {text}: {error.strerror}") from None
        for text in [text for text in self._sockets if text not in config.listen]:
            udp, tcp = self._sockets.pop(text)
            self.loop.remove(udp.socket.fileno())
            udp.socket.close()
            tcp.close()
        for udp, tcp in new.values():
            self.loop.add(udp.socket.fileno(), IN, udp.ready)
            self.loop.add(tcp.socket.fileno(), IN, tcp.ready)
        self._sockets |= new

    def _tune(self) -> None:
        for _, tcp in self._sockets.values():
            tcp.idle, tcp.most = self.config.tcp.idle, self.config.tcp.connections

    def _tell(self, path: str) -> None:
        """Opens, moves or closes the socket of the counts."""
        if self._telling is not None:
            self.loop.remove(self._telling.fileno())
            self._telling.close()
            self._telling = None
        if path:
            try:
                self._telling = counts.listen(path)
            except OSError as error:
                raise ConfigError(f"stats {path}: {error.strerror}") from None
            self.loop.add(self._telling.fileno(), IN, self._told)

    def _told(self, _events: int) -> None:
        assert self._telling is not None
        with suppress(OSError):
            client, _ = self._telling.accept()
            with client:
                self.answerer.count()
                self.stats.hops, self.stats.lost = self.hops.count, self.hops.lost
                client.settimeout(0.2)
                client.sendall(msgspec.json.encode(self.stats.data(self.health.data())))

    def _health_changed(self) -> None:
        self.answerer.forget()

    def _second(self) -> None:
        self.loop.after(_SECOND, self._second)
        for _, tcp in self._sockets.values():
            tcp.expire()
        if self._look() not in (None, self._stamp):
            self.reload()

    def reload(self) -> None:
        """Takes the file anew, or says why not and keeps what it has."""
        self._stamp = self._look()
        try:
            config = load(self._path)
            check(config)
            hops = self.hops
            if (config.hops, config.system, config.region) != (
                self.config.hops,
                self.config.system,
                self.config.region,
            ):
                hops = Hops(config.hops, config.system, config.region)
            answerer = Answerer(config, self.health.healthy, self.stats, hops)
            self._bind(config)
            if config.stats != self.config.stats:
                self._tell(config.stats)
        except (ConfigError, OSError) as error:
            self.stats.refused += 1
            print(f"configuration refused, the last good one stays: {error}", file=sys.stderr, flush=True)
            return
        self.answerer.forget()
        self.config, self.hops, self.answerer = config, hops, answerer
        self.health.use(config)
        self._tune()
        self.stats.loaded = time()
        print("configuration loaded", file=sys.stderr, flush=True)

    def run(self) -> None:
        """Until TERM or INT; leaves no socket behind."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self.loop.on_signal(number, self.loop.stop)
        self.loop.on_signal(signal.SIGHUP, self.reload)
        try:
            self.loop.run()
        finally:
            self.health.stop()
            for udp, tcp in self._sockets.values():
                udp.socket.close()
                tcp.close()
            if self._telling is not None:
                self._telling.close()
                with suppress(OSError):
                    Path(self.config.stats).unlink()
            self.loop.close()
