"""Logins for gateway.haproxy: the stack's words as rules, files and the provider's server."""

from __future__ import annotations

from tierline.engines.context import Context
from tierline.engines.haproxy import login
from tierline.engines.haproxy.callers import key_files
from tierline.engines.keysets import ALGORITHMS
from tierline.plan.model import Role
from tierline.tiers.gateway.common.provider import client_secret, provider, public
from tierline.tiers.gateway.common.routes import login_paths, under


def known(role: Role, context: Context) -> tuple[str, dict[str, str]]:
    """Rules that find out who is logged in, and the files that they need."""
    given, folder = role.settings["login"], context.folder(context.unit_of(role.id))
    found = provider(given, context)
    if "jwks" in found.endpoints:
        jwks = context.document(found.endpoints["jwks"], given["ca"], given["refresh"])
    else:
        jwks = context.attribute_of(role.name, "local_jwks")
    match = under(login_paths({**role.settings, "version_by": "header"}), role.settings)
    rules, files = login.known(given, key_files(jwks, ALGORITHMS), match, folder)
    files |= login.files({**given, "issuer": found.issuer}, found.endpoints, public(context), folder)
    files |= login.secrets(folder, client_secret(given, context), context.secret("login.hmac"))
    return rules, files


def sections(role: Role, context: Context) -> str:
    """The way to the provider."""
    given = role.settings["login"]
    if not given:
        return ""
    ca = context.project / given["ca"] if given["ca"] else None
    url = provider(given, context).endpoints["token"]
    return login.provider(role.id.replace(".", "-"), url, ca)
