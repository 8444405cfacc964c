"""A balancer that sends requests past the cache behind it, when that said so (plan/past.py).

What the cache would do to them on their way is done here: fields that end at a cache are taken out, `Via` and
`Cache-Status` say who was in charge, and a host is written in one way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tierline.engines.context import Context
from tierline.engines.haproxy.parts import servers
from tierline.engines.unkeyed import UNKEYED
from tierline.plan.model import Role, Upstream
from tierline.plan.past import HEADER, SECONDS
from tierline.tiers.base import system

HOP = ',"k":"%[var(txn.past)]"'
"""The member of a hop that says whom it passed by: a hop of its own (trips/normalise.py)."""
_FIELDS = "|".join(["te", "upgrade", "keep-alive", "proxy-connection", *(name.lower() for name in UNKEYED)])
"""What nginx.config.pass_on() takes out of a request."""
_ENDING = "server|x-tierline-(born|control|past)|x-accel-.*"
"""What ends at a cache in an answer."""


def rules(name: str, cache: Role) -> str:
    """Frontend rules: a request's URL is looked up among those of which the cache said that it keeps nothing. Answers
    to credentials are a matter of their own."""
    asked = "pathq,concat(' ',txn.host),concat(,txn.who),sha1"
    return f"""\
    http-request set-var(txn.host) req.hdr(host),host_only,lower
    http-request set-var(txn.who) str(\\ a) if {{ req.hdr(authorization) -m found }}
    http-request set-var(txn.url) {asked} if {{ method GET HEAD }}
    acl simple req.hdr(cache-control),lower -m sub only-if-cached
    http-request set-var(txn.past) str("{cache.tier} {cache.system}") if {{ var(txn.url),in_table({name}-past) }} \
!simple !{{ req.hdr(upgrade) -m found }} {{ req.body_size 0 }} {{ nbsrv({name}-past) gt 0 }}
    use_backend {name}-past if {{ var(txn.past) -m found }}
"""


def learning(name: str) -> str:
    """Rules of the backend whose answers tell."""
    return f"""\
    http-response track-sc0 var(txn.url) table {name}-past if {{ res.hdr({HEADER}) -m found }}
    http-response del-header {HEADER}
"""


def backend(
    name: str, like: str, targets: Sequence[Upstream], context: Context, settings: Mapping[str, Any]
) -> str:
    """Who stands behind the cache, and what is known. like: lines of how the cache itself is chosen and checked."""
    ends = "" if any(role.tier == "cdn" for role in context.plan.roles.values()) else "surrogate-key|"
    behind = [context.plan.roles[target.role] for target in targets]
    # Requests that come at once share a connection: fewer reads and writes on both sides of it.
    together = all(system(role.slot, role.system).h2c for role in behind)
    return f"""
backend {name}-past
    stick-table type binary len 20 size 32k expire {SECONDS}s
{like}\
    http-request set-header Host %[var(txn.host)]
    http-request del-header ^({_FIELDS})$ -m reg
    http-request set-header Via "%[req.fhdr(via)], 1.1 tierline" if {{ req.hdr(via) -m found }}
    http-request set-header Via "1.1 tierline" unless {{ req.hdr(via) -m found }}
    http-response del-header ^({ends}{_ENDING})$ -m reg
    http-response set-header Cache-Status "tierline-cache; fwd=bypass"
{servers(targets, context, {**settings, "h2c": together})}"""
