"""Squid as an engine: one role as an accelerator in front of the next tier."""

from __future__ import annotations

import msgspec

from tierline.engines import binaries
from tierline.engines.base import Binary, Probe, Process
from tierline.engines.context import Context
from tierline.plan.model import Unit
from tierline.tiers.base import system

ALIVE = "TIERLINE-ALIVE"
"""A method that is refused, and logged nowhere."""


_TITLES = {
    "ACCESS_DENIED": "Forbidden", "CANNOT_FORWARD": "Nobody behind answers", "CONNECT_FAIL": "Nobody behind answers",
    "INVALID_REQ": "Bad request", "INVALID_RESP": "The service broke off", "INVALID_URL": "Bad request",
    "LIFETIME_EXP": "The service took too long", "ONLY_IF_CACHED_MISS": "Nothing is kept of it",
    "PROTOCOL_UNKNOWN": "Bad request", "READ_ERROR": "The service broke off", "READ_TIMEOUT": "The service took too long",
    "TOO_BIG": "Too large", "UNSUP_HTTPVERSION": "HTTP version not supported", "UNSUP_REQ": "Not implemented",
    "WRITE_ERROR": "The service broke off", "ZERO_SIZE_OBJECT": "The service broke off",
}  # fmt: skip
_NAMES = (
    *_TITLES, "ACL_TIME_QUOTA_EXCEEDED", "AGENT_CONFIGURE", "AGENT_WPAD", "CACHE_ACCESS_DENIED", "CACHE_MGR_ACCESS_DENIED",
    "CONFLICT_HOST", "DIR_LISTING", "DNS_FAIL", "ESI", "FORWARDING_DENIED", "FTP_DISABLED", "FTP_FAILURE", "FTP_FORBIDDEN",
    "FTP_NOT_FOUND", "FTP_PUT_CREATED", "FTP_PUT_ERROR", "FTP_PUT_MODIFIED", "FTP_UNAVAILABLE", "GATEWAY_FAILURE",
    "ICAP_FAILURE", "NO_RELAY", "PRECONDITION_FAILED", "SECURE_CONNECT_FAIL", "SHUTTING_DOWN", "SOCKET_FAILURE",
    "URN_RESOLVE",
)  # fmt: skip
"""All pages that it wants to have."""
ERRORS = "errors"
"""In the unit's folder: its pages, as problem documents."""
PROBLEMS = """\
# Its own pages are problem documents, by the field that it marks them with (the program can't say their type).
acl refused rep_header X-Squid-Error .
reply_header_access Content-Type deny refused
reply_header_replace Content-Type application/problem+json
"""
"""Lines of squid.conf."""


def _page(name: str) -> str:
    """Without a status, which it doesn't know beforehand; it is optional (RFC 9457, 3.1)."""
    return f'{{"type":"about:blank","title":"{_TITLES.get(name, "Error")}","code":"{name.lower()}"}}\n'


class Fragment(msgspec.Struct, kw_only=True):
    """What a role adds: lines of squid.conf."""

    lines: str


class Squid:
    """See the module."""

    name = "squid"

    def binary(self) -> Binary:
        return binaries.find("squid", commands=("squid",), install="apt-get install squid")

    def version(self) -> str:
        return binaries.version(self.binary().path, "-v")

    def processes(self, unit: Unit, context: Context) -> list[Process]:
        (role,) = unit.roles
        fragment: Fragment = system(role.slot, role.system).contribute(role, context)
        folder, hops = context.folder(unit.id), str(context.hops(role.id))
        config = folder / "squid.conf"
        host, port = context.address(role.id, "http")
        argv = (self.binary().path, "-N", "-f", str(config))
        return [
            Process(
                name=unit.id,
                engine=self.name,
                argv=argv,
                cwd=str(folder),
                region=unit.region,
                zone=unit.zone,
                roles=(role.id,),
                files={
                    str(config): fragment.lines,
                    **{str(folder / ERRORS / f"ERR_{name}"): _page(name) for name in _NAMES},
                },
                folders=(str(folder), str(folder / ERRORS)),
                writes=(hops,),
                unprivileged=True,
                check=(self.binary().path, "-k", "parse", "-f", str(config)),
                ready=Probe(kind="tcp", target=f"{host}:{port}"),
                alive=Probe(
                    kind="say",
                    target=f"{host}:{port}",
                    say=f"{ALIVE} / HTTP/1.0\r\nHost: squid\r\n\r\n".encode(),
                    expect=b"HTTP/1.1 403",
                ),
                reload="HUP",
                stop_signal="TERM",
                stop_timeout=3.0,
            )
        ]


ENGINE = Squid()
