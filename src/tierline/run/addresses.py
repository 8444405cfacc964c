"""Ports and addresses: every endpoint of the plan gets one on loopback.

Entry tiers listen on the line's public ports, each place on a loopback address of its own (127.0.1.1,
127.0.2.1, …), so that a DNS answer chooses a place as it does on the internet. Everything else gets a free
port; the ports of last time are taken again when they are free, so that addresses in other tools stay right.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import socket
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from tierline.engines.base import Process
from tierline.engines.unprivileged import account
from tierline.errors import RunError, choices
from tierline.plan.model import Plan, Role
from tierline.run.state import State, write
from tierline.tiers.base import system

PUBLIC: dict[str, int] = {"https": 8443, "http": 8080, "dns": 8053}
"""First choices for the public ports; the next free ones are taken when they are not free."""
_LOOPBACK = "127.0.0.1"


class Addresses:
    """Host and port of each (role, endpoint)."""

    def __init__(
        self, known: Mapping[tuple[str, str], tuple[str, int]], given: Mapping[str, int] | None = None
    ) -> None:
        self._known = dict(known)
        self.given = dict(given or {})
        """Public ports that the command line gave, by name. They hold for this run alone."""

    def __getitem__(self, key: tuple[str, str]) -> tuple[str, int]:
        return self._known[key]

    def items(self) -> list[tuple[tuple[str, str], tuple[str, int]]]:
        return sorted(self._known.items())

    def data(self) -> dict[str, str]:
        """`role/endpoint` → `host:port`."""
        return {f"{role}/{endpoint}": f"{host}:{port}" for (role, endpoint), (host, port) in self.items()}


def choose(
    plan: Plan, state: State, given: Mapping[str, int] | None = None, *, keep: Addresses | None = None,
    was: Plan | None = None,
) -> Addresses:  # fmt: skip
    """Addresses for every endpoint.

    given: public ports by name (`https`, `http`, `dns`); a given one that is taken is an error that names its
    owner where that can be known, one that isn't given is chosen free. What is given is not remembered.
    keep: the addresses of the line that runs now; they stay what they are. was: its plan.
    """
    given = dict(keep.given if keep is not None else given or {})
    asked = given if keep is None else {}  # a line that runs has them already
    before: dict[str, str] = {}
    path = state.root / "ports.json"
    if path.is_file():
        with contextlib.suppress(msgspec.DecodeError):
            before = msgspec.json.decode(path.read_bytes())
    found: dict[tuple[str, str], tuple[str, int]] = {}
    hosts = _entry_hosts(plan)
    kept = dict(keep.items()) if keep is not None else {}
    taken: set[int] = {*(port for _, port in kept.values()), *given.values()}
    # Two stacks that start at the same moment look for free ports in different places.
    start = 20100 + zlib.crc32(str(state.root).encode()) % 11000
    endpoints = {(role.id, endpoint.name) for role in plan.roles.values() for endpoint in role.endpoints}
    found.update({key: address for key, address in kept.items() if key in endpoints})
    public = {endpoint.protocol if endpoint.protocol == "dns" else endpoint.name for role in plan.roles.values()
              for endpoint in role.endpoints if role.id in plan.entry or endpoint.protocol == "dns"}  # fmt: skip
    for name in asked:
        if name not in public:
            raise RunError(
                f"--port {name}={given[name]}: this stack has no public port for {name}; it has: {choices(public)}"
            )
    for role in plan.roles.values():
        for endpoint in role.endpoints:
            for other in _also(role):
                key, named = (role.id, endpoint.name), (other, endpoint.name)
                if key not in found and named in kept and named not in endpoints:
                    found[key] = kept[named]
                if f"{key[0]}/{key[1]}" not in before and (told := before.get(f"{other}/{endpoint.name}")):
                    before[f"{key[0]}/{key[1]}"] = told
    for name in ("https", "http"):
        group = [
            (role, name) for role in plan.entry if any(e.name == name for e in plan.roles[role].endpoints)
        ]
        settled = next((found[key][1] for key in group if key in found), 0)
        if settled:
            found.update({key: (hosts[key[0]], settled) for key in group if key not in found})
        elif group:
            last = _port(before.get(f"{group[0][0]}/{name}"))
            port = _public(name, [hosts[role] for role, _ in group], asked, last, taken)
            found.update({key: (hosts[key[0]], port) for key in group})
    for unit in plan.units:
        shared: dict[str, tuple[str, int]] = {}
        server = system(unit.roles[0].slot, unit.roles[0].system).group == "server"
        if server:  # what comes to a server that runs is where the server is
            same = [each for each in was.units if each.id == unit.id] if was is not None else []
            here = {role.id for each in same for role in each.roles}
            shared = {key[1]: address for key, address in kept.items() if key[0] in here}
            shared |= {key[1]: found[key] for key in found if key[0] in {role.id for role in unit.roles}}
        for role in unit.roles:
            for endpoint in role.endpoints:
                key = (role.id, endpoint.name)
                if key in found:
                    continue
                if server and endpoint.name in shared:
                    found[key] = shared[endpoint.name]
                    continue
                last = _port(before.get(f"{role.id}/{endpoint.name}"))
                if endpoint.protocol == "dns":
                    port = _public("dns", [_LOOPBACK], asked, last, taken)
                else:
                    again = last and last not in taken and _free(_LOOPBACK, last) and _reserve(last)
                    port = last if again else _any(taken, start)
                taken.add(port)
                found[key] = shared[endpoint.name] = (_LOOPBACK, port)
    addresses = Addresses(found, given)
    forgotten = {f"{role}/{name}" for (role, name), (_, port) in found.items() if port in given.values()}
    # The next `up` without --port chooses as if this one had not been.
    remembered = {k: before.get(k, "") if k in forgotten else v for k, v in addresses.data().items()}
    write(path, msgspec.json.encode({k: v for k, v in remembered.items() if v}).decode())
    return addresses


def check_privileges(addresses: Addresses, listed: Iterable[Process]) -> None:
    """Raises RunError for a given port that the process which listens on it may not bind, as who it runs as."""
    first = _first_unprivileged()
    for process in listed:
        for (role, name), (_, port) in addresses.items():
            if role in process.roles and port < first and os.geteuid() == 0 and process.unprivileged:
                raise RunError(_privileged(name, port, f"{process.engine} runs as {_account_name()}"))


def _privileged(name: str, port: int, who: str) -> str:
    return (
        f"--port {name}={port}: ports below {_first_unprivileged()} need privileges, and {who}; give a port from "
        f"{_first_unprivileged()} on, or allow this one with sysctl net.ipv4.ip_unprivileged_port_start={port}"
    )


def _account_name() -> str:
    user, _ = account()
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"user {user}"


def _first_unprivileged() -> int:
    """The lowest port that needs no privileges (ip(7))."""
    try:
        return int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    except (OSError, ValueError):
        return 1024


def _also(role: Role) -> list[str]:
    """What a role is called in a line with more or fewer replicas: it is the same server."""
    if role.part != "primary":
        return []
    return [id for id in (role.name, f"{role.name}.{role.part}") if id != role.id]


def _entry_hosts(plan: Plan) -> dict[str, str]:
    """A loopback address for each entry role: its own when there are several places, else 127.0.0.1."""
    if len(plan.entry) == 1:
        return {plan.entry[0]: _LOOPBACK}
    return {role: f"127.0.{number}.1" for number, role in enumerate(plan.entry, 1)}


def _public(name: str, hosts: list[str], given: Mapping[str, int] | None, last: int, taken: set[int]) -> int:
    udp = name == "dns"
    if given and name in given:
        port = given[name]
        for host in hosts:
            if problem := _problem(host, port, udp):
                if problem.errno in (errno.EACCES, errno.EPERM):
                    raise RunError(_privileged(name, port, f"you are user {os.geteuid()}"))
                if problem.errno != errno.EADDRINUSE:
                    raise RunError(f"--port {name}={port}: {host}:{port}: {problem.strerror}")
                raise RunError(
                    f"--port {name}={port}: {host}:{port} is taken{owner(port)}; give another, or none to have one chosen"
                )
        if not _reserve(port):
            raise RunError(f"--port {name}={port}: another line that starts now has this port; give another")
        return port
    last = (
        last if last >= _first_unprivileged() else 0
    )  # one that an earlier run was given, and couldn't have
    for port in [last, *range(PUBLIC[name], PUBLIC[name] + 400, 1 if name == "dns" else 10)]:
        if port and port not in taken and all(_free(host, port, udp) for host in hosts) and _reserve(port):
            taken.add(port)
            return int(port)
    raise RunError(f"no free port for {name} from {PUBLIC[name]} on: give one with --port {name}=PORT")


def _port(address: str | None) -> int:
    return int(address.rpartition(":")[2]) if address else 0


def _any(taken: set[int], start: int) -> int:
    """A free port below the ephemeral range, where no outgoing connection can be in its way."""
    for port in [*range(start, 32700), *range(20100, start)]:
        if port not in taken and _free(_LOOPBACK, port) and _reserve(port):
            return int(port)
    raise RunError("no free port between 20100 and 32700 on 127.0.0.1")


_reserved: dict[int, socket.socket] = {}


def _reserve(port: int) -> bool:
    """Keep a port for this line until it ends: processes start seconds after their ports were chosen, and a line
    that starts meanwhile must not choose the same. An abstract socket is nobody's file and dies with us."""
    if port in _reserved:
        return True
    mark = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        mark.bind(f"\0tierline-port-{port}")
    except OSError:
        mark.close()
        return False
    _reserved[port] = mark
    return True


def _free(host: str, port: int, udp: bool = False) -> bool:
    return _problem(host, port, udp) is None


def _problem(host: str, port: int, udp: bool) -> OSError | None:
    """Why a port can't be had, or None."""
    kinds = (socket.SOCK_STREAM, socket.SOCK_DGRAM) if udp else (socket.SOCK_STREAM,)
    for kind in kinds:
        with socket.socket(socket.AF_INET, kind) as probe:
            if kind == socket.SOCK_STREAM:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                return error
    return None


def owner(port: int) -> str:
    """` by NAME (pid N)` for who listens on a port, ` by a process of USER` where no more can be known, or nothing."""
    import psutil

    with contextlib.suppress(psutil.Error, PermissionError):
        for connection in psutil.net_connections("inet"):
            if connection.laddr and connection.laddr.port == port and connection.pid:
                if connection.status not in (psutil.CONN_LISTEN, psutil.CONN_NONE):
                    continue
                return f" by {psutil.Process(connection.pid).name()} (pid {connection.pid})"
    for table in ("tcp", "tcp6", "udp", "udp6"):
        with contextlib.suppress(OSError):
            for line in Path("/proc/net", table).read_text().splitlines()[1:]:
                _, local, _, state, *_, user = line.split()[:8]  # proc(5)
                if int(local.rpartition(":")[2], 16) == port and state in ("0A", "07"):
                    return f" by a process of user {user}"
    return ""
