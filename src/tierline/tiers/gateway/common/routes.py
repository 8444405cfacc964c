"""Which request goes to which role: the same for every gateway."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from email.utils import format_datetime
from typing import Any, Literal

import msgspec

from tierline.errors import PlanError, choices, nearest
from tierline.plan.budgets import find
from tierline.plan.model import Budget, Plan, Role
from tierline.plan.paths import below

Match = Literal["exact", "prefix", "template"]
_RANK = {"exact": 0, "template": 1, "prefix": 2}


class Routed(msgspec.Struct, kw_only=True):
    """One route, resolved: nothing in it is left to a default."""

    name: str
    """For hops and metrics."""
    path: str
    match: Match
    upstream: str
    methods: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    headers: dict[str, str] = {}
    rewrite: str | None = None
    """What the prefix `path` becomes, or, of a template, the prefix `cut` that is taken away."""
    cut: str = ""
    budget: Budget
    """Its limits and time-outs."""
    retries: int = 2
    canary: dict[str, Any] | None = None
    mirror: dict[str, Any] | None = None
    request: dict[str, str | None] = {}
    response: dict[str, str | None] = {}
    request_body: Any = None
    response_body: Any = None
    version: str = ""
    given: bool = False
    """Said by the stack's `routes`: wins over what `expose` makes of the same path."""

    @property
    def timeout(self) -> float:
        """Seconds until an answer begins."""
        return self.budget.first_byte

    @property
    def pattern(self) -> str:
        """The path as a regular expression over the whole path."""
        if self.match == "template":
            parts = re.split(r"\{[^}/]+\}", self.path)
            return "[^/]+".join(re.escape(part).replace("\\-", "-") for part in parts)
        quoted = re.escape(self.path).replace("\\-", "-")
        if self.match == "exact":
            return quoted
        return "/.*" if self.path == "/" else f"{quoted}(/.*)?"


def routes(role: Role, plan: Plan) -> list[Routed]:
    """Every route of a gateway, the most specific first: exact paths, then templates, then prefixes, long
    before short, more conditions before fewer."""
    plain = [*_journeys(role, plan), *_exposed(role, plan), *_given(role, plan)]
    found = [each for route in plain for each in _versions(role, route)]
    found += _health(role, plan, found)
    return sorted(
        found,
        key=lambda route: (
            _RANK[route.match],
            -len(route.path),
            -len(route.headers) - bool(route.methods) - bool(route.hosts),
            not route.given,
            route.path,
            route.name,
        ),
    )


def _route(role: Role, plan: Plan, of: str, **given: Any) -> Routed:
    return Routed(
        budget=find(plan, of),
        **{
            "retries": role.settings["retries"],
            **{key: value for key, value in given.items() if value is not None},
        },
    )


def _journeys(role: Role, plan: Plan) -> Iterator[Routed]:
    if "experience" in role.upstreams:
        journeys = next(r for r in plan.roles.values() if r.name == "experience").settings["journeys"]
        for journey in journeys:
            match: Match = "template" if "{" in journey["path"] else "exact"
            yield _route(
                role,
                plan,
                f"journey {journey['name']}",
                name="experience",
                path=journey["path"],
                match=match,
                upstream="experience",
            )


def _health(role: Role, plan: Plan, others: list[Routed]) -> Iterator[Routed]:
    """What the name service asks: a place is well when a request gets all the way to what answers requests. A path
    that belongs to a journey or a service anyway stays theirs."""
    for dns in (each for each in plan.roles.values() if each.slot == "dns" and each.settings["health"]):
        path = dns.settings["health"]
        if role.upstreams and not any(_answers(route, path) for route in others):
            to = next(iter(role.upstreams))
            yield _route(role, plan, "health", name="health", path=path, match="exact", upstream=to)


def _answers(route: Routed, path: str) -> bool:
    """Whether a GET of the path is the route's without further conditions. A service at / is what is left over."""
    free = not route.headers and not route.hosts and (not route.methods or "GET" in route.methods)
    return free and route.path != "/" and re.fullmatch(route.pattern, path) is not None


def _exposed(role: Role, plan: Plan) -> Iterator[Routed]:
    for name in role.upstreams:
        for path in _paths(plan, name):
            yield _route(role, plan, f"service {name}", name=name, path=path, match="prefix", upstream=name)


def _paths(plan: Plan, name: str) -> list[str]:
    exposed: list[str] = next(
        (r.settings["expose"] for r in plan.roles.values() if r.name == name and r.slot == "feature.service"),
        [],
    )
    return [path.rstrip("/") or "/" for path in exposed]


def _given(role: Role, plan: Plan) -> Iterator[Routed]:
    for number, given in enumerate(role.settings.get("routes", [])):
        path = given["path"] if given["path"] == "/" else given["path"].rstrip("/")
        match: Match = "template" if "{" in path else "exact" if given["exact"] else "prefix"
        to = given["to"] or _exposes(role, plan, path)
        for name in (to, (given["canary"] or {}).get("to"), (given["mirror"] or {}).get("to")):
            if name is not None and name not in role.upstreams:
                raise PlanError(
                    f"gateway route {path}: unknown service {name!r}{nearest(name, role.upstreams)} the gateway "
                    f"reaches: {choices(role.upstreams)}"
                )
        yield _route(
            role, plan, f"route {number}", name=f"{to}-{number}", path=path, match=match, upstream=to,
            methods=tuple(given["methods"]),
            hosts=tuple(given["hosts"]), headers=given["headers"], rewrite=given["rewrite"],
            retries=given["retries"], canary=given["canary"], mirror=given["mirror"],
            request=given["request"], response=given["response"], given=True,
            request_body=given["request_body"], response_body=given["response_body"],
        )  # fmt: skip


def _exposes(role: Role, plan: Plan, path: str) -> str:
    """Who exposes the longest prefix of a path."""
    best = ("", "")
    for name in role.upstreams:
        for prefix in _paths(plan, name):
            if (path == prefix or path.startswith(prefix.rstrip("/") + "/")) and len(prefix) > len(best[0]):
                best = (prefix, name)
    if not best[1]:
        raise PlanError(f"gateway route {path}: no service exposes it; say which with Route(to=…)")
    return best[1]


def _versions(role: Role, route: Routed) -> Iterator[Routed]:
    """The route in every version, and without one, which means the last."""
    versions = role.settings.get("versions", [])
    if not versions:
        yield route
        return
    for version in versions:
        name, upstream = version["name"], _played(role, version, route.upstream)
        response = {**route.response, **lifetime(version)}
        changed = {"upstream": upstream, "response": response, "version": name}
        changed["name"] = f"{route.name}@{name}"
        if role.settings["version_by"] == "path":
            prefix = "" if route.path == "/" else route.path
            behind = route.rewrite if route.rewrite is not None else route.path
            yield msgspec.structs.replace(
                route, path=f"/{name}{prefix}", rewrite=behind, cut=f"/{name}", **changed
            )
        else:
            said = {role.settings["version_header"]: name}
            yield msgspec.structs.replace(route, headers={**route.headers, **said}, **changed)
    last = versions[-1]
    yield msgspec.structs.replace(
        route,
        upstream=_played(role, last, route.upstream),
        response={**route.response, **lifetime(last)},
        version=last["name"],
    )


def _played(role: Role, version: dict[str, Any], service: str) -> str:
    """Who plays a service in a version."""
    name = str(version["services"].get(service, service))
    if name not in role.upstreams:
        raise PlanError(
            f"API version {version['name']}: unknown service {name!r}{nearest(name, role.upstreams)} the gateway "
            f"reaches: {choices(role.upstreams)}"
        )
    return name


def lifetime(version: dict[str, Any]) -> dict[str, str]:
    """The headers that tell how long a version lives."""
    found = {}
    link = version["link"]
    if version["deprecated"]:
        found["deprecation"] = f"@{int(_midnight(version['deprecated']).timestamp())}"
    if version["sunset"]:
        found["sunset"] = format_datetime(_midnight(version["sunset"]), usegmt=True)
    if link and found:
        found["link"] = f'<{link}>; rel="{"deprecation" if version["deprecated"] else "sunset"}"'
    return found


def _midnight(date: str) -> datetime.datetime:
    return datetime.datetime.combine(datetime.date.fromisoformat(date), datetime.time(), tzinfo=datetime.UTC)


def api_keys(keys: dict[str, Any], context: Any) -> dict[str, str]:
    """Consumer → key, from the stack's file or made on first use."""
    given: dict[str, str] = {}
    if keys["file"] is not None:
        given = msgspec.json.decode((context.project / keys["file"]).read_bytes(), type=dict[str, str])
    return {name: given.get(name) or context.secret(f"apikey.{name}") for name in keys["consumers"]}


def token_paths(settings: dict[str, Any]) -> list[str]:
    """Path prefixes that need a token, in every version: those of the auth, and those whose access looks at
    claims."""
    return every_version(_needed(settings)[0], settings)


def login_paths(settings: dict[str, Any]) -> list[str]:
    """Path prefixes that need a login, in every version: those of the login, and, where the gateway takes no
    tokens, those whose access looks at claims."""
    return every_version(_needed(settings)[1], settings)


def _needed(settings: dict[str, Any]) -> tuple[list[str], list[str]]:
    auth, login = settings["auth"], settings.get("login")
    tokens, logins = list(auth["paths"]) if auth else [], list(login["paths"]) if login else []
    for access in settings["access"]:
        if access["claims"] or access["scopes"]:
            inside = any(_under(path, logins) for path in access["paths"])
            (logins if login and (inside or not auth) else tokens).extend(access["paths"])
    return list(dict.fromkeys(tokens)), list(dict.fromkeys(logins))


def _under(path: str, prefixes: list[str]) -> bool:
    return any(path == each or path.startswith(each.rstrip("/") + "/") for each in prefixes)


def limit_name(limit: dict[str, Any], number: int) -> str:
    """A limit's name in hops: what it counts, and the first of its paths."""
    first = limit["paths"][0] if limit["paths"] else "/"
    return re.sub(r"[^A-Za-z0-9/:._-]", "-", f"limit-{limit['by']}-{number}:{first}")


def every_version(paths: list[str], settings: dict[str, Any]) -> list[str]:
    """The prefixes as they are, and below each version's own: a policy can't be walked around by a version."""
    if settings["version_by"] != "path":
        return paths
    names = [version["name"] for version in settings["versions"]]
    return paths + [f"/{name}{path}".rstrip("/") for name in names for path in paths]


def under(paths: list[str], settings: dict[str, Any]) -> str:
    """A regular expression over the whole path for these prefixes, by whole segments, in every version."""
    every = every_version(paths, settings)
    if settings.get("paths") == "as_sent":
        return f"({'|'.join(below(path.rstrip('/')) for path in every)})"
    quoted = [re.escape(path.rstrip("/")).replace("\\-", "-") for path in every]
    return f"({'|'.join(quoted)})(/.*)?"
