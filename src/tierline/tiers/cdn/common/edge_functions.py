"""What CloudFront runs at its edge (CloudFront Functions, runtime cloudfront-js-2.0)."""

from __future__ import annotations

import json
from typing import Any

from tierline.engines import percaller
from tierline.tiers.cloudformation import att

INDEX = """\
function handler(event) {
  var request = event.request;
  if (request.uri.endsWith('/')) request.uri += 'index.html';
  return request;
}
"""
"""Before a file is looked for: a folder is its index.html."""

UNSAID = """\
function handler(event) {
  var response = event.response, headers = response.headers;
  var control = headers['cache-control'] ? headers['cache-control'].value.toLowerCase() : '';
  var kept = /(^|[\\s,])(s-maxage|max-age)\\s*=/.test(control) || headers.expires !== undefined;
  if (!kept || /no-store|private/.test(control)) return response;
  FIELDS.forEach(function (name) { delete headers[name]; });
  return response;
}
""".replace("FIELDS", json.dumps([*percaller.FIELDS, *percaller.OF_SUCCESS]))
"""Of an answer that CloudFront keeps, what it says of who asked. A function can't see whether it is a copy, so the first
one isn't told either; it isn't asked about refusals (400 and above)."""


def function(stack: str, name: str, about: str, code: str) -> dict[str, Any]:
    """The properties of an AWS::CloudFront::Function."""
    return {
        "Name": f"{stack}-{name}",
        "AutoPublish": True,
        "FunctionConfig": {"Comment": about, "Runtime": "cloudfront-js-2.0"},
        "FunctionCode": code,
    }


def runs(when: str, logical: str) -> dict[str, Any]:
    """An association of a behaviour: `viewer-request` or `viewer-response`, and the function's logical id."""
    return {"EventType": when, "FunctionARN": att(logical, "FunctionARN")}
