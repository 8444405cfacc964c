"""Varnish's own administration protocol: a loopback port that asks for a secret."""

from __future__ import annotations

import hashlib
import re
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tierline.errors import RunError

if TYPE_CHECKING:
    from tierline.tiers.cache.tier import Purge

_AUTHENTICATE = 107


def run(address: tuple[str, int], secret: str, commands: Sequence[Sequence[str]]) -> None:
    """Carry out commands. Raises RunError when Varnish refuses one, or isn't there."""
    try:
        with socket.create_connection(address, 5) as client:
            file = client.makefile("rb")
            status, said = _answer(file)
            if status == _AUTHENTICATE:
                challenge = said[:32]
                told = f"{challenge}\n{secret}\n{challenge}\n"
                client.sendall(f"auth {hashlib.sha256(told.encode()).hexdigest()}\n".encode())
                status, said = _answer(file)
            if status != 200:
                raise RunError(f"Varnish refuses its own secret: {said}")
            for command in commands:
                client.sendall(" ".join(_quoted(word) for word in command).encode() + b"\n")
                status, said = _answer(file)
                if status != 200:
                    raise RunError(f"Varnish refuses {command[0]}: {said}")
    except OSError as error:
        raise RunError(f"Varnish takes no orders now: {error.strerror or error}") from None


def _answer(file: object) -> tuple[int, str]:
    head = file.readline().split()  # type: ignore[attr-defined]
    if len(head) != 2:
        raise RunError("Varnish hung up")
    body = file.read(int(head[1]) + 1)  # type: ignore[attr-defined]
    return int(head[0]), body.decode(errors="replace").strip()


def _quoted(word: str) -> str:
    # Varnish 7.1 takes no two quoted words side by side.
    if not set(word) & set(' \t\n"\\'):
        return word
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def pattern(text: str) -> str:
    """A text as a regular expression that means just it."""
    return re.sub(r"([^A-Za-z0-9_/-])", r"[\1]" if not set("^]\\") & set(text) else r"\\\1", text)


def purge(address: tuple[str, int], secret: str, order: Purge) -> None:
    """Ban what an order names, on the fields that the VCL gives every copy."""
    bans = [f"obj.http.X-Tl-Path == {path}" for path in order.paths]
    for prefix in order.prefixes:
        bans.append(f"obj.http.X-Tl-Path ~ ^{pattern(prefix.rstrip('/'))}(/|$)")
    for tag in order.tags:
        bans.append(f"obj.http.Surrogate-Key ~ (^|[[:space:],]){pattern(tag)}([[:space:],]|$)")
    run(address, secret, [("ban", *ban.split(" ", 2)) for ban in bans])
