"""Who calls, for gateway.envoy: keys, tokens and logins as filters, and the servers that are asked about them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tierline.engines.context import Context
from tierline.engines.envoy import callers, certificates, login, remote, tls
from tierline.engines.envoy.listeners import Bind
from tierline.engines.keysets import pinned
from tierline.plan.model import Role
from tierline.tiers.gateway.common.provider import Provider, client_secret, provider, public
from tierline.tiers.gateway.common.routes import api_keys, login_paths, token_paths, under

_KEYS = "tierline.jwks"
_LOGIN_KEYS = "tierline.login.jwks"
_LOGIN_SKEW = 60


def filters(role: Role, context: Context) -> list[dict[str, Any]]:
    """The filters that find out who it is, and those that follow from it."""
    settings = role.settings
    found: list[dict[str, Any]] = []
    providers: dict[str, dict[str, Any]] = {}
    needed: dict[str, list[str]] = {}
    if settings["mtls"]:
        mtls = settings["mtls"]
        found += certificates.filters(mtls["consumers"], under(mtls["paths"], settings))
    if settings["keys"]:
        keys = settings["keys"]
        found.append(
            callers.api_keys(keys["header"], api_keys(keys, context), under(keys["paths"], settings))
        )
    if settings["auth"]:
        providers["tokens"] = callers.provider(settings["auth"], _keys(role, context))
        for path in token_paths(settings):
            needed.setdefault(path, []).append("tokens")
        if _remote(settings["auth"]):
            found.append(callers.algorithms(settings["auth"]["algorithms"]))
    if settings["login"]:
        providers["login"], given = _login_provider(role, context)
        for path in login_paths(settings):
            # Where tokens are good too, either will do.
            needed.setdefault(path, []).append("login")
        own = [settings["login"]["callback"], settings["login"]["logout"]]
        match = f"({under(settings['login']['paths'], settings)}|{under(own, {**settings, 'versions': []})})"
        folder = context.folder(context.unit_of(role.id))
        found.append(login.origin(public(context), match))
        found.append(login.filter(settings["login"], given.endpoints, folder, match))
    if providers:
        found.append(callers.jwt(providers, needed, settings.get("paths") == "as_sent"))
    # A rule that lets only some read is about copies, too.
    ruled = [
        path
        for rule in settings["access"] if not rule["methods"] or {"GET", "HEAD"} & set(rule["methods"])
        for path in rule["paths"]
    ]  # fmt: skip
    private = list(dict.fromkeys([*(settings["keys"] or {}).get("paths", []), *needed, *ruled]))
    if private:
        # `needed` has every version's paths already.
        found.append(callers.private(under(private, settings)))
    return found


def binds(role: Role, context: Context) -> list[Bind]:
    """The listener for the line, and the one for those who come with a certificate."""
    found = [Bind()]
    given = role.settings["mtls"]
    if given:
        host, _ = context.address(role.id, "mtls")
        domain = context.plan.domain
        chain, key = context.certificate(domain, f"*.{domain}", "localhost", host)
        clients = _file(given["ca"], context) or context.authority
        found.append(Bind(endpoint="mtls", entry=True, tls=tls.downstream(chain, key, clients=clients)))
    return found


def clusters(role: Role, context: Context) -> list[dict[str, Any]]:
    """Servers that aren't the line's own."""
    auth, found = role.settings["auth"], []
    if auth and _remote(auth):
        found.append(remote.cluster(_KEYS, auth["jwks"], _file(auth["ca"], context)))
    if role.settings["login"]:
        given, ca = provider(role.settings["login"], context), _file(role.settings["login"]["ca"], context)
        found.append(remote.cluster(login.PROVIDER, given.endpoints["token"], ca))
        if "jwks" in given.endpoints:
            found.append(remote.cluster(_LOGIN_KEYS, given.endpoints["jwks"], ca))
    return found


def secrets(role: Role, context: Context) -> dict[str, list[dict[str, Any]]]:
    """What the login keeps to itself."""
    given = role.settings["login"]
    if not given:
        return {}
    folder, token = context.folder(context.unit_of(role.id)), client_secret(given, context)
    return login.secrets(folder, token, context.secret("login.hmac"))


def _login_provider(role: Role, context: Context) -> tuple[dict[str, Any], Provider]:
    """Whose ID tokens are good, as the filter knows it, and the provider itself."""
    given = role.settings["login"]
    found = provider(given, context)
    if "jwks" in found.endpoints:
        keys = callers.keys_at(found.endpoints["jwks"], _LOGIN_KEYS, given["refresh"])
    else:
        keys = {"local_jwks": {"inline_string": context.attribute_of(role.name, "local_jwks")}}
    told = {"issuer": found.issuer, "audience": given["client_id"], "clock_skew": _LOGIN_SKEW}
    return callers.provider(told, keys, login.ID_TOKEN), found


def _keys(role: Role, context: Context) -> dict[str, Any]:
    auth = role.settings["auth"]
    if _remote(auth):
        return callers.keys_at(auth["jwks"], _KEYS, auth["refresh"])
    return {
        "local_jwks": {"inline_string": pinned(context.attribute_of(role.name, "jwks"), auth["algorithms"])}
    }


def _remote(auth: dict[str, Any]) -> bool:
    return "://" in (auth["jwks"] or "")


def _file(given: str | None, context: Context) -> Path | None:
    return context.project / given if given else None
