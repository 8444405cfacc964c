"""Browsers' logins as rules of an HAProxy frontend: login.lua does what OpenID Connect asks for, HAProxy itself checks
the signatures, and talks to the provider."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tierline.engines.authorities import bundle, literal
from tierline.engines.haproxy.callers import refuse, signatures
from tierline.engines.lua import library
from tierline.engines.lua.templates import text

HEADROOM = 20480
"""Bytes that answers need room for: the session's cookies."""
_COOKIES = 10
_MINE = "(__Host-)?tierline-(session|login)[A-Za-z0-9_-]*"
_HERE = Path(__file__)
_KNOWN = "{ var(txn.login) -m str in }"


def files(
    login: Mapping[str, Any], endpoints: Mapping[str, str], ports: Mapping[str, int], folder: Path
) -> dict[str, str]:
    """The program, and the secrets that it reads (`secrets` puts them there).

    login: the intent's fields, and `issuer` as the provider writes it. endpoints: `authorization`, `token` and perhaps
    `end_session`, as URLs. ports: where browsers reach the line, by scheme.
    """
    token = urlsplit(endpoints["token"])
    said = {
        "issuer": login["issuer"], "client_id": login["client_id"], "authorization": endpoints["authorization"],
        # The way there is the backend's business; HAProxy's own client only needs a name.
        "token": f"http://{token.netloc}{token.path or '/'}{'?' + token.query if token.query else ''}",
        "socket": "unix@login.sock", "callback": login["callback"], "logout": login["logout"],
        "scope": " ".join(["openid", *login["scopes"]]),
    }  # fmt: skip
    if endpoints.get("end_session"):
        said["end_session"] = endpoints["end_session"]
    usual = {"http": 80, "https": 443}
    listed = ", ".join(f'{scheme} = ":{port}"' for scheme, port in ports.items() if port != usual[scheme])
    head = "local settings = {\n" + "".join(f"  {name} = {text(value)},\n" for name, value in said.items())
    head += f"  ports = {{ {listed} }},\n}}\n"
    for name, file in (("secret", "login-hmac"), ("client_secret", "login-token")):
        head += f"do\n  local file = assert(io.open({text(str(folder / file))}, 'rb'))\n"
        head += f"  settings.{name} = file:read('*a')\n  file:close()\nend\n"
    parts = [_HERE.with_name(f"{name}.lua").read_text() for name in ("sealing", "login")]
    return {str(folder / "login.lua"): "\n".join([head, library("json"), *parts])}


def secrets(folder: Path, token: str, hmac: str) -> dict[str, str]:
    """Files of secrets: the client's at the provider, and the line's own that seals cookies."""
    return {str(folder / "login-token"): token, str(folder / "login-hmac"): hmac}


def known(
    login: Mapping[str, Any], keys: Sequence[tuple[str, str, str]], match: str, folder: Path
) -> tuple[str, dict[str, str]]:
    """Rules that find out who is logged in, below the paths that `match` says, and answer on the paths of the login
    itself; and files of keys. Before the tokens' rules."""
    checked, found = signatures(keys, folder, "login", "id_token", "{ var(txn.id_token) -m found }")
    own = "    http-after-response add-header set-cookie %[var(txn.cookie{0})] if {{ var(txn.cookie{0}) -m found }}\n"
    lines = f"""\
    acl needs_login path -m reg '^{match}$'
    acl login_step path {login["callback"]} {login["logout"]}
    acl has_bearer req.hdr(authorization) -m beg -i "bearer "
    http-request set-var(txn.scheme) req.hdr(x-forwarded-proto)
    http-request lua.login_begin if login_step or needs_login !has_bearer
{checked}\
    http-request lua.login_finish if {{ var(txn.id_token) -m found }}
    http-request set-var(txn.private) bool(true) if needs_login or login_step
    acl logged_in var(txn.login) -m str in
"""
    lines += "".join(own.format(number) for number in range(_COOKIES))
    for step, verdict in (("back", "logged in"), ("left", "logged out")):
        condition = f"{{ var(txn.login) -m str {step} }}"
        lines += f'    http-request set-var(txn.verdict) str("{verdict}") if {condition}\n'
        lines += f"    http-request return status 302 hdr location %[var(txn.location)] if {condition}\n"
    return lines + refuse(401, "login", "login_step"), found


def needed(tokens: bool) -> str:
    """Rules that send a browser away and refuse everybody else who isn't logged in, and say who is. After the tokens'
    rules. tokens: whether a path may need a token too, which does as well then."""
    asked = "needs_login !logged_in" + (" !has_bearer" if tokens else "")
    browser = "needs_login !logged_in !has_bearer METH_GET { req.fhdr(accept) -m sub -i text/html }"
    return f"""\
    http-request lua.login_ask if {browser}
    acl sent_away var(txn.location) -m found
    http-request set-var(txn.verdict) str("sent to log in") if sent_away
    http-request return status 302 hdr location %[var(txn.location)] if sent_away
{refuse(401, "login", asked)}\
{refuse(401, "login", "needs_login !logged_in !needs_token") if tokens else ""}\
    http-request set-header x-tierline-claims %[var(txn.bearer),word(2,.)] if logged_in
    # Nothing that would end a header or a line of a log.
    http-request set-var(txn.subject) var(txn.bearer),jwt_payload_query('$.sub'),regsub('[^ -~]','?',g) if logged_in
    http-request set-header x-tierline-subject %[var(txn.subject)] if logged_in
    # Nobody behind has any use for them.
    acl login_cookies req.fhdr(cookie) -m reg '(^|; *){_MINE}='
    http-request set-header cookie %[req.fhdr(cookie),'regsub("(^|; *){_MINE}=[^;]*","",g)','regsub("^; *","")'] if login_cookies
    http-request del-header cookie if {{ req.hdr(cookie) -m len 0 }}
"""


def provider(name: str, url: str, ca: Path | None) -> str:
    """Sections that reach the provider: a socket for the program, and the server of the URL, its certificate checked
    for its name against `ca`, or the system's authorities."""
    parts = urlsplit(url)
    host, secure = parts.hostname or "", parts.scheme == "https"
    options = ""
    if secure:
        options = (
            f" ssl verify required ca-file {ca or bundle()} verifyhost {host} alpn http/1.1 no-ssl-reuse"
        )
        options += "" if literal(host) else f" sni str({host})"
    names = ""
    if not literal(host) and _nameserver():
        options += " resolvers login resolve-prefer ipv4"
        names = _RESOLVERS
    where = f"[{host}]" if ":" in host else host
    return f"""\
{names}\
frontend {name}-login
    bind unix@login.sock mode 600
    no log
    default_backend {name}-login

backend {name}-login
    timeout server 5s
    retries 1
    server provider {where}:{parts.port or (443 if secure else 80)}{options} init-addr last,libc,none

"""


# A name that only /etc/hosts knows has an address from the start, and no word from a name server takes it away.
_RESOLVERS = """\
resolvers login
    parse-resolv-conf
    hold nx 20d
    hold timeout 20d
    hold refused 20d
    hold other 20d
    hold obsolete 20d

"""


def _nameserver() -> bool:
    """Whether the system has one; without, HAProxy looks a name up once, as the system does."""
    try:
        lines = Path("/etc/resolv.conf").read_text().splitlines()
    except OSError:
        return False
    return any(line.split()[:1] == ["nameserver"] for line in lines)
