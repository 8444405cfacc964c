"""Mail through Envoy: TLS ends here, and what is inside goes to the inbox as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tierline.engines.context import Context
from tierline.engines.envoy import tls
from tierline.engines.envoy.clusters import cluster
from tierline.engines.target import Target
from tierline.plan.model import Role

_PROXY = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
_GREETINGS = {"smtps": b"220", "imaps": b"* OK", "pop3s": b"+OK"}


def mail(
    role: Role, context: Context, chain: Path, key: Path, secret: Path | None = None
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Listeners and clusters; an inbox that doesn't greet gets nothing."""
    listeners, clusters = [], []
    (inbox,) = role.upstreams[role.settings["mail"]]
    interval = f"{role.settings['health_interval']:g}s"
    for endpoint, greeting in _GREETINGS.items():
        host, port = context.address(role.id, endpoint)
        behind, behind_port = context.address(inbox.role, endpoint.removesuffix("s"))
        name = f"{inbox.role}-{endpoint}"
        check = {
            "timeout": "1s",
            "interval": interval,
            "no_traffic_interval": interval,
            "unhealthy_threshold": 2,
            "healthy_threshold": 1,
            "tcp_health_check": {"receive": [{"text": greeting.hex()}]},
        }
        clusters.append(
            cluster(
                name,
                [Target(name=inbox.role, host=behind, port=behind_port)],
                health_checks=[check],
                # Without a living inbox nobody is connected.
                common_lb_config={"healthy_panic_threshold": {"value": 0}},
            )
        )
        # Longer than the inbox waits itself: half an hour over IMAP (RFC 3501, 5.4).
        proxy = {"@type": _PROXY, "stat_prefix": name, "cluster": name, "idle_timeout": "1860s"}
        filters = [{"name": "envoy.filters.network.tcp_proxy", "typed_config": proxy}]
        listeners.append(
            {
                "name": f"{role.id}.{endpoint}",
                "address": {"socket_address": {"address": host, "port_value": port}},
                "filter_chains": [
                    {
                        "filters": filters,
                        "transport_socket": tls.downstream(chain, key, (), secret=secret),
                        "transport_socket_connect_timeout": "10s",
                    }
                ],
            }
        )
    return listeners, clusters
