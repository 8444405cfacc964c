"""What a service receives: environment variables with the names that its ecosystem knows.

A resource's variables come twice: plainly (`DATABASE_URL`) for the first resource of its kind that the
service uses, and with the resource's name before them (`FILMS_DATABASE_URL`) always.
"""

from __future__ import annotations

import msgspec

from tierline.plan.model import Ref, Role, Text
from tierline.plan.placement import Line
from tierline.stack import Stack
from tierline.tiers.feature.tier import Function, Resource, Service
from tierline.tiers.gateway.tier import JWT


def wire(stack: Stack, line: Line, roles: list[Role]) -> list[Role]:
    """The roles, with the environment of each service and function filled in."""
    apps: dict[str, Service | Function] = {app.name: app for app in stack.apps}
    return [
        msgspec.structs.replace(role, environment=_environment(stack, line, role, apps[role.name], roles))
        if role.name in apps and role.slot == apps[role.name].slot
        else msgspec.structs.replace(role, environment=_stores(stack, line, roles))
        if role.tier == "experience"
        else role
        for role in roles
    ]


def _stores(stack: Stack, line: Line, roles: list[Role]) -> dict[str, Text]:
    """Where the journeys keep sessions and shared answers: the stack's first Sessions and Cache."""
    found: dict[str, Text] = {}
    for variable, slot in (("SESSION_STORE", "core.sessions"), ("CACHE_STORE", "core.cache")):
        resource = next((each for each in stack.resources if each.slot == slot), None)
        if resource is not None:
            mine = [role for role in roles if role.name == resource.name and role.slot == slot]
            found[variable] = line.system(slot).shared(mine)["REDIS_URL"]
    return found


def prefix(name: str) -> str:
    """`film-posters` → `FILM_POSTERS`."""
    return name.upper().replace("-", "_")


def _environment(
    stack: Stack, line: Line, role: Role, app: Service | Function, roles: list[Role]
) -> dict[str, Text]:
    found: dict[str, Text] = {
        "AWS_REGION": Text((stack.region,)),
        "OTEL_SERVICE_NAME": Text((app.name,)),
        "OTEL_EXPORTER_OTLP_ENDPOINT": Text(("http://", Ref("telemetry", "otlp.address"))),
        "OTEL_EXPORTER_OTLP_PROTOCOL": Text(("http/json",)),
        "TIERLINE_ZONE": Text((role.zone,)),
    }
    used = [*app.uses, *([app.on] if isinstance(app, Function) else [])]
    for each in used:
        if isinstance(each, Resource):
            mine = [other for other in roles if other.name == each.name and other.slot == each.slot]
            system = line.system(each.slot)
            for variable, text in system.shared(mine).items():
                found.setdefault(variable, text)
                found[f"{prefix(each.name)}_{variable}"] = text
            for variable, text in system.own(mine).items():
                found[f"{prefix(each.name)}_{variable}"] = text
        elif isinstance(each, JWT):
            found["JWT_ISSUER"] = Text((each.issuer,))
            found["JWT_AUDIENCE"] = Text((each.audience,))
            if each.jwks is None:
                found["JWT_SIGNING_KEY_FILE"] = Text((Ref("gateway", "signing_key"),))
                found["JWT_KEY_ID"] = Text((Ref("gateway", "key_id"),))
        else:
            name = each.name if isinstance(each, Service) else each
            nearest = role.upstreams[name][0]
            found[f"{prefix(name)}_URL"] = Text(("http://", Ref(nearest.role, f"{nearest.endpoint}.address")))
    found.update({variable: Text((value,)) for variable, value in sorted(app.env.items())})
    return found
