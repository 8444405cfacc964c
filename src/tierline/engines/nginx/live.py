"""Changing a certificate of a running nginx."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path


def certificate(path: Path) -> None:
    """The PEM file was replaced. A balancer reads it again by itself: its path stands in a variable, so that it is
    read at a handshake and remembered for a second (ssl_certificate_cache). A mail proxy has no such variables and
    reloads: sessions that are open go on in its old worker."""
    if (path.parent / "auth.sock").exists():
        with contextlib.suppress(OSError, ValueError):
            os.kill(int((path.parent / "nginx.pid").read_text()), signal.SIGHUP)
