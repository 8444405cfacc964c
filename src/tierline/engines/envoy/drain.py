"""Before Envoy ends: its listeners close, and what it is answering is answered.

`python -I -S drain.py ADMIN_SOCKET`. Envoy closes everything at once on SIGTERM; `/drain_listeners` (its admin
interface, "operations") stops accepting and leaves open requests alone. Ends with the last of them.
"""

from __future__ import annotations

import os
import socket
import sys
import time


def ask(path: str, method: str, target: str) -> str:
    """One request to the admin socket; its body."""
    with socket.socket(socket.AF_UNIX) as admin:
        admin.settimeout(2)
        admin.connect(path)
        admin.sendall(f"{method} {target} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n".encode())
        answer = b""
        while chunk := admin.recv(1 << 16):
            answer += chunk
    return answer.decode(errors="replace").partition("\r\n\r\n")[2]


def active(path: str) -> int:
    """Requests that are being answered, the admin interface's own left out."""
    found = ask(path, "GET", "/stats?filter=http%5C..*downstream_rq_active&usedonly")
    lines = [each.partition(": ") for each in found.splitlines() if "downstream_rq_active: " in each]
    return sum(int(number) for name, _, number in lines if ".admin." not in name and number.isdigit())


def main(path: str) -> None:
    folder, path = os.path.split(path)
    os.chdir(folder)  # a whole path may be longer than a socket's address can be
    ask(path, "POST", "/drain_listeners?inboundonly=false")
    while active(path):
        time.sleep(0.02)


if __name__ == "__main__":
    main(sys.argv[1])
