"""Envoy's access log as hops (trips/hop.py): text format, which costs a tenth less than `json_format`."""

from __future__ import annotations

from typing import Any

from tierline.engines.context import Context
from tierline.engines.envoy.callers import CONSUMER, SUBJECT
from tierline.plan.model import Role

_FILE = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"


def access_logs(role: Role, context: Context) -> list[dict[str, Any]]:
    """A whole hop when sampled or failed, else a line that is only counted."""
    place = role.zone or role.region
    verdict = "%RESPONSE_CODE_DETAILS%"
    if role.tier == "cache":
        verdict = f"%DYNAMIC_METADATA(tierline:verdict)% {verdict}"
    whole = (
        '{"f":"%REQ(traceparent):2%","s":%RESPONSE_CODE%,"tp":"%REQ(traceparent)%",'
        f'"T":"{role.tier}","y":"envoy","z":"{place}",'
        '"b":%START_TIME(%s%6f)%,"d":%COMMON_DURATION(DS_RX_BEG:DS_TX_END:us)%,'
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
    # Who asks comes last: see trips/hop.py.
    end = f',"r":"%ROUTE_NAME%","u":"%REQ({CONSUMER}?{SUBJECT}):80%"}}\n' if role.tier == "gateway" else "}\n"
    whole, counted = whole + end, counted + end
    sampled = {
        "header_filter": {
            "header": {"name": "traceparent", "string_match": {"safe_regex": {"regex": "00-.*-01"}}}
        }
    }
    failed = {
        "status_code_filter": {
            "comparison": {"op": "GE", "value": {"default_value": 500, "runtime_key": "tierline.failed"}}
        }
    }
    detailed = {"or_filter": {"filters": [sampled, failed]}}
    rest = {
        "and_filter": {
            "filters": [
                {"header_filter": {"header": {**sampled["header_filter"]["header"], "invert_match": True}}},
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
            "filter": chosen,
            "typed_config": {
                "@type": _FILE,
                "path": path,
                "log_format": {"text_format_source": {"inline_string": line}},
            },
        }
        for chosen, line in ((detailed, whole), (rest, counted))
    ]
