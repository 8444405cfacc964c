"""What limits of the whole line add to nginx.conf around asks.js: the line's counter is asked before a request goes on."""

from __future__ import annotations

import json

SECRETS = "counter.json"
"""Beside nginx.conf: where the counter is, and the token that it asks for."""

HTTP = f"""\
    js_import asks from asks.js;
    js_preload_object counter from {SECRETS};
    js_shared_dict_zone zone=gateway_spent:16m type=number timeout=2d evict;
"""
"""Lines of the http block."""

LOCATIONS = """\
        # Nobody waits for the counter longer than that.
        location @gw_ask {
            js_fetch_timeout 50ms;
            js_fetch_keepalive 16;
            js_access asks.early;
        }
        location @gw_ask_late {
            js_fetch_timeout 50ms;
            js_fetch_keepalive 16;
            js_access asks.late;
        }
"""
"""Lines of the server."""


def secrets(address: tuple[str, int], token: str) -> str:
    """The text of counter.json."""
    return json.dumps({"url": f"http://{address[0]}:{address[1]}/take", "token": token})
