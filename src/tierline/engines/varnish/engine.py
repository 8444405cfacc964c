"""Varnish as an engine: one role, its VCL, and a varnishncsa that writes its hops."""

from __future__ import annotations

import msgspec

from tierline.engines import binaries
from tierline.engines.base import Binary, Probe, Process
from tierline.engines.context import Context
from tierline.engines.haproxy import front
from tierline.engines.haproxy.front import Front
from tierline.engines.varnish.config import parameters
from tierline.plan.model import Budget, Unit
from tierline.tiers.base import system

_INSTALL = "apt-get install varnish"


class Fragment(msgspec.Struct, kw_only=True):
    """What a role adds: the whole VCL, bounds, and how its hops are told."""

    vcl: str
    budget: Budget
    memory: int
    hop: str = ""
    """A format of varnishncsa that writes a line of trips/hop.py; empty when the front tells the hop."""
    front: Front | None = None
    """What stands on both sides of it."""


class Varnish:
    """See the module."""

    name = "varnish"

    def binary(self) -> Binary:
        return binaries.find("varnish", commands=("varnishd",), install=_INSTALL)

    def version(self) -> str:
        return binaries.version(self.binary().path, "-V")

    def processes(self, unit: Unit, context: Context) -> list[Process]:
        (role,) = unit.roles
        fragment: Fragment = system(role.slot, role.system).contribute(role, context)
        folder = context.folder(unit.id)
        vcl, secret, shared = folder / "default.vcl", folder / "secret", folder / "shared"
        host, port = context.address(role.id, "store" if fragment.front else "http")
        admin, admin_port = context.address(role.id, "admin")
        program = self.binary().path
        store = Process(
            name=unit.id,
            engine=self.name,
            argv=(
                program, "-F", "-j", "none", "-n", str(shared), "-a", f"{host}:{port}", "-f", str(vcl),
                "-T", f"{admin}:{admin_port}", "-S", str(secret), "-s", f"malloc,{fragment.memory}",
                # Nothing is fresh that the origin didn't call so; the VCL does the rest.
                "-p", "default_ttl=0", "-p", "default_grace=0", "-p", "default_keep=0",
                *parameters(fragment.budget), "-p", "vsl_space=16m", "-p", "vsl_reclen=4084",
                "-p", "thread_pool_min=20",
                "-p", "cli_timeout=10",
                "-p", "feature=+esi_disable_xml_check",
            ),
            cwd=str(folder),
            region=unit.region,
            zone=unit.zone,
            roles=(role.id,),
            files={str(vcl): fragment.vcl, str(secret): context.secret("varnish.admin") + "\n"},
            folders=(str(folder), str(shared)),
            unprivileged=True,
            check=(program, "-C", "-j", "none", "-n", str(folder / "check"), "-f", str(vcl)),
            ready=Probe(kind="tcp", target=f"{host}:{port}"),
            # It greets with a challenge; its own worker it asks itself, every three seconds (cli_timeout).
            alive=Probe(kind="say", target=f"{admin}:{admin_port}", expect=b"107 "),
            stop_signal="TERM",
            stop_timeout=3.0,
        )  # fmt: skip
        if fragment.front:
            return [store, front.process(unit, role, fragment.front, context, unit.id)]
        hops, logger = str(context.hops(role.id)), binaries.find("varnishncsa", install=_INSTALL).path
        return [
            store,
            Process(
                name=f"{unit.id}.hops",
                engine=self.name,
                argv=(logger, "-n", str(shared), "-t", "off", "-a", "-w", hops, "-F", fragment.hop,
                      "-q", "not VCL_return eq 'restart'"),
                cwd=str(folder),
                region=unit.region,
                zone=unit.zone,
                writes=(hops,),
                unprivileged=True,
                after=(unit.id,),
                stop_signal="TERM",
            ),
        ]  # fmt: skip


ENGINE = Varnish()
