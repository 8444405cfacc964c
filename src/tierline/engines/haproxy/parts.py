"""Pieces of haproxy.cfg that several roles need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tierline.engines.certificates import CHALLENGE, shown
from tierline.engines.context import Context
from tierline.engines.haproxy.forwarded import proven
from tierline.plan.bypass import rules
from tierline.plan.model import Role, Upstream


def bundle(role: Role, context: Context) -> tuple[Path, dict[str, str], str]:
    """Certificate chain and key in one file, as HAProxy wants them; the file's text when it is renewed while
    HAProxy runs, and the thumbprint that answers challenges."""
    found = shown(role, context)
    if found.chain == found.key and not found.thumbprint:
        return found.chain, {}, ""
    path = context.folder(context.unit_of(role.id)) / f"{role.id}.pem"
    if found.thumbprint:
        return path, {str(path): found.pem}, found.thumbprint
    path.touch(mode=0o600)
    path.write_text(found.pem)
    return path, {}, ""


def door(role: Role, context: Context, endpoint: str) -> Path:
    """The same for another endpoint of a role, with a certificate of the local authority."""
    host, _ = context.address(role.id, endpoint)
    domain = context.plan.domain
    chain, key = context.certificate(domain, f"*.{domain}", "localhost", host)
    path = context.folder(context.unit_of(role.id)) / f"{role.id}.{endpoint}.pem"
    path.touch(mode=0o600)
    path.write_text(chain.read_text() + key.read_text())
    return path


def challenge(thumbprint: str) -> str:
    """Frontend rules that answer an ACME authority (RFC 8555, 8.3), before anything is refused or sent on to TLS."""
    if not thumbprint:
        return ""
    token = "[A-Za-z0-9_-]+"  # noqa: S105  what a token looks like
    return f"""\
    acl challenged path -m reg ^{CHALLENGE}{token}$
    http-request return status 200 content-type text/plain lf-string "%[path,field(-1,/)].{thumbprint}" if challenged
"""


def strip(role: Role, context: Context) -> str:
    """Of a balancer that sends requests past the cache: what would end at the cache ends here, whichever way. Of requests
    it has ended already (forwarded.py)."""
    if not rules(role):
        return ""
    inner = any(other.tier == "cdn" for other in context.plan.roles.values())
    return "" if inner else "    http-after-response del-header surrogate-key\n"


def hosts(names: Sequence[str]) -> str:
    """An ACL's criterion: the host is one of the names, `*.` before one for all below it."""
    patterns = "|".join(
        name.replace(".", "\\.").replace("*\\.", "([a-z0-9-]+\\.)+") if name.startswith("*.") else
        name.replace(".", "\\.")
        for name in names
    )  # fmt: skip
    return f"req.hdr(host),host_only,lower -m reg ^({patterns})\\.?$"


def servers(targets: Sequence[Upstream], context: Context, settings: Mapping[str, Any]) -> str:
    """Server lines: the nearest first, the others as backup where the zone matters; weight out of 100, as a
    part of a default weight of 1 would be 0."""
    lines = [proven(targets, context), f"    default-server {server_options(settings)}\n"]
    nearest = min(target.distance for target in targets)
    if settings.get("zone_aware", True):
        lines.append("    option allbackups\n")
    for target in targets:
        host, port = context.address(target.role, target.endpoint)
        weights = settings.get("weights") or {}
        weight = weights.get(context.plan.roles[target.role].zone, 100)
        backup = " backup" if settings.get("zone_aware", True) and target.distance > nearest else ""
        cookie = f" cookie {target.role}" if settings.get("sticky") else ""
        lines.append(f"    server {target.role} {host}:{port} weight {weight}{cookie}{backup}\n")
    return "".join(lines)


def server_options(settings: Mapping[str, Any]) -> str:
    """What every server of a backend has. An instance that took no connection three times in a row, or in two checks,
    is out until a check succeeds; what it answers never counts."""
    interval = int(settings.get("health_interval", 0.5) * 1000)
    found = f"check inter {interval}ms fastinter {min(100, interval)}ms fall 2 rise 1 \
observe layer4 error-limit 3 on-error mark-down"
    if settings.get("slow_start"):
        found += f" slowstart {int(settings['slow_start'] * 1000)}ms"
    if settings.get("per_instance"):
        found += f" maxconn {settings['per_instance']}"
    if settings.get("h2c"):
        found += " proto h2 check-proto h2"
    return found


def mails(role: Role, context: Context, crt: Path) -> str:
    """TLS ends here, and what is inside goes to the inbox as it is; one that doesn't greet gets nothing."""
    (inbox,) = role.upstreams[role.settings["mail"]]
    found = ""
    for endpoint, check in (
        ("smtps", "option smtpchk EHLO tierline"),
        ("imaps", "option tcp-check\n    tcp-check expect string *\\ OK"),
        ("pop3s", "option tcp-check\n    tcp-check expect string +OK"),
    ):
        host, port = context.address(role.id, endpoint)
        behind, behind_port = context.address(inbox.role, endpoint.removesuffix("s"))
        name = f"{role.id.replace('.', '-')}-{endpoint}"
        found += f"""\
frontend {name}
    mode tcp
    bind {host}:{port} ssl crt {crt}
    maxconn {role.settings["max_connections"]}
    no log
    # Longer than the inbox waits itself: half an hour over IMAP (RFC 3501, 5.4).
    timeout client 31m
    default_backend {name}

backend {name}
    mode tcp
    timeout server 31m
    {check}
    server {inbox.role} {behind}:{behind_port} check inter {int(role.settings["health_interval"] * 1000)}ms fall 2 rise 1

"""
    return found
