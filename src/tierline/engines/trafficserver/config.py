"""Traffic Server's configuration files for one cache."""

from __future__ import annotations

from typing import Any

import msgspec

from tierline.engines.context import Context
from tierline.engines.forwarded import behind_places, proof
from tierline.engines.forwarded import first as clients_first
from tierline.plan.budgets import held
from tierline.plan.model import Role, Upstream

_FIELDS = 10
"""Seconds for which a client may be silent while it sends a request's line and fields."""
SAMPLED = "sampled.jsonl"
"""In its folder of logs: hops of sampled requests, written at once."""
PURGES = "purges"
"""In the unit's folder: what was purged and when (engines/trafficserver/purges.py)."""


class Cache(msgspec.Struct, kw_only=True):
    """What one cache does."""

    label: str
    """Its name in Cache-Status."""
    mode: str
    """`entry` where clients come, `inner` behind another cache."""
    key: str
    """Headers that tell copies apart."""
    memory: int
    obey: bool
    """Whether a request's own Cache-Control counts."""
    raw: str = ""


def files(cache: Cache, role: Role, targets: tuple[Upstream, ...], context: Context) -> dict[str, str]:
    """The files of its configuration folder, by name."""
    host, port = context.address(role.id, "http")
    own = held(context.plan, role)
    records: dict[str, Any] = {
        "http.server_ports": f"STRING {port}:ip-in={host}",
        "admin.user_id": "STRING #-1",
        "exec_thread.autoconfig": "INT 0",
        "exec_thread.limit": "INT 4",
        "cache.ram_cache.size": f"INT {cache.memory}",
        "url_remap.pristine_host_hdr": "INT 1",
        "url_remap.remap_required": "INT 1",
        "http.cache.http": "INT 1",
        "http.cache.required_headers": "INT 0",
        "http.cache.max_stale_age": "INT 0",
        "http.cache.heuristic_min_lifetime": "INT 0",
        "http.cache.ignore_client_cc_max_age": f"INT {int(not cache.obey)}",
        "http.cache.ignore_client_no_cache": f"INT {int(not cache.obey)}",
        "http.cache.ims_on_client_no_cache": "INT 0",
        "http.cache.cache_responses_to_cookies": "INT 1",
        "http.server_session_sharing.match": "STRING none",
        "http.cache.open_write_fail_action": "INT 0",
        "cache.enable_read_while_writer": "INT 1",
        "http.background_fill_active_timeout": "INT 0",
        # What is under way is fetched to its end for the copy; others read while it is written only with 0.0.
        "http.background_fill_completed_threshold": "FLOAT 0.0",
        # A client that closes has left; it isn't waiting for its answer.
        "http.allow_half_open": "INT 0",
        "http.insert_age_in_response": "INT 1",
        # What it would say is the address of the tier in front.
        "http.insert_client_ip": "INT 0",
        "http.insert_request_via_str": "INT 1",
        "http.request_via_str": "STRING tierline",
        "proxy_name": "STRING tierline",
        "http.insert_response_via_str": "INT 0",
        "http.insert_squid_x_forwarded_for": "INT 0",
        "http.response_server_enabled": "INT 0",
        "http.negative_caching_enabled": "INT 0",
        "http.negative_revalidating_enabled": "INT 0",
        "http.negative_revalidating_lifetime": "INT 1",
        # Silence of a client before its fields are read (then remap.config sets the budget's), and of the next tier
        # within an answer.
        "http.transaction_no_activity_timeout_in": f"INT {_FIELDS}",
        "http.transaction_no_activity_timeout_out": f"INT {max(1, round(own.idle))}",
        "http.transaction_active_timeout_in": "INT 0",
        "http.transaction_active_timeout_out": "INT 0",
        "net.default_inactivity_timeout": f"INT {max(86400, round(own.idle))}",
        "http.request_header_max_size": f"INT {own.request_line + own.request_fields}",
        "http.response_header_max_size": f"INT {own.answer_fields}",
        "http.request_line_max_size": f"INT {max(65535, own.request_line)}",
        # For the next tier's answer to begin.
        "http.connect_attempts_timeout": f"INT {max(1, round(own.first_byte))}",
        "http.connect_attempts_max_retries": "INT 1",
        "http.connect_attempts_rr_retries": "INT 1",
        # Nobody is left out for long: on this machine who is dead says so at once. They are on the same address as
        # Traffic Server itself, and yet not itself.
        # Else methods that are never stored (OPTIONS, PATCH) would pass by who is next, and find nobody.
        "http.uncacheable_requests_bypass_parent": "INT 0",
        "http.parent_proxy.self_detect": "INT 0",
        "http.parent_proxy.disable_parent_markdowns": "INT 1",
        "http.parent_proxy.per_parent_connect_attempts": "INT 1",
        "http.parent_proxy.total_connect_attempts": "INT 4",
        "http.parent_proxy.connect_attempts_timeout": "INT 2",
        "http.strict_uri_parsing": "INT 1",
        "log.logging_enabled": "INT 2",
        "log.max_secs_per_buffer": "INT 1",
        "log.periodic_tasks_interval": "INT 1",
        "log.rolling_enabled": "INT 0",
        "log.max_space_mb_for_logs": "INT 1000",
        "log.max_space_mb_headroom": "INT 10",
        "log.auto_delete_rolled_files": "INT 0",
    }
    # What is mapped to this machine itself goes past every strategy; a single one needs none.
    first, strategy = "{}:{}".format(*context.address(targets[0].role, targets[0].endpoint)), ""
    if len(targets) > 1:
        # Methods that are never stored (OPTIONS, PATCH) have this looked up, though nobody is asked there: an address
        # is its own answer, and 127.0.0.1 only would be this machine itself.
        first, strategy = "127.0.0.2", "@strategy=next "
    place = role.zone or role.region
    same = f'"T":"{role.tier}","y":"trafficserver","z":"{place}"'
    who = "first" if clients_first(role, context.plan) else "kept"
    who = context.secret("cdn.place") if behind_places(role, context.plan) else who
    given = [cache.mode, cache.label, f"/proc/self/cwd/{PURGES}", who, f"={proof(targets, context)}"]
    given += [f"/proc/self/cwd/logs/{SAMPLED}", place]
    script = "".join(f" @pparam={each}" for each in ("/proc/self/cwd/etc/cache.lua", *given))
    return {
        "records.config": "".join(f"CONFIG proxy.config.{name} {value}\n" for name, value in records.items())
        + cache.raw,
        "remap.config": f"map / http://{first}/ {strategy}@plugin=tslua.so{script} "
        f"@plugin=cachekey.so @pparam=--include-headers={cache.key} "
        f"@plugin=conf_remap.so @pparam=proxy.config.http.transaction_no_activity_timeout_in={max(1, round(own.idle))}\n",
        **({"strategies.yaml": strategies(targets, context)} if strategy else {}),
        "cache.config": "",
        "logging.yaml": _logging(context.hops(role.id).name, same),
    }


def strategies(targets: tuple[Upstream, ...], context: Context) -> str:
    """Next hops: the paths are shared out among the nearest; then come the others. One that doesn't connect
    is left for the next one, and only for this request; what one answers never counts."""
    groups: dict[int, list[str]] = {}
    lines = ["hosts:"]
    for number, target in enumerate(targets):
        host, port = context.address(target.role, target.endpoint)
        lines += [f"  - &next{number}  # {target.role}", f"    host: {host}",
                  f"    hash_string: {target.role}", "    protocol:", "      - scheme: http",
                  f"        port: {port}"]  # fmt: skip
        groups.setdefault(target.distance, []).append(f"    - <<: *next{number}\n      weight: 1.0")
    lines.append("groups:")
    for distance, members in sorted(groups.items()):
        lines += [f"  - &distance{distance}", *members]
    lines += [
        "strategies:", "  - strategy: next", "    policy: consistent_hash", "    scheme: http", "    go_direct: false",
        "    parent_is_proxy: false", "    ignore_self_detect: true", "    groups:",
        *(f"      - *distance{distance}" for distance in sorted(groups)),
        "    failover:", "      ring_mode: alternate_ring", "      health_check: [passive]",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _logging(name: str, same: str) -> str:
    """Every request that isn't sampled: cache.lua writes those itself, at once."""
    hop = (
        '{"f":"%<{X-Tl-F}cqh>","s":%<pssc>,"t":"%<{X-Tl-T}cqh>","i":"%<{X-Tl-S}cqh>","p":"%<{X-Tl-P}cqh>",'
        f'{same},"E":%<cqtq>,"D":%<ttms>e-3,"q":1000,"v":"%<{{X-Tl-V}}cqh>",'
        '"n":"%<cqhm> /%<cqup>","a":{"http.response.body.size":%<pscl>}}'
    )
    return f"""\
logging:
  filters:
    - name: sampled
      action: REJECT
      condition: '{{X-Tl-F}}cqh MATCH 01'
    - name: alive
      action: REJECT
      condition: 'pssc MATCH 505'
  formats:
    - name: hop
      format: '{hop}'
  logs:
    - filename: {name}
      format: hop
      mode: ascii
      filters: [sampled, alive]
"""
