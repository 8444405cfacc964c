"""cache.trafficserver: the shared HTTP cache on Apache Traffic Server."""

from __future__ import annotations

from tierline.engines.context import Context
from tierline.engines.trafficserver.engine import Fragment
from tierline.plan.model import Role
from tierline.tiers.base import System


class TrafficServerCache(System):
    title = "Apache Traffic Server"
    engine = "trafficserver"
    levels = frozenset({"runs"})
    supports = frozenset(
        {"freshness", "validation", "vary", "collapsing", "ranges", "invalidation", "client_control"}
    )
    lacks = {
        "stale_while_revalidate": "Traffic Server doesn't know it; use varnish or nginx",
        "stale_if_error": "Traffic Server doesn't know it; use varnish or nginx",
        "fragments": "not set up; use varnish",
        "purge_path": "Traffic Server purges one URL at a time, no queries; use varnish or nginx",
        "purge_prefix": "Traffic Server purges one URL at a time; use varnish or nginx",
        "purge_tag": "Traffic Server knows no tags; use varnish or nginx",
        # Of the table of RFC 9111, by the names in tests/contract/cache:
        "smuggle-cl-te": "Traffic Server believes the chunks and goes on: no client may reach it directly",
        "smuggle-te-tab": "Traffic Server unfolds Transfer-Encoding and goes on: no client may reach it directly",
        "must-understand": "Traffic Server doesn't know must-understand",
        "authorization-public": "answers to credentials are never kept here",
        "authorization-s-maxage": "answers to credentials are never kept here",
        "authorization-must-revalidate": "answers to credentials are never kept here",
        "hop-named": "Traffic Server passes on fields that Connection names",
        "hop-request-named": "Traffic Server passes on fields that Connection names",
        "vary-lines": "Traffic Server looks at one line of Vary",
        "collapsed-not-private": "who waits while the first answer is written may get it, private or not",
        "stale-if-error": "Traffic Server doesn't know stale-if-error",
        "stale-if-error-gone": "Traffic Server doesn't know stale-if-error",
        "stale-while-revalidate": "Traffic Server doesn't know stale-while-revalidate",
        "invalidate-patch": "Traffic Server invalidates after POST, PUT and DELETE alone",
        "invalidate-unknown": "Traffic Server invalidates after POST, PUT and DELETE alone",
        "invalidate-variants": "Traffic Server invalidates one variant",
        "invalidate-location": "Traffic Server doesn't look at Location",
        "invalidate-content-location": "Traffic Server doesn't look at Content-Location",
    }
    endpoints = {"http": "http"}

    def contribute(self, role: Role, context: Context) -> Fragment:
        settings = role.settings
        host, port = context.address(role.id, "http")
        (targets,) = list(role.upstreams.values())[:1]
        addresses = [context.address(target.role, target.endpoint) for target in targets]
        entry = all(other.tier != "cdn" for other in context.plan.roles.values())
        first = f"http://{addresses[0][0]}:{addresses[0][1]}/"
        records = {
            "http.server_ports": f"STRING {port}:ip-in={host}",
            "admin.user_id": "STRING #-1",
            "exec_thread.autoconfig": "INT 0",
            "exec_thread.limit": "INT 4",
            "cache.ram_cache.size": f"INT {settings['memory']}",
            "url_remap.pristine_host_hdr": "INT 1",
            "url_remap.remap_required": "INT 1",
            "http.cache.http": "INT 1",
            "http.cache.required_headers": "INT 0",
            "http.cache.max_stale_age": "INT 0",
            "http.cache.heuristic_min_lifetime": "INT 0",
            "http.cache.ignore_client_cc_max_age": f"INT {int(not settings['client_control'])}",
            "http.cache.ignore_client_no_cache": f"INT {int(not settings['client_control'])}",
            "http.cache.ims_on_client_no_cache": "INT 0",
            "http.cache.cache_responses_to_cookies": "INT 1",
            "http.server_session_sharing.match": "STRING none",
            "http.cache.open_write_fail_action": "INT 0",
            "cache.enable_read_while_writer": "INT 1",
            "http.background_fill_active_timeout": "INT 0",
            "http.background_fill_completed_threshold": "FLOAT 0.0",
            "http.insert_age_in_response": "INT 1",
            "http.insert_request_via_str": "INT 1",
            "http.insert_response_via_str": "INT 0",
            "http.insert_squid_x_forwarded_for": "INT 0",
            "http.response_server_enabled": "INT 0",
            "http.negative_caching_enabled": "INT 0",
            "http.transaction_no_activity_timeout_in": "INT 10",
            "http.request_header_max_size": "INT 32768",
            "http.parent_proxy.connect_attempts_timeout": "INT 2",
            "http.connect_attempts_timeout": "INT 30",
            "http.connect_attempts_max_retries": "INT 1",
            "http.connect_attempts_rr_retries": "INT 1",
            "http.strict_uri_parsing": "INT 1",
            "log.logging_enabled": "INT 2",
            "log.max_secs_per_buffer": "INT 1",
            "log.periodic_tasks_interval": "INT 1",
            "log.rolling_enabled": "INT 0",
            "log.max_space_mb_for_logs": "INT 1000",
            "log.max_space_mb_headroom": "INT 10",
            "log.auto_delete_rolled_files": "INT 0",
        }
        place = role.zone or role.region
        hop = (
            '{"f":"%<{X-Tl-F}cqh>","s":%<pssc>,"t":"%<{X-Tl-T}cqh>","i":"%<{X-Tl-S}cqh>","p":"%<{X-Tl-P}cqh>",'
            f'"T":"cache","y":"trafficserver","z":"{place}","E":%<cqtq>,"D":%<ttms>e-3,"q":1000,"v":"%<crc>",'
            '"n":"%<cqhm> /%<cqup>","a":{"http.response.body.size":%<pscl>}}'
        )
        files = {
            "records.config": "".join(
                f"CONFIG proxy.config.{name} {value}\n" for name, value in records.items()
            ),
            "remap.config": f"map / {first} @plugin=tslua.so @pparam=/proc/self/cwd/etc/cache.lua "
            f"@pparam={'entry' if entry else 'inner'} @plugin=cachekey.so @pparam=--include-headers=Host,X-Forwarded-Proto\n",
            "logging.yaml": f"logging:\n  formats:\n    - name: hop\n      format: '{hop}'\n  logs:\n"
            f"    - filename: {context.hops(role.id).name}\n      format: hop\n      mode: ascii\n",
        }
        return Fragment(files=files, disk=settings["disk"], entry=entry)
