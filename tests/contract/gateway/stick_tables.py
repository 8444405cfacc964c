"""What HAProxy's gateways know of each other's counts, read from their own sockets."""

from __future__ import annotations

import re
import socket

from edge import Line

from waiting import PATIENCE, eventually

ZONES = "ab"


def command(line: Line, zone: str, text: str) -> str:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(PATIENCE)
        sock.connect(str(line.folder(zone) / "admin.sock"))
        sock.sendall(text.encode() + b"\n")
        found = b""
        while chunk := sock.recv(65536):
            found += chunk
    return found.decode()


def counts(line: Line, zone: str) -> dict[tuple[str, str], int]:
    """Requests by table and key."""
    found = {}
    for table in re.findall(r"# table: (\S+),.* used:[1-9]", command(line, zone, "show table")):
        for key, number in re.findall(
            r"key=(.*?) use=.* gpc0=(\d+)", command(line, zone, f"show table {table}")
        ):
            found[table, key] = int(number)
    return found


def agree(line: Line) -> None:
    """Wait until each gateway that runs knows what the others have counted."""
    runs = [zone for zone in ZONES if line.running[line.context.unit_of(f"gateway.{zone}")].poll() is None]
    known: list[dict[tuple[str, str], int]] = []

    def same() -> bool:
        known[:] = [counts(line, zone) for zone in runs]
        return all(each == known[0] for each in known)

    assert eventually(same), known


def learned(line: Line) -> None:
    """Wait until no gateway looks for others to learn from: for five seconds after its start it does, and hands its own
    counts to nobody who replaces it."""
    assert eventually(lambda: all("resync_timeout=<PAST>" in command(line, z, "show peers") for z in ZONES))
