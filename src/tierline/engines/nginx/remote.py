"""Servers of others that nginx itself asks: an OpenID provider."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from tierline.engines.authorities import bundle, literal

_RESOLV, _HOSTS = Path("/etc/resolv.conf"), Path("/etc/hosts")


class Remote(msgspec.Struct):
    """The server of a URL, and what is asked of it."""

    host: str
    port: int
    secure: bool
    target: str
    """Path and query."""
    ca: Path | None

    @classmethod
    def of(cls, url: str, ca: Path | None) -> Remote:
        """ca: a PEM file of authorities; default: the system's."""
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return cls(parts.hostname or "", parts.port or (443 if secure else 80), secure, target, ca)

    def upstream(self, name: str) -> str:
        """The upstream block. A name of the DNS is looked up while nginx runs: one that can't be found now keeps
        nothing from starting. nginx itself reads neither hosts file nor resolv.conf then, so both are read here."""
        places = [self.host] if literal(self.host) else _listed(self.host)
        lines = "".join(
            f"        server {f'[{each}]' if ':' in each else each}:{self.port};\n" for each in places
        )
        if not places:
            lines = f"        resolver {' '.join(_resolvers())} valid=30s;\n        resolver_timeout 3s;\n"
            lines += f"        server {self.host}:{self.port} resolve;\n"
        return f"    upstream {name} {{\n        zone {name} 64k;\n{lines}        keepalive 4;\n    }}\n"

    def passed(self, name: str) -> str:
        """Lines of a location: the request goes there, with the server's certificate checked for its name."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = self.port == (443 if self.secure else 80)
        lines = f"""\
            proxy_pass "{"https" if self.secure else "http"}://{name}{self.target}";
            proxy_set_header Host "{host if usual else f"{host}:{self.port}"}";
            proxy_set_header Connection "";
            proxy_connect_timeout 2s;
            proxy_send_timeout 5s;
            proxy_read_timeout 5s;
"""
        if self.secure:
            lines += f"""\
            proxy_ssl_name "{self.host}";
            proxy_ssl_server_name on;
            proxy_ssl_verify on;
            proxy_ssl_verify_depth 5;
            proxy_ssl_trusted_certificate "{self.ca or bundle()}";
            proxy_ssl_protocols TLSv1.2 TLSv1.3;
"""
        return lines


def _listed(host: str) -> list[str]:
    """Addresses that the hosts file gives a name, IPv4 first: what `localhost` is about."""
    found = []
    text = _HOSTS.read_text() if _HOSTS.is_file() else ""
    for line in text.splitlines():
        address, *names = line.partition("#")[0].split() or [""]
        if host in names and literal(address):
            found.append(address)
    found = sorted(dict.fromkeys(found), key=lambda each: ":" in each)
    return found or (["127.0.0.1"] if host == "localhost" else [])


def _resolvers() -> list[str]:
    """The system's DNS servers (resolv.conf(5)); this machine's own when it names none."""
    text = _RESOLV.read_text() if _RESOLV.is_file() else ""
    words = [line.split() for line in text.splitlines()]
    found = [line[1] for line in words if len(line) > 1 and line[0] == "nameserver" and literal(line[1])]
    return [f"[{each}]" if ":" in each else each for each in found] or ["127.0.0.1"]
