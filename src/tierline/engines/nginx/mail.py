"""nginx as a mail proxy: Debian's nginx with its mail module, as the wheel's is built without it.

A process of its own beside the unit's. Whom to send a session to nginx asks over HTTP (`auth_http`); the answer is
always the same inbox, so the process answers itself, on a Unix socket. The inbox checks the password.
"""

from __future__ import annotations

from pathlib import Path

from tierline.engines import binaries
from tierline.engines.base import Probe, Process
from tierline.engines.certificates import Shown
from tierline.engines.context import Context
from tierline.engines.nginx.config import TLS
from tierline.engines.open_files import connections
from tierline.errors import EngineError
from tierline.plan.model import Role, Unit

_MODULE = Path("/usr/lib/nginx/modules/ngx_mail_module.so")
_INSTALL = "apt-get install nginx-light libnginx-mod-mail"


def process(unit: Unit, role: Role, cert: Shown, context: Context) -> Process:
    """The process. Raises EngineError when the program or its module isn't installed."""
    program = binaries.on_path("nginx")
    if program is None or not _MODULE.is_file():
        raise EngineError(f"nginx with its mail module is not installed here. Install it: {_INSTALL}")
    name = f"{unit.id}.mail"
    folder = context.folder(name)
    config = folder / "nginx.conf"
    chain, key, renewed = cert.chain, cert.key, {}
    if cert.thumbprint:
        chain = key = folder / "certificate.pem"
        renewed = {str(chain): cert.pem}
    argv = (program, "-p", str(folder), "-c", str(config))
    host, port = context.address(role.id, "smtps")
    return Process(
        name=name,
        engine="nginx",
        argv=argv,
        cwd=str(folder),
        region=unit.region,
        zone=unit.zone,
        files={str(config): document(role, folder, chain, key, context), **renewed},
        certificates=tuple(renewed),
        folders=(str(folder), str(folder / "temp")),
        unprivileged=True,
        check=(*argv, "-t", "-q"),
        ready=Probe(kind="tcp", target=f"{host}:{port}"),
        reload="HUP",
    )


def document(role: Role, folder: Path, chain: Path, key: Path, context: Context) -> str:
    """nginx.conf, whole."""
    (inbox,) = role.upstreams[role.settings["mail"]]
    smtp, imap, pop3 = (context.address(inbox.role, name) for name in ("smtp", "imap", "pop3"))

    def server(endpoint: str, protocol: str, more: str) -> str:
        host, port = context.address(role.id, endpoint)
        secure = " ssl" if endpoint.endswith("s") else ""
        starttls = "" if secure else "        starttls only;\n"
        return f"""\
    server {{
        listen {host}:{port}{secure};
        protocol {protocol};
{starttls}{more}\
    }}
"""

    # SMTP's own login is repeated to the inbox; what it says of the client (XCLIENT) it doesn't know.
    sends = "        smtp_auth plain login;\n        proxy_smtp_auth on;\n        xclient off;\n"
    more = {"smtp": sends, "imap": "        imap_auth plain login;\n", "pop3": "        pop3_auth plain;\n"}
    servers = "".join(server(f"{name}{s}", name, own) for name, own in more.items() for s in ("", "s"))
    return f"""\
# Written by tierline for {role.id}.
load_module {_MODULE};
daemon off;
pid {folder}/nginx.pid;
worker_processes 1;
error_log stderr warn;
events {{ worker_connections {connections(1024, each=1)}; }}
http {{
    access_log off;
    client_body_temp_path {folder}/temp/body;
    proxy_temp_path {folder}/temp/proxy;
    fastcgi_temp_path {folder}/temp/fastcgi;
    uwsgi_temp_path {folder}/temp/uwsgi;
    scgi_temp_path {folder}/temp/scgi;
    map $http_auth_protocol $inbox {{ smtp {smtp[1]}; imap {imap[1]}; pop3 {pop3[1]}; }}
    server {{
        listen unix:auth.sock;
        location / {{
            add_header Auth-Status OK;
            add_header Auth-Server {smtp[0]};
            add_header Auth-Port $inbox;
            return 204;
        }}
    }}
}}
mail {{
    auth_http unix:auth.sock:/;
    server_name {context.plan.domain};
    proxy_pass_error_message on;
    timeout 300s;
    ssl_certificate {chain};
    ssl_certificate_key {key};
{TLS}\
    smtp_capabilities "SIZE 10000000" 8BITMIME SMTPUTF8;
    imap_capabilities IMAP4rev1 IDLE NAMESPACE;
    pop3_capabilities TOP USER UIDL;
{servers}}}
"""
