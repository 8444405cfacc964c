"""Envoy's access log as hops (trips/hop.py): text format, which costs a tenth less than `json_format`."""

from __future__ import annotations

from typing import Any

from tierline.engines.context import Context
from tierline.engines.envoy.callers import CONSUMER, SUBJECT
from tierline.engines.envoy.limits import POLICY
from tierline.plan.model import Role
from tierline.plan.scaling import measuring

_FILE = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"

MARK = "tierline.merged"
"""The filter that marks a request which skips the way to a gateway of the same process, and its metadata."""


def marked(yes: bool = True) -> dict[str, Any]:
    """A filter of access logs and replies: requests that skipped the way, or those that didn't."""
    matcher = {
        "filter": MARK,
        "path": [{"key": "short"}],
        # An access log ignores `invert`.
        "value": {"string_match": {"exact": "yes" if yes else "no"}},
    }
    return {"metadata_filter": {"matcher": matcher, "match_if_key_not_found": not yes}}


def access_logs(role: Role, context: Context, plays: Role | None = None) -> list[dict[str, Any]]:
    """The logs of one manager. plays: the gateway whose routes it has, too (merging.py)."""
    if plays is None:
        return _logs(role, context)
    # The balancer only passes such a request on, whatever the gateway does with it.
    return [
        *_logs(role, context, marked(False)),
        *_logs(role, context, marked(), "via_upstream"),
        *_logs(plays, context, marked()),
    ]


def _logs(
    role: Role, context: Context, only: dict[str, Any] | None = None, verdict: str = ""
) -> list[dict[str, Any]]:
    """A whole hop when sampled or failed, else a line that is only counted. only: what both must pass."""
    place = role.zone or role.region
    verdict = verdict or "%RESPONSE_CODE_DETAILS%"
    whole = (
        '{"f":"%REQ(traceparent):2%","s":%RESPONSE_CODE%,"tp":"%REQ(traceparent)%",'
        f'"T":"{role.tier}","y":"envoy","z":"{place}",'
        '"b":%START_TIME(%s%6f)%,"d":"%COMMON_DURATION(DS_RX_BEG:DS_TX_END:us)%",'
        f'"v":"{verdict}",'
        '"n":"%REQ(:METHOD)% %ROUTE_NAME%","a":{"server.address":"%UPSTREAM_HOST%",'
        '"envoy.response_flags":"%RESPONSE_FLAGS%","envoy.attempts":"%UPSTREAM_REQUEST_ATTEMPT_COUNT%",'
        '"http.response.body.size":%BYTES_SENT%,"network.protocol.version":"%PROTOCOL%"}'
    ).replace('"f":"%REQ(traceparent):2%"', '"f":"01"')
    counted = (
        '{"f":"00","s":%RESPONSE_CODE%,'
        + f'"T":"{role.tier}","y":"envoy","z":"{place}",'
        + f'"v":"{verdict}"'
    )
    answered = ""
    if measuring(role, context.plan):
        answered = ',"h":"%UPSTREAM_HOST%","l":"%COMMON_DURATION(US_TX_BEG:US_RX_END:us)%"'
    # Who asks comes last: see trips/hop.py.
    end = f',"r":"%ROUTE_NAME%","u":"%REQ({CONSUMER}?{SUBJECT}):80%"}}\n' if role.tier == "gateway" else "}\n"
    policy = f',"o":"%RESP({POLICY})%"' if role.tier == "gateway" else ""
    whole, counted = whole + policy + answered + end, counted + answered + end
    sampled = {"header_filter": {"header": {"name": "traceparent", "string_match": {"suffix": "-01"}}}}
    failed = {
        "status_code_filter": {
            "comparison": {"op": "GE", "value": {"default_value": 500, "runtime_key": "tierline.failed"}}
        }
    }
    detailed = {"or_filter": {"filters": [sampled, failed]}}
    # What is no request has no trace either, and is counted all the same.
    unsampled = {"invert_match": True, "treat_missing_header_as_empty": True}
    rest = {
        "and_filter": {
            "filters": [
                {"header_filter": {"header": {**sampled["header_filter"]["header"], **unsampled}}},
                {
                    "status_code_filter": {
                        "comparison": {
                            "op": "LE",
                            "value": {"default_value": 499, "runtime_key": "tierline.fine"},
                        }
                    }
                },
            ]
        }
    }
    path = str(context.hops(role.id))
    return [
        {
            "name": "envoy.access_loggers.file",
            "filter": {"and_filter": {"filters": [only, chosen]}} if only else chosen,
            "typed_config": {
                "@type": _FILE,
                "path": path,
                "log_format": {"text_format_source": {"inline_string": line}},
            },
        }
        for chosen, line in ((detailed, whole), (rest, counted))
    ]
