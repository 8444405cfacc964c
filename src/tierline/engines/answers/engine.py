"""The engine: a unit's dns roles as one process of the answering server."""

from __future__ import annotations

import json
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import msgspec

from tierline.engines.answers import intent
from tierline.engines.answers.config import Config, ConfigError
from tierline.engines.answers.server import check
from tierline.engines.base import Binary, Probe, Process
from tierline.errors import EngineError, PlanError

if TYPE_CHECKING:
    from tierline.engines.context import Context
    from tierline.plan.model import Role, Unit

_SECURE = "https"


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def written(config: Config) -> str:
    """The configuration's file."""
    return msgspec.json.format(msgspec.json.encode(config), indent=1).decode()


def _fields(raw: str, unit: Unit) -> dict[str, Any]:
    """The fields that the stack gives as they are. Raises EngineError when they are none."""
    try:
        found = json.loads(raw or "{}")
        if isinstance(found, dict):
            return found
        why = f"it is a {type(found).__name__}"
    except ValueError as error:
        why = str(error)
    at = ", ".join(role.settings["raw_at"] for role in unit.roles if role.settings.get("raw"))
    raise EngineError(f"{at}: for dns=embedded it must be a JSON object of its configuration's fields: {why}")


def alive(target: str) -> Probe:
    """A DNS message over TCP whose opcode no name server of ours knows (STATUS, RFC 1035, 4.1.1): the answer is NOTIMP, and
    it is no query that a log or a count would have."""
    ask = b"\0\x0c" + b"\x12\x67\x10\0" + b"\0" * 8
    return Probe(kind="say", target=target, say=ask)


class Answers:
    """Fulfils engines/base.py's Engine."""

    name = "answers"

    def binary(self) -> Binary:
        try:
            ours = version("tierline")
        except PackageNotFoundError:
            ours = "0"
        return Binary(path=sys.executable, version=ours, source="wheel")

    def version(self) -> str:
        return self.binary().version

    def config(self, unit: Unit, context: Context) -> Config:
        """What the unit's roles say. Raises PlanError for an impossible route, EngineError for the rest."""
        data: dict[str, Any] = {"listen": [], "zones": [], "places": {}}
        for role in unit.roles:
            self._add(data, role, context)
        data |= {
            "hops": str(context.hops(unit.id)),
            "stats": str(context.folder(unit.id) / "dns.sock"),
            "system": unit.roles[0].system.rpartition(".")[2],
            "region": unit.region or context.plan.region,
        }
        for role in unit.roles:
            data["transfer"] = [*data.get("transfer", []), *role.settings.get("transfers", ())]
        data["raw"] = "\n".join(role.settings["raw"] for role in unit.roles if role.settings.get("raw"))
        if unit.engine == self.name:
            data |= _fields(data.pop("raw"), unit)
        try:
            config = msgspec.convert(data, Config)
            check(config)
        except (ConfigError, msgspec.ValidationError) as error:
            own = [f" (with {role.settings['raw_at']})" for role in unit.roles if role.settings.get("raw")]
            raise EngineError(
                f"dns {', '.join(role.id for role in unit.roles)}: {error}{''.join(own)}"
            ) from None
        return config

    def processes(self, unit: Unit, context: Context) -> list[Process]:
        """One process for all the unit's roles."""
        folder = context.folder(unit.id)
        path = str(folder / "dns.json")
        config = self.config(unit, context)
        first = config.listen[0]
        text = written(config)
        return [
            Process(
                name=unit.id,
                engine=self.name,
                argv=(context.python, "-m", "tierline.engines.answers", path),
                region=unit.region,
                zone=unit.zone,
                roles=tuple(role.id for role in unit.roles),
                files={path: text},
                folders=(str(folder),),
                check=(context.python, "-m", "tierline.engines.answers", "--check", path),
                ready=Probe(kind="udp-dns", target=first, name=unit.roles[0].settings["domain"]),
                alive=alive(first),
                reload="HUP",
            )
        ]

    def _add(self, data: dict[str, Any], role: Role, context: Context) -> None:
        """One role's addresses, places and zone. Roles of one domain share its zone."""
        settings = role.settings
        host, port = context.address(role.id, "dns")
        data["listen"].append(_joined(host, port))
        world = settings.get("places") or {}
        data["home"] = data.get("home") or world.get("home") or role.region or context.plan.region
        known_latency = data.setdefault("latency", {})
        for table in (world.get("latency") or {}, intent.tables(settings.get("route"))):
            for one, row in table.items():
                known_latency[one] = known_latency.get(one, {}) | row
        data["subnets"] = data.get("subnets") or list(world.get("subnets") or [])
        places = self._places(role, context)
        for name, place in places.items():
            known = data["places"].setdefault(name, {"region": name, "targets": []})
            names = {target["name"] for target in known["targets"]}
            known["targets"] += [target for target in place["targets"] if target["name"] not in names]
        if settings["domain"] not in [zone["name"] for zone in data["zones"]]:
            data["zones"].append(intent.zone(settings, host, list(places)))

    def _places(self, role: Role, context: Context) -> dict[str, Any]:
        """The role's upstreams as targets by region, nearest first; HTTPS goes before HTTP."""
        ways: dict[str, tuple[int, str, str]] = {}
        for upstreams in role.upstreams.values():
            for upstream in upstreams:
                endpoints = context.plan.roles[upstream.role].endpoints
                protocol = next(
                    (e.protocol for e in endpoints if e.name == upstream.endpoint), upstream.endpoint
                )
                known = ways.get(upstream.role)
                if known is None or (protocol == _SECURE and known[2] != _SECURE):
                    ways[upstream.role] = (upstream.distance, upstream.endpoint, protocol)
        if not ways:
            raise PlanError(f"dns {role.id}: there is nothing to answer with; it has no upstreams")
        found: dict[str, Any] = {}
        for name, (_, endpoint, protocol) in sorted(ways.items(), key=lambda way: way[1][0]):
            region = context.plan.roles[name].region or context.plan.region
            place = found.setdefault(region, {"region": region, "targets": []})
            place["targets"].append(self._target(role, name, context.address(name, endpoint), protocol))
        return found

    def _target(self, role: Role, name: str, address: tuple[str, int], protocol: str) -> dict[str, Any]:
        """A target with its check: the health path over HTTP or HTTPS, else just whether its port accepts."""
        host, port = address
        secure = protocol == _SECURE
        health = role.settings.get("health")
        check: dict[str, Any] = {"kind": "tcp", "host": host, "port": port}
        for field in ("interval", "timeout", "threshold"):
            if f"health_{field}" in role.settings:
                check[field] = role.settings[f"health_{field}"]
        if health and protocol in ("http", "https"):
            check |= {"kind": protocol, "path": health, "name": role.settings["domain"]}
        return {
            "name": name,
            "aaaa" if ":" in host else "a": [host],
            "https": f"alpn=h2 port={port}" if secure else "",
            "check": check,
            "left_out": name in role.settings.get("left_out", ()),
        }


ENGINE = Answers()
