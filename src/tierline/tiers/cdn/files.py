"""The assets origin: nginx serves a folder, text in the codings that were made beforehand."""

from __future__ import annotations

from importlib import resources

from tierline.engines import nginx
from tierline.engines.base import Step
from tierline.engines.context import Context
from tierline.engines.nginx.config import Fragment, hop_format, hop_log
from tierline.plan.model import Role


def files(role: Role, context: Context) -> Fragment:
    """The origin's fragment of an nginx."""
    settings, folder = role.settings, context.folder(context.unit_of(role.id))
    host, port = context.address(role.id, "http")
    root, packs = (context.project / settings["assets"]).resolve(), folder / "packed"
    told = f"""\
            add_header Cache-Control "public, max-age={int(settings["assets_ttl"])}";
            add_header Surrogate-Key assets;
            add_header X-Content-Type-Options nosniff;
"""
    packed = f"""\
        location @packed {{
            root {packs}/$tl_coding;
            try_files $uri $uri/index.html =404;
            add_header Content-Encoding $tl_coding;
            add_header Vary Accept-Encoding;
{told}\
        }}
"""
    choose = """\
            error_page 418 = @packed;
            if ($tl_coding) { return 418; }
"""
    compress = settings["compress"]
    servers = f"""\
    server {{
        listen {host}:{port};
        root {root};
        set $tl_files "{root}";
        set $tl_packs "{packs}";
{hop_log(role, context, "file")}\
        location / {{
{choose if compress else ""}\
            try_files $uri $uri/index.html =404;
            autoindex off;
{told}\
        }}
        location ~ /\\. {{ return 404; }}
{packed if compress else ""}\
    }}
"""
    http = hop_format(role, "file", "cdn")
    if not compress:
        return Fragment(http=http, servers=servers)
    return Fragment(
        http=f"    js_import packed from packed.js;\n    js_set $tl_coding packed.coding;\n{http}",
        servers=servers,
        beside={"packed.js": (resources.files(nginx) / "packed.js").read_text()},
        before=(
            Step(
                argv=(context.python, "-m", "tierline.engines.nginx.pack", str(root), str(packs)),
                about="compressing the text among the static files",
                unprivileged=True,
            ),
        ),
    )
