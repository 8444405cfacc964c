"""Envoy's listeners: what a connection goes through before its requests meet the filters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from tierline.engines.context import Context
from tierline.engines.envoy import budget
from tierline.engines.envoy.connection import script
from tierline.engines.envoy.filters import live, ordered
from tierline.engines.envoy.hops import access_logs
from tierline.engines.forwarded import FIELDS, PLACE, first
from tierline.engines.unkeyed import UNKEYED
from tierline.plan.budgets import held
from tierline.plan.model import Role, Upstream
from tierline.plan.placement import PLACES

_TYPE = "type.googleapis.com/envoy.extensions."

HTTP1 = {"allow_chunked_length": False, "allow_custom_methods": True}
"""Both framings are refused; which methods there are, the routes and the services know."""


class Bind(msgspec.Struct, kw_only=True):
    """One endpoint that a role listens on."""

    endpoint: str = "http"
    tls: dict[str, Any] | None = None
    """The transport socket, where TLS ends."""
    filters: list[dict[str, Any]] = []
    """Listener filters, before the first byte of HTTP."""
    network: list[dict[str, Any]] = []
    """Network filters before the HTTP manager."""
    entry: bool = False
    """Clients come here directly, whatever stands before the role's other endpoints."""
    places: str = ""
    """Only who shows this secret comes in here: places of the line's CDN, which say who their client is."""
    quic: dict[str, Any] | None = None
    """The QUIC transport socket: HTTP/3 on the same port over UDP."""


class Fragment(msgspec.Struct, kw_only=True):
    """What a role adds: listeners with their filters and routes, and clusters."""

    role: Role
    filters: list[dict[str, Any]]
    virtual_hosts: list[dict[str, Any]]
    clusters: list[dict[str, Any]]
    local_reply: dict[str, Any] = {}
    owns: bool = False
    """Whether it has limits of its own: a balancer that plays its gateway says those in its own words, else the gateway's."""
    routing: dict[str, Any] = {}
    """Fields of the route configuration that differ from ours."""
    manager: dict[str, Any] = {}
    """Fields of the HTTP connection manager that differ from ours."""
    binds: list[Bind] = msgspec.field(default_factory=lambda: [Bind()])
    secrets: dict[str, list[dict[str, Any]]] = {}
    """Files of secrets, by path."""
    certificates: dict[str, str] = {}
    """Watched files with certificates that are renewed: path → text."""
    sections: list[dict[str, Any]] = []
    """Whole listeners, such as a TCP proxy's."""
    stripped: tuple[str, ...] = ()
    """Request fields that end here, besides those that end everywhere."""
    passes: Mapping[str, Sequence[Upstream]] = {}
    """By cluster its targets, where the role hands requests on as they are, to the nearest of them (merging.py)."""
    borrowed: list[tuple[str, dict[str, Any]]] = []
    """Filters of another role, by its id, that routes switch on."""
    plays: Role | None = None
    """The role whose hops this one's manager reports, too, of the requests that it answers in its place."""


def watched(path: Path) -> dict[str, Any]:
    """A file that Envoy re-reads when it is replaced by a rename, it alone: reading a limit again that has
    not changed would fill its bucket up."""
    return {"resource_api_version": "V3", "path_config_source": {"path": str(path)}}


def policy_file(folder: Path, role: str, name: str) -> Path:
    """Where the configuration of a live filter is."""
    return folder / f"policy-{role}-{name.removeprefix('envoy.filters.http.')}.json"


def listeners(fragment: Fragment, context: Context, folder: Path) -> list[dict[str, Any]]:
    """The listeners of one role."""
    found = []
    for bind in binds(fragment, context):
        host, port = context.address(fragment.role.id, bind.endpoint)
        chain: dict[str, Any] = {
            "filters": [*bind.network, _manager(fragment, context, folder, bind)],
        }
        if bind.tls is not None:
            chain["transport_socket"] = bind.tls
        name = fragment.role.id if bind.endpoint == "http" else f"{fragment.role.id}.{bind.endpoint}"
        found.append(
            {
                "name": name,
                "address": {"socket_address": {"address": host, "port_value": port}},
                "per_connection_buffer_limit_bytes": 1 << 20,
                "listener_filters": bind.filters,
                # A stranger who says nothing keeps no connection.
                "listener_filters_timeout": "5s",
                "filter_chains": [chain],
            }
        )
        if bind.quic is not None:
            found.append(
                {
                    "name": f"{name}.quic",
                    "address": {"socket_address": {"protocol": "UDP", "address": host, "port_value": port}},
                    "udp_listener_config": {"quic_options": {}, "downstream_socket_config": {}},
                    "filter_chains": [
                        {
                            "filters": [_manager(fragment, context, folder, bind, quic=True)],
                            "transport_socket": bind.quic,
                        }
                    ],
                }
            )
    return found + fragment.sections


def _manager(
    fragment: Fragment, context: Context, folder: Path, bind: Bind, quic: bool = False
) -> dict[str, Any]:
    role = fragment.role
    own = held(context.plan, role)
    entry = bind.entry or first(role, context.plan)
    owners = {each["name"]: owner for owner, each in fragment.borrowed}
    filters = ordered(
        [*fragment.filters, *(each for _, each in fragment.borrowed), script(entry)]
        + ([_only(bind.places)] if bind.places else [])
    )
    # What only this line may say is taken from strangers before any filter reads it; at the entry, where
    # the request comes from is what the socket says, not what the client says.
    stripped: list[dict[str, Any]] = [
        {"remove_on_match": {"key_matcher": {"prefix": prefix}}} for prefix in ("x-tierline-", "x-envoy-")
    ]
    stripped += [{"remove": name} for name in fragment.stripped]
    if entry:
        stripped += [{"remove": name.lower()} for name in (*FIELDS, *UNKEYED, PLACE, "x-request-id")]
    # What a request came through (RFC 9110, 7.6.3).
    via = {
        "header": {"key": "via", "value": "%PROTOCOL% tierline"},
        "append_action": "APPEND_IF_EXISTS_OR_ADD",
    }
    stripped.append({"append": via})
    manager: dict[str, Any] = {
        "@type": _TYPE + "filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": role.id,
        "codec_type": "HTTP3" if quic else "AUTO",
        "server_header_transformation": "PASS_THROUGH",
        # Behind the entry, the tiers in front have said who the client is; only they reach this port.
        "use_remote_address": entry,
        # Envoy's own way would name this machine's address for a client on loopback.
        "skip_xff_append": True,
        "generate_request_id": entry,
        # What a policy matches is what a service gets: a route refuses other spellings (plan/paths.py).
        "normalize_path": False,
        "merge_slashes": False,
        "path_with_escaped_slashes_action": "KEEP_UNCHANGED",
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        **budget.manager(own),
        "common_http_protocol_options": {
            "idle_timeout": "75s",
            "max_headers_count": own.field_count,
            "headers_with_underscores_action": "REJECT_REQUEST",
        },
        # Trailers go on, gRPC's status among them.
        "http_protocol_options": {**HTTP1, "enable_trailers": True},
        # Interim answers go on: 103, and the service's own 100.
        "proxy_100_continue": True,
        # As Envoy's advice for edges: what one client may have stored here is bounded.
        "http2_protocol_options": {
            "max_concurrent_streams": 256,
            "initial_stream_window_size": 1 << 16,
            "initial_connection_window_size": 1 << 20,
        },
        "early_header_mutation_extensions": [
            {
                "name": "envoy.http.early_header_mutation.header_mutation",
                "typed_config": {
                    "@type": _TYPE + "http.early_header_mutation.header_mutation.v3.HeaderMutation",
                    "mutations": stripped,
                },
            }
        ],
        "rds": {
            "route_config_name": role.id,
            "config_source": watched(folder / f"routes-{role.id}.json"),
        },
        "http_filters": [_filter(each, role.id, folder, owners) for each in filters],
        "access_log": access_logs(role, context, fragment.plays),
        **({"local_reply_config": fragment.local_reply} if fragment.local_reply else {}),
        **fragment.manager,
    }
    return {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}


def binds(fragment: Fragment, context: Context) -> list[Bind]:
    """What a role listens on. Where places of a CDN have an endpoint of their own, clients have the others."""
    if all(each.name != PLACES for each in fragment.role.endpoints):
        return fragment.binds
    clients = [msgspec.structs.replace(each, entry=True) for each in fragment.binds]
    like = next((each for each in fragment.binds if each.endpoint == "https"), fragment.binds[0])
    secret = context.secret("cdn.place")
    return [*clients, msgspec.structs.replace(like, endpoint=PLACES, quic=None, places=secret)]


def _only(secret: str) -> dict[str, Any]:
    shown = {"header": {"name": PLACE.lower(), "string_match": {"exact": secret}}}
    rules = {"policies": {"places": {"permissions": [{"any": True}], "principals": [shown]}}}
    return {
        "name": "tierline.places",
        "typed_config": {"@type": _TYPE + "filters.http.rbac.v3.RBAC", "rules": rules},
    }


def _filter(each: dict[str, Any], role: str, folder: Path, owners: dict[str, str]) -> dict[str, Any]:
    """A filter as the listener names it: a live one by its file, a borrowed one switched off."""
    name = each["name"]
    off = {"disabled": True} if name in owners else {}
    if not live(name):
        return {**each, **off}
    return {
        "name": name,
        "config_discovery": {
            "config_source": watched(policy_file(folder, owners.get(name, role), name)),
            "type_urls": [each["typed_config"]["@type"]],
        },
        **off,
    }
