"""Changing who stands behind a running HAProxy: its runtime socket, no reload."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from pathlib import Path

from tierline.engines.haproxy.parts import server_options
from tierline.engines.sockets import short
from tierline.engines.target import Target
from tierline.errors import EngineError


def ask(folder: Path, command: str) -> str:
    """One command on the admin socket of the unit whose folder this is. Raises EngineError when it's refused."""
    with socket.socket(socket.AF_UNIX) as sock, short(folder / "admin.sock") as path:
        sock.settimeout(5)
        sock.connect(path)
        sock.sendall(command.encode() + b"\n")
        sock.shutdown(socket.SHUT_WR)
        told = b""
        while chunk := sock.recv(65536):
            told += chunk
    text = told.decode().strip()
    if any(
        word in text for word in ("No such", "Require", "Unknown", "unknown", "not found", "Can't", "must be")
    ):
        raise EngineError(f"HAProxy refuses {command!r}: {text}")
    return text


def certificate(path: Path) -> None:
    """The PEM file was replaced: put it into the running HAProxy, in one step (`set ssl cert`, `commit ssl cert`)."""
    ask(path.parent, f"set ssl cert {path} <<\n{path.read_text().strip()}\n")
    ask(path.parent, f"commit ssl cert {path}")


def instances(folder: Path, name: str, wanted: Sequence[Target]) -> None:
    """Put `wanted` behind the backend `name`: new ones first, then weights and draining, then what is gone."""
    known = _servers(folder, name)
    nearest = min((each.distance for each in wanted), default=0)
    for each in wanted:
        server = f"{name}/{each.name}"
        if each.name not in known:
            backup = " backup" if each.distance > nearest else ""
            # Connections that idle would keep it from being taken away again.
            options = f"weight {max(1, each.weight)} {server_options({})} pool-purge-delay 200ms{backup}"
            ask(folder, f"add server {server} {each.host}:{each.port} {options}")
            ask(folder, f"enable health {server}")
        ask(folder, f"set server {server} weight {each.weight}")
        ask(folder, f"set server {server} state {'drain' if each.draining else 'ready'}")
    for gone in known - {each.name for each in wanted}:
        _remove(folder, f"{name}/{gone}")


def _servers(folder: Path, name: str) -> set[str]:
    lines = ask(folder, f"show servers state {name}").splitlines()
    return {line.split()[3] for line in lines if len(line.split()) > 4 and line.split()[1] == name}


def _remove(folder: Path, server: str, patience: float = 35.0) -> None:
    """Take a server away once nothing is under way to it."""
    ask(folder, f"set server {server} state maint")
    until = time.monotonic() + patience
    while True:
        told = ask(folder, f"del server {server}")
        if "deleted" in told.lower() or not told:
            return
        if time.monotonic() > until:
            raise EngineError(f"HAProxy keeps {server}: {told}")
        time.sleep(0.02)
