"""VCL that describes the client to the tiers behind (see engines/forwarded.py), and names the authority of a copy."""

from __future__ import annotations

from tierline.engines.context import Context
from tierline.engines.forwarded import FIELDS, PLACE, behind_places, first
from tierline.plan.model import Role

_KEPT = """\
        # Varnish adds its own peer to what the tier in front said.
        set req.http.X-Forwarded-For = regsub(req.http.X-Forwarded-For, ",[^,]*$", "");
"""


def described(role: Role, context: Context, front: bool = False) -> str:
    """Lines of vcl_recv. front: HAProxy stands before it and has done this."""
    if first(role, context.plan) and not front:
        return _seen("        ")
    if not front and behind_places(role, context.plan):
        return f"""\
        if (req.http.{PLACE} == "{context.secret("cdn.place")}") {{
    {_KEPT.strip().replace(chr(10), chr(10) + "    ")}
        }} else {{
{_seen("            ")}\
        }}
        unset req.http.{PLACE};
"""
    return _KEPT


def _seen(indent: str) -> str:
    lines = [f"unset req.http.{name};" for name in FIELDS]
    lines += [
        "set req.http.X-Forwarded-For = client.ip;",
        'set req.http.X-Forwarded-Proto = "http";',
        "if (req.http.Host) { set req.http.X-Forwarded-Host = req.http.Host; }",
        'set req.http.X-Forwarded-Port = "80";',
        'if (req.http.Host ~ ":[0-9]+$") { set req.http.X-Forwarded-Port = regsub(req.http.Host, "^.*:", ""); }',
        'set req.http.Forwarded = regsub("for=" + client.ip, "^for=(.*:.*)$", {"for="[\\1]""})',
        '    + {";host=""} + req.http.Host + {"";proto=http"};',
    ]
    return "".join(f"{indent}{line}\n" for line in lines)


def authority(of: str) -> str:
    """The scheme and the normalised authority of a request (RFC 9110, 4.2.3), as an expression. of: `req` or `bereq`."""
    found = f'{of}.http.X-Forwarded-Proto + "|" + std.tolower({of}.http.Host)'
    for pattern in ("^(https[|].*):443$", "^(http[|].*):80$", "^(.*):$"):
        found = f'regsub({found}, "{pattern}", "\\1")'
    return f'regsub({found}, "[.](:[0-9]+)?$", "\\1")'
