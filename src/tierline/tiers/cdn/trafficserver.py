"""cdn.trafficserver: points of presence whose copies Traffic Server keeps, with HAProxy before and behind it.

No client may reach Traffic Server directly: it takes malformed requests for good ones (see cache.trafficserver).
"""

from __future__ import annotations

from tierline.engines.context import Context
from tierline.engines.haproxy.front import ENDPOINTS
from tierline.engines.trafficserver import purges
from tierline.engines.trafficserver.config import Cache, files
from tierline.engines.trafficserver.engine import Fragment
from tierline.plan.model import Role, Upstream
from tierline.tiers.base import System
from tierline.tiers.cache.tier import Purge
from tierline.tiers.cdn.common.places import front
from tierline.tiers.cdn.tier import FEATURES

_MEMORY = 32 << 20


class TrafficServerCDN(System):
    title = "Apache Traffic Server"
    engine = "trafficserver"
    origin = "nginx"
    levels = frozenset({"runs"})
    supports = frozenset(FEATURES) - {"stale_while_revalidate"}
    lacks = {
        "stale_while_revalidate": "Traffic Server doesn't know it; use cdn=nginx or cdn=varnish",
        "gzip-short": "HAProxy 2.8, which compresses for it, has no least length; cdn=nginx and cdn=varnish have",
        "part-first": "who asks for a part first gets the whole, if that is what the origin sends; later ones get parts",
    }
    endpoints = dict(ENDPOINTS)

    def contribute(self, role: Role, context: Context) -> Fragment:
        settings = role.settings
        cache = Cache(
            label=role.region,
            mode="front",
            endpoint="store",
            key="Host,X-Tl-Key",
            memory=_MEMORY,
            obey=False,
            stale_if_error=settings["stale_if_error"],
        )
        behind = (Upstream(role.id, "behind", 0),)
        return Fragment(
            files=files(cache, role, behind, context),
            disk=settings["size"],
            front=front(role, context, gzip=True),
        )

    def purge(self, role: Role, context: Context, order: Purge) -> int:
        return purges.purge(context.folder(context.unit_of(role.id)), order)
