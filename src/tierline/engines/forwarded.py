"""Who asked, and where: the fields by which the first tier of a line describes its client (RFC 7239 and its forerunners).

    client ──▶ first tier: replaces all of them by what it sees ──▶ the others pass them on ──▶ service

`Host` goes on as the client sent it. The fields describe one connection, the client's:

    X-Forwarded-For    its address
    X-Forwarded-Proto  `http` or `https`
    X-Forwarded-Host   the authority that it asked for, as `Host` has it (RFC 9112, 3.2.2: an absolute request target first)
    X-Forwarded-Port   the port of that authority, or the scheme's own
    Forwarded          the same as for=, host= and proto=

Behind a CDN the next tier's port is open to every program of this machine. It believes these fields only with the
places' secret in PLACE, which nobody else knows; else it is the first tier of that request itself. Workers believe
them with the line's secret in LINE, and are else the only tier that there is.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # workers read this module, and none of those
    from tierline.engines.context import Context
    from tierline.plan.model import Plan, Role, Upstream

FIELDS = ("X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port", "Forwarded")
"""What the first tier sets."""


def _underscored(name: str) -> list[str]:
    first_, *rest = name.split("-")
    found = [first_]
    for word in rest:
        found = [f"{begun}{sign}{word}" for begun in found for sign in "-_"]
    return [each for each in found if "_" in each]


UNDERSCORED = tuple(spelt for name in FIELDS for spelt in _underscored(name))
"""The same names to CGI and WSGI, which know no hyphens; for engines that don't take out every name with an underscore."""

PLACE = "X-Tl-Place"
"""With the secret `cdn.place`: the request comes from a place of the line's CDN. Ends at the tier that compares it."""
LINE = "X-Tl-Line"
"""With the secret PROOF: the request comes through the line. Only workers get it, and keep it from applications."""
PROOF = "line.proof"

HOST = r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~-]+)(:[0-9]{0,5})?"
"""A name of DNS or an address, and perhaps a port (RFC 9110, 7.2): what else comes is refused with 400."""


def proof(targets: Iterable[Upstream], context: Context) -> str:
    """What requests to these targets have in LINE: the line's secret where they are workers, else nothing."""
    from tierline.tiers.base import system

    behind = [context.plan.roles[target.role] for target in targets]
    believing = behind and all(system(role.slot, role.system).believes_line(role.settings) for role in behind)
    return context.secret(PROOF) if believing else ""


def first(role: Role, plan: Plan) -> bool:
    """Whether clients connect to this role."""
    return role.id in plan.entry


def behind_places(role: Role, plan: Plan) -> bool:
    """Whether places of the line's CDN send requests to this role, which isn't one of them."""
    return role.tier != "cdn" and any(
        target.role == role.id
        for other in plan.roles.values()
        if other.tier == "cdn" and other.part != "origin"
        for targets in other.upstreams.values()
        for target in targets
    )
