"""Load balancer: terminates TLS and spreads requests over the zones."""

from __future__ import annotations

from typing import Literal

from tierline.intent import Duration, Intent, setting


class LoadBalancer(Intent):
    """Terminates TLS with HTTP/2, checks what stands behind it, and balances over it."""

    balance: Literal["round_robin", "least_request", "consistent_hash"] = setting(
        "How a zone is chosen when several are near.", default="round_robin"
    )
    health: str | None = setting("Path of the active health check; default: connect only.", default=None)
    health_interval: Duration = setting("Between two health checks.", default="500ms", above=0.1)
    zone_aware: bool = setting("Prefer the own zone, spill over when it is down.", default=True)
    redirect_http: bool = setting("Answer plain HTTP with a redirect to HTTPS.", default=False)
    hsts: Duration | None = setting("Strict-Transport-Security max-age.", default=None)
    max_connections: int = setting("Connections at once.", default=4096, above=1)
    raw: str | None = setting(
        "Engine configuration added as it is (HAProxy: into the frontend).", default=None
    )

    def features(self) -> dict[str, str]:
        """What this intent asks of its system, by feature, with the field that asks for it."""
        asked = {
            "tls": "LoadBalancer()",
            "http2": "LoadBalancer()",
            self.balance: f"balance={self.balance!r}",
        }
        if self.health is not None:
            asked["active_health"] = f"health={self.health!r}"
        if self.zone_aware:
            asked["zone_aware"] = "zone_aware=True"
        if self.hsts is not None:
            asked["hsts"] = "hsts="
        if self.redirect_http:
            asked["redirect_http"] = "redirect_http=True"
        return asked
