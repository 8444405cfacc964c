"""What nginx says of the client to the tiers behind (see engines/forwarded.py), and the authority in keys of copies."""

from __future__ import annotations

from tierline.engines.context import Context
from tierline.engines.forwarded import FIELDS, HOST, PLACE, behind_places, first
from tierline.engines.unkeyed import UNKEYED
from tierline.plan.model import Role
from tierline.plan.paths import PLAIN

_HTTP = """\
    # Where the client asked: an absolute request target counts, else Host (RFC 9112, 3.2.2).
    map $http_host $tl_given { "" $host; default $http_host; }
    map $request $tl_authority { "~^[A-Z]+ [A-Za-z]+://(?<tl_a>[^/?# ]*)" $tl_a; default $tl_given; }
    # What is no request has none, and is refused for that; what says so is an address of its own (limits.py).
    map $uri $tl_saying { "~^/-/limit/[0-9]+$" said; default ""; }
    map $tl_saying|$tl_authority $tl_no_host { "~^[|]HOST$" ""; "|" ""; "~^said" ""; default 1; }
    map $tl_authority $tl_name { "~^(?<tl_n>.*?):[0-9]*$" $tl_n; default $tl_authority; }
    map $remote_addr $tl_for { "~:" "\\"[$remote_addr]\\""; default $remote_addr; }
    map $scheme|$tl_authority $tl_port { "~:(?<tl_at>[0-9]+)$" $tl_at; "~^https" 443; default 80; }
    # The port of a copy's key: none where it is the scheme's own (RFC 9110, 4.2.3).
    map $http_x_forwarded_proto|$http_host $tl_port_kept {
        "~^https[|].*:443$" ""; "~^http[|].*:80$" ""; "~(?<tl_k>:[0-9]+)$" $tl_k; default "";
    }
""".replace("HOST", HOST.replace("\\", "\\\\"))

REFUSED = """\
        # Statuses that nobody sends, to go to a location by its name.
        error_page 490 = @tl_path;
        error_page 491 = @tl_host;
        if ($tl_no_host) { return 491; }
        if ($tl_no_path) { return 490; }
        location @tl_path {
            types { }
            default_type application/problem+json;
            return 400 '{"type":"about:blank","status":400,"title":"Bad request","detail":"path","trace_id":"$tl_trace"}';
        }
        location @tl_host {
            types { }
            default_type application/problem+json;
            return 400 '{"type":"about:blank","status":400,"title":"Bad request","detail":"host","trace_id":"$tl_trace"}';
        }
"""
"""For a server that clients connect to."""


SEEN = {
    "X-Forwarded-For": "$remote_addr",
    "X-Forwarded-Proto": "$scheme",
    "X-Forwarded-Host": "$tl_authority",
    "X-Forwarded-Port": "$tl_port",
    "Forwarded": 'for=$tl_for;host=\\"$tl_authority\\";proto=$scheme',
}
"""What the first tier sees, by field."""


def http(proofs: dict[str, str], refused: str, guarded: tuple[tuple[str, str], ...] = ()) -> str:
    """Lines of the http block. proofs: what requests to an upstream block show there. refused: what is found in paths
    that the line doesn't take, guarded: paths that rules judge, and all their spellings (plan/paths.py)."""
    quoted = refused.replace("\\", "\\\\")
    lines = "".join(f"        {name} {proof};\n" for name, proof in proofs.items())
    spelt = "".join(f' "~^{plain}$" ""; "~^{every}$" 1;'.replace("\\", "\\\\") for plain, every in guarded)
    return f"""\
{_HTTP}\
    map $request_uri $tl_path_sent {{ "~^(?<tl_q>[^?]*)" $tl_q; }}
    map $tl_path_sent $tl_no_path {{ "~^{PLAIN}$" ""; "~{quoted}" 1;{spelt} default ""; }}
    map $proxy_host $tl_line {{
        default "";
{lines}    }}
"""


def said(role: Role, context: Context, name: str) -> tuple[str, dict[str, str]]:
    """Lines of the http block, and the fields of every request that goes on. name: a prefix of variables. Empty where a
    tier in front has said it all."""
    proxied = "$proxy_protocol_addr" if role.settings.get("proxy_protocol") else "$remote_addr"
    node = "$tl_for" if proxied == "$remote_addr" else f"${name}_node"
    seen = {
        key: value.replace("$remote_addr", proxied).replace("$tl_for", node) for key, value in SEEN.items()
    }
    http = (
        ""
        if node == "$tl_for"
        else f'    map {proxied} {node} {{ "~:" "\\"[{proxied}]\\""; default {proxied}; }}\n'
    )
    foreign = dict.fromkeys(UNKEYED, "")
    if first(role, context.plan):
        return http, {**foreign, **seen}
    if behind_places(role, context.plan):
        secret = context.secret("cdn.place")
        http += f'    map $http_{_variable(PLACE)} ${name}_place {{ {secret} 1; default ""; }}\n'
        more, chosen = either(f"${name}_place", name, seen)
        return http + more, {**foreign, **chosen, PLACE: ""}
    if role.settings.get("mtls"):
        more, chosen = either("$tl_passed_on", name, seen)
        return http + '    map $https $tl_passed_on { "" 1; default ""; }\n' + more, chosen
    return "", {}


def either(trusted: str, name: str, seen: dict[str, str]) -> tuple[str, dict[str, str]]:
    """Variables that are what came with the request where `trusted` is 1, else what is seen here."""
    lines, found = "", {}
    for field in FIELDS:
        found[field] = f"${name}_{_variable(field)}"
        lines += (
            f'    map {trusted} {found[field]} {{ 1 $http_{_variable(field)}; default "{seen[field]}"; }}\n'
        )
    return lines, found


def setting(fields: dict[str, str], indent: str = " " * 12) -> str:
    """Directives that set them."""
    return "".join(f'{indent}proxy_set_header {name} "{value}";\n' for name, value in fields.items())


def _variable(field: str) -> str:
    return field.lower().replace("-", "_")
