"""The assets origin: nginx serves a folder, text in the codings that were made beforehand, and buckets' objects."""

from __future__ import annotations

from importlib import resources

from tierline.engines import nginx
from tierline.engines.base import Step
from tierline.engines.context import Context
from tierline.engines.nginx import limits
from tierline.engines.nginx.config import Fragment, hop_format, hop_log, ident, upstream
from tierline.plan.budgets import held
from tierline.plan.model import Role

_TEXT = "text/css text/csv text/javascript text/markdown text/plain text/vtt application/json application/xml"


def files(role: Role, context: Context) -> Fragment:
    """The origin's fragment of an nginx."""
    settings, folder = role.settings, context.folder(context.unit_of(role.id))
    if settings["assets"] is None:
        return Fragment(
            http=_http(role, context), servers=_server(role, context, "        location / { return 404; }\n")
        )
    root, packs = (context.project / settings["assets"]).resolve(), folder / "packed"
    told = f"""\
            # Of files alone: how another answer is written is its service's to say.
            charset utf-8;
            charset_types {_TEXT};
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
    served = f"""\
        root {root};
        set $tl_files "{root}";
        set $tl_packs "{packs}";
        location / {{
{choose if compress else ""}\
            try_files $uri $uri/index.html =404;
            autoindex off;
{told}\
        }}
        # Hidden files are nobody's, but for what is meant to be found (RFC 8615).
        location ~ /\\.(?!well-known/) {{ return 404; }}
{packed if compress else ""}\
"""
    http, servers = _http(role, context), _server(role, context, served)
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


def _http(role: Role, context: Context) -> str:
    return hop_format(role, "file", "cdn") + "".join(
        upstream(f"{ident(role)}_{name.replace('-', '_')}", targets, context)
        for name, targets in role.upstreams.items()
    )


def _server(role: Role, context: Context, served: str) -> str:
    host, port = context.address(role.id, "http")
    return f"""\
    server {{
        listen {host}:{port};
{limits.server(held(context.plan, role))}\
{hop_log(role, context, "file")}\
{served}\
{"".join(_objects(role, path, bucket) for path, bucket in role.settings["buckets"].items())}\
    }}
"""


def _objects(role: Role, path: str, bucket: str) -> str:
    """A location whose files are a bucket's objects: only they can be had, and nothing can be done to them."""
    return f"""\
        location ^~ {path} {{
            more_set_headers -s 405 "Allow: GET, HEAD";
            if ($request_method !~ ^(GET|HEAD)$) {{ return 405; }}
            # A folder is no object; its address would list the bucket.
            if ($uri ~ /$) {{ return 404; }}
            # Without the query: ?acl and its like are questions to the bucket, not to the object.
            rewrite ^(.*)$ /{bucket}$1? break;
            proxy_pass http://{ident(role)}_{bucket.replace("-", "_")};
            proxy_http_version 1.1;
            proxy_set_header Host $proxy_host;
            proxy_set_header Connection "";
            proxy_set_header Authorization "";
            proxy_set_header Cookie "";
            proxy_set_header Accept-Encoding "";
            proxy_hide_header x-amz-request-id;
            proxy_hide_header x-amz-id-2;
            proxy_hide_header Set-Cookie;
            proxy_hide_header Cache-Control;
            # What the store says of a missing object is its own language, and names the bucket.
            proxy_intercept_errors on;
            error_page 403 404 =404 /.nothing;
            add_header Cache-Control "public, max-age={int(role.settings["assets_ttl"])}";
            add_header Surrogate-Key assets;
            add_header X-Content-Type-Options nosniff;
        }}
"""
