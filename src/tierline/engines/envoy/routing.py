"""Routes as Envoy writes them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

RETRY = {
    "retriable_status_codes": [503],
    "retry_back_off": {"base_interval": "0.01s", "max_interval": "0.2s"},
    "host_selection_retry_max_attempts": 3,
    # The first try again is in another zone: the own one may be gone as a whole.
    "retry_priority": {
        "name": "envoy.retry_priorities.previous_priorities",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.retry.priority.previous_priorities.v3."
            "PreviousPrioritiesConfig",
            "update_frequency": 1,
        },
    },
    "retry_host_predicate": [
        {
            "name": "envoy.retry_host_predicates.previous_hosts",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
            },
        }
    ],
}


def retry(times: int, safe: bool, statuses: bool = False) -> dict[str, Any]:
    """The retry policy of a route: never for what an instance may have seen, unless the method is safe, when a
    broken connection may be tried elsewhere. statuses: and a 503, where services stand behind."""
    unseen = "connect-failure,refused-stream,reset-before-request"
    more = (",reset" + ",retriable-status-codes" * statuses) * safe
    return {**RETRY, "num_retries": times, "retry_on": unseen + more}


def matching(
    path: str, how: str, pattern: str, *, methods: Sequence[str] = (), hosts: Sequence[str] = (),
    headers: Mapping[str, str] = {},
) -> dict[str, Any]:  # fmt: skip
    """A route's match. how: `exact`, `prefix` (by whole segments) or `template` (the pattern)."""
    found: dict[str, Any] = {"path": path} if how == "exact" else {"path_separated_prefix": path}
    if path == "/" and how == "prefix":
        found = {"prefix": "/"}
    if how == "template":
        found = {"safe_regex": {"regex": pattern}}
    conditions = [{"name": name, "string_match": {"exact": value}} for name, value in headers.items()]
    if methods:
        conditions.append(_regex(":method", "|".join(methods)))
    if hosts:
        names = "|".join(re.escape(host).replace("\\*", "[^.]+").replace("\\-", "-") for host in hosts)
        conditions.append(_regex(":authority", f"({names})(:[0-9]+)?"))
    return {**found, **({"headers": conditions} if conditions else {})}


def document(path: str, text: str) -> dict[str, Any]:
    """A route that answers with a JSON document itself."""
    said = {"content-type": "application/json", "cache-control": "max-age=60"}
    return {
        "name": "openapi",
        "match": {"path": path, "headers": [_regex(":method", "GET|HEAD")]},
        "direct_response": {"status": 200, "body": {"inline_string": text}},
        **changes({}, said),
    }


def _regex(name: str, regex: str) -> dict[str, Any]:
    return {"name": name, "string_match": {"safe_regex": {"regex": regex}}}


def changes(request: Mapping[str, str | None], response: Mapping[str, str | None]) -> dict[str, Any]:
    """Headers that a route or virtual host sets and removes."""
    found: dict[str, Any] = {}
    for kind, given in (("request", request), ("response", response)):
        put = [
            {
                "header": {"key": name.lower(), "value": value},
                "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
            }
            for name, value in given.items()
            if value is not None
        ]
        gone = [name.lower() for name, value in given.items() if value is None]
        if put:
            found[f"{kind}_headers_to_add"] = put
        if gone:
            found[f"{kind}_headers_to_remove"] = gone
    return found
