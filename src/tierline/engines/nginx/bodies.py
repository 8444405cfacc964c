"""What shaped bodies add to nginx.conf around bodies.js.

A request's body is read and shaped in the access phase of its route's location, and what nginx sends is `$gw_body`. An
answer is fetched whole by a subrequest to `/-/via/…`, a location of its own: its head tells a length, and perhaps 502,
once the body is known.
"""

from __future__ import annotations

LARGEST = 1 << 20
"""Bytes of a body, coming or going, that is shaped at most: a worker does nothing else meanwhile."""


def read(largest: int) -> str:
    """Lines of a location that reads a request's body and shapes it. largest: bytes."""
    return f"""\
            client_body_buffer_size {largest};
            js_access bodies.request;
"""


SENT = """\
            proxy_set_body $gw_body;
"""
"""Lines of a location that passes a shaped body on."""

ANSWER = """\
            js_content bodies.answer;
"""
"""Lines of a location whose answers are shaped."""

FETCHED = f"""\
            internal;
            subrequest_output_buffer_size {LARGEST + 4096};
            js_header_filter bodies.begins;
            js_body_filter bodies.piece buffer_type=buffer;
"""
"""Lines of the location that such an answer is fetched from."""

WHOLE = {"Accept-Encoding": None, "Range": None}
"""Request headers that are taken away: what is compressed, or a part of a whole, can't be shaped."""
