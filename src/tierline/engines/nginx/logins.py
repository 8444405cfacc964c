"""What browsers' logins add to nginx.conf around login.js.

location / ──▶ @gw_session ──▶ the route, when there is a session
                   │
                   └─▶ @gw_sent ──▶ the provider ──▶ @gw_callback ──▶ @gw_sent ──▶ the page that was asked for
"""

from __future__ import annotations

from tierline.engines.nginx.remote import Remote

SOCKET = "login.sock"
"""In the unit's folder: where login.js asks the provider."""
SECRETS = "login.json"
"""Beside nginx.conf, as closed as that is; never a part of it."""


def http(token: Remote, keys: Remote, scheme: str) -> str:
    """Lines of the http block. scheme: the variable that says how a browser came."""
    return f"""\
    js_import login from login.js;
    js_preload_object oidc from {SECRETS};
    js_shared_dict_zone zone=gateway_login:4m type=string timeout=1h evict;
    map {scheme} $gw_scheme {{ http http; default https; }}
{token.upstream("gw_login_token")}\
{keys.upstream("gw_login_keys")}\
    server {{
        listen unix:{SOCKET};
        location = /token {{
{token.passed("gw_login_token")}\
        }}
        location = /keys {{
{keys.passed("gw_login_keys")}\
        }}
        location / {{ return 404; }}
    }}
"""


LOCATIONS = """\
        location @gw_session {
            js_fetch_timeout 8s;
            js_fetch_max_response_buffer_size 256k;
            js_access login.session;
        }
        location @gw_callback {
            js_fetch_timeout 8s;
            js_fetch_max_response_buffer_size 256k;
            js_content login.callback;
        }
        location @gw_logout { js_content login.logout; }
        location @gw_sent {
            js_header_filter gateway.answer;
            return 302 $gw_location;
        }
"""
"""Lines of the server."""
