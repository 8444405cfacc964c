"""The front of a point of presence whose store speaks no TLS or can't judge requests: HAProxy on both sides of it.

    client ──TLS──▶ front ──▶ store (Varnish) ──▶ behind ──TLS──▶ next tier, or the files' origin
                    refuses, names the copy           balances, fails over

As hitch is for Varnish, but judging too: Varnish has no HMAC for signed URLs. What a rule says of a request becomes a
header for the store, which strangers can't send:

    X-Tl-Key    what tells copies apart besides host and URL: scheme, client, device, language, coding
    X-Tl-Ttl    how long a copy stays, whatever the origin says, in seconds
    X-Tl-To     `assets` for files

The store answers with X-Tl-Verdict (hit, miss, …), which becomes X-Cache and the verdict of the place's hop.

The order of the rules, and why:

    1. trace      refusals are part of the trip
    2. names      what isn't ours is none of our business
    3. spelling   a path that is written in two ways would walk around a rule
    4. countries, networks, sites, signatures
    5. keys       what isn't in the key doesn't go on
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Literal

import msgspec

from tierline.engines.base import Probe, Process
from tierline.engines.certificates import CHALLENGE
from tierline.engines.context import Context
from tierline.engines.forwarded import PLACE
from tierline.engines.haproxy import budget, connection
from tierline.engines.haproxy.callers import errors, refusal, refuse, too_large
from tierline.engines.haproxy.engine import ENGINE, Fragment, alive, document, trace
from tierline.engines.haproxy.forwarded import fields, paths, proven, requests, spellings
from tierline.engines.haproxy.parts import hosts, server_options
from tierline.plan.budgets import held
from tierline.plan.model import Role, Unit, Upstream

ENDPOINTS: dict[str, Literal["http", "https"]] = {
    "http": "http",
    "https": "https",
    "store": "http",
    "behind": "http",
}
"""What such a place listens on: the front for clients, the store for the front, the way on for the store."""

TYPES = (
    "text/html", "text/css", "text/plain", "text/javascript", "application/javascript", "application/json",
    "application/problem+json", "application/manifest+json", "application/xml", "image/svg+xml",
)  # fmt: skip
"""What is compressed: text. Pictures, films and fonts are compressed already."""

_BELOW = r"""'regsub("^(?:([^?]*/)[?]\1.*|([^?]*)[?]\2)$","below")'"""
LEAST = 1024
"""Bytes below which compressing isn't worth it."""


class Front(msgspec.Struct, kw_only=True):
    """What the engine adds to what the settings say."""

    rules: list[Rule]
    own: list[tuple[str, bool]]
    """Paths of files, and whether all below is meant."""
    shielded: list[Upstream]
    """The place to pull through, before the next tier."""
    blocked: str
    """Text of a map from networks to countries; empty: nobody is refused."""
    allow: bool
    """Whether the map holds who may come, and not who may not."""
    compress: bool
    """Whether files come in the codings that their origin made beforehand."""
    signing: str
    badge: str
    """What places show to each other and to the next tier."""
    shield: bool
    """Whether other places pull through this one."""
    secured: str | None
    """The port to which plain HTTP is sent, with its colon; empty: 443; None: it isn't sent anywhere."""


class Rule(msgspec.Struct, kw_only=True):
    """One path's rule."""

    path: str
    ttl: float | None = None
    query: tuple[str, ...] | None = None
    by: tuple[str, ...] = ()
    signed: bool = False
    sites: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()


def process(unit: Unit, role: Role, front: Front, context: Context, after: str) -> Process:
    """The HAProxy beside the store of a unit."""
    folder = context.folder(unit.id) / "front"
    fragment = fragment_of(role, front, folder, context)
    config = folder / "haproxy.cfg"
    program = ENGINE.binary().path
    host, port = context.address(role.id, "http")
    argv = (program, "-W", "-db", "-f", str(config))
    return Process(
        name=f"{unit.id}.front",
        engine=ENGINE.name,
        argv=argv,
        cwd=str(folder),
        region=unit.region,
        zone=unit.zone,
        roles=(role.id,),
        files={str(config): document(unit, [fragment]), **connection.program(folder), **fragment.files},
        folders=(str(folder),),
        unprivileged=True,
        after=(after,),
        check=(program, "-c", "-f", str(config)),
        ready=Probe(kind="tcp", target=f"{host}:{port}"),
        alive=alive(folder),
        stdout=str(context.hops(role.id)),
        stop_signal="USR1",  # a soft stop: what is under way is answered first
        reload="USR2",
    )


def fragment_of(role: Role, front: Front, folder: Path, context: Context) -> Fragment:
    """Its sections and files."""
    name = role.id.replace(".", "-")
    host, port = context.address(role.id, "http")
    _, tls_port = context.address(role.id, "https")
    store, behind = context.address(role.id, "store"), context.address(role.id, "behind")
    domain = context.plan.domain
    ours = [domain, f"*.{domain}", "localhost", host]
    chain, key = context.certificate(domain, f"*.{domain}", "localhost", host)
    certificate = folder / "front.pem"
    files = {str(certificate): chain.read_text() + key.read_text()}
    own = held(context.plan, role)
    if "body" in own.settings:
        files |= refusal(own, folder)
    countries = ""
    if front.blocked:
        files[str(folder / "countries.map")] = front.blocked
        countries = _countries(folder / "countries.map", front.allow)
    frontend = f"""\
frontend {name}
    bind {host}:{port}
    bind {host}:{tls_port} ssl crt {certificate} alpn h2,http/1.1
    # Varnish takes what breaks off for the whole: a body, or the first 32 kB of it, is judged before it goes on.
    option http-buffer-request
{budget.frontend(own)}{errors(budget.told(own))}\
    acl a_place var(txn.place) -m bool
{trace(role, role.system)}\
{_badge(front)}\
{requests("")}\
{fields("!a_place" if front.shield else "")}\
    http-request set-var(txn.plain) bool(true) if {{ req.hdr(x-forwarded-proto) http }}
    http-request set-var(txn.client) req.hdr_ip(x-forwarded-for,-1)
    http-request del-header x-tl- -m beg
    http-request del-header x-device
    http-request del-header x-language
    http-request set-var(txn.verdict) str(pass)
{refuse(421, "not our name", f"!{{ {hosts(ours)} }}")}\
{too_large(own) if "body" in own.settings else ""}\
{refuse(405, "method", "{ method PURGE BAN PURGEKEY }")}\
{paths(context)}{spellings(context)}\
    # Rules are for what a path means, however it is written.
    http-request set-var(txn.uri) path,url_dec,regsub(//+,/,g)
{countries}\
{"".join(_chosen(number, rule) for number, rule in enumerate(sorted(front.rules, key=_length), 1))}\
{"".join(_judged(n, rule, ours, front.signing) for n, rule in enumerate(sorted(front.rules, key=_length), 1))}\
{_secured(front)}\
{_files(front)}\
{"".join(_keyed(n, rule) for n, rule in enumerate(sorted(front.rules, key=_length), 1))}\
    http-request set-header X-Tl-Key "%[req.hdr(x-forwarded-proto)]%[var(txn.key)]"
    http-response set-var(txn.verdict) res.hdr(x-tl-verdict) if {{ res.hdr(x-tl-verdict) -m found }}
    http-response set-header X-Cache "%[var(txn.verdict),upper] from {role.region}"
    http-response set-header Cache-Status "{role.region}; %[res.hdr(x-tl-status)]" if {{ res.hdr(x-tl-status) -m found }}
    http-response del-header x-tl- -m beg
    http-response del-header surrogate-key unless a_place
    # Nothing over plain HTTP may say it (RFC 6797, 7.2), and the balancer was asked over TLS.
    http-response del-header strict-transport-security if {{ var(txn.plain) -m bool }}
{_raw(role)}\
    # No store has copies of a WebSocket, or speaks it as well.
    use_backend {name}-next if {{ req.hdr(upgrade) -i websocket }}
    default_backend {name}-store

backend {name}-store
{budget.backend(own)}\
    # The store is beside us, or nobody is.
    retries 0
    no option redispatch
    server store {store[0]}:{store[1]}

{_behind(role, front, context, name, behind)}"""
    return Fragment(sections=frontend, files=files, budget=own)


def _badge(front: Front) -> str:
    if not front.shield:
        return ""
    return f"""\
    # At the shield, another place shows that it is of the line: it has judged, and says who its client is.
    http-request set-var(txn.place) bool(true) if {{ req.hdr(x-tl-place) -m str -- {front.badge} }}
"""


def _secured(front: Front) -> str:
    if front.secured is None:
        return ""
    # Not what an ACME authority asks.
    return f"""\
    http-request redirect code 308 location https://%[req.hdr(host),regsub(:[0-9]+$,)]{front.secured}%[pathq] if \
{{ var(txn.plain) -m bool }} !{{ path_beg {CHALLENGE} }}
"""


def _length(rule: Rule) -> int:
    return len(rule.path)


def _at(path: str, below: bool) -> str:
    return f"{{ var(txn.uri) -m {'beg' if below else 'str'} {path} }}"


def _chosen(number: int, rule: Rule) -> str:
    """The last one counts, which is the longest path."""
    return f"    http-request set-var(txn.rule) int({number}) if {_at(rule.path, rule.path.endswith('/'))}\n"


def _if(number: int) -> str:
    return f"{{ var(txn.rule) -m int eq {number} }}"


def _countries(path: Path, allow: bool) -> str:
    found = f"    http-request set-var(txn.country) var(txn.client),map_ip({path},none)\n"
    listed = "{ var(txn.country) -m str none }"
    return found + refuse(403, "country", f"!a_place {listed if allow else '!' + listed}")


def _judged(number: int, rule: Rule, ours: list[str], signing: str) -> str:
    found, here = "", f"!a_place {_if(number)}"
    if rule.networks:
        found += refuse(403, "network", f"{here} !{{ var(txn.client) -m ip {' '.join(rule.networks)} }}")
    if rule.sites:
        names = "|".join(_name(site) for site in (*ours, *rule.sites))
        known = f"{{ req.hdr(referer) -m reg -i '^https?://({names})(:[0-9]+)?(/|$)' }}"
        # A Referer that is no address was taken out on its way, and isn't held against anybody.
        found += refuse(403, "site", f"{here} {{ req.hdr(referer) -m reg -i ^https?:// }} !{known}")
    if rule.signed:
        key = base64.b64encode(signing.encode()).decode()
        found += f"""\
    http-request set-var(txn.token) req.cook(cdn_token) if {_if(number)}
    http-request set-var(txn.token) url_param(token) if {_if(number)} {{ url_param(token) -m found }}
    http-request set-var-fmt(txn.told) %[var(txn.token),field(1,.)].%[var(txn.token),field(2,.)] if {_if(number)}
    http-request set-var(txn.right) var(txn.told),hmac(sha256,{key}),ub64enc if {_if(number)}
    http-request set-var(txn.given) var(txn.token),field(3,.) if {_if(number)}
    http-request set-var(txn.until) var(txn.token),field(1,.) if {_if(number)}
    http-request set-var(txn.left) date,neg,add(txn.until) if {_if(number)}
    # The signed path, then the asked one: the same, or below it when it ends in /.
    http-request set-var-fmt(txn.both) "%[var(txn.token),field(2,.),ub64dec]?%[var(txn.uri)]" if {_if(number)}
    http-request set-var(txn.below) var(txn.both),{_BELOW} if {_if(number)}
"""
        whole = "{ var(txn.token) -m reg '^[0-9]+[.][A-Za-z0-9_-]+[.][A-Za-z0-9_-]+$' }"
        right = "{ var(txn.right),secure_memcmp(txn.given) -m bool }"
        for needed in (
            whole, right, "{ var(txn.left) -m int ge 0 }",
            "{ var(txn.below) -m str below }",
        ):  # fmt: skip
            found += refuse(403, "signature", f"{here} !{needed}")
    return found


def _name(site: str) -> str:
    tail = site.removeprefix("*.").replace(".", "[.]").replace("*", "[a-z0-9-]+")
    return f"([a-z0-9-]+[.])+{tail}" if site.startswith("*.") else tail


def _files(front: Front) -> str:
    """Files have a copy for each coding that their origin has made beforehand."""
    if not front.own:
        return ""
    found = "".join(
        f"    acl file var(txn.uri) -m {'beg' if below else 'str'} -- {_word(path)}\n"
        for path, below in front.own
    )
    found += "    http-request set-header X-Tl-To assets if file\n"
    if front.compress:
        ask = "{ req.hdr(accept-encoding) -m reg -i '(^|[, ])%s *(;q=(1|0[.][0-9]*[1-9])[0-9.]*)? *(,|$)' }"
        found += f"    http-request set-var(txn.coding) str(br) if file {ask % 'br'}\n"
        found += f"    http-request set-var(txn.coding) str(gzip) if file !{{ var(txn.coding) -m found }} {ask % 'gzip'}\n"
        found += "    http-request set-header X-Tl-Coding %[var(txn.coding)] if file\n"
        found += '    http-request set-var-fmt(txn.key) " %[var(txn.coding)]" if file\n'
    return found


def _keyed(number: int, rule: Rule) -> str:
    here, found = _if(number), ""
    if rule.ttl is not None:
        found += f"    http-request set-header X-Tl-Ttl {int(rule.ttl)} if {here}\n"
    query = () if rule.signed and rule.query is None else rule.query
    if query == ():
        found += f"    http-request set-uri %[path] if {here}\n"
    elif query:
        told = "&".join(f"{each}=%[url_param({each})]" for each in query)
        found += f'    http-request set-query "{told}" if {here}\n'
    for each in rule.by:
        if each == "client":
            found += (
                f'    http-request set-var-fmt(txn.key) "%[var(txn.key)] %[req.hdr(x-client)]" if {here}\n'
            )
            continue
        if each == "device":
            agent = "req.hdr(user-agent) -m reg -i"
            # Regular expressions as nginx's: a tablet with Android doesn't say that it is mobile.
            found += f"""\
    http-request set-header X-Device desktop if {here}
    http-request set-header X-Device mobile if {here} {{ {agent} 'mobi|iphone|ipod' }}
    http-request set-header X-Device tablet if {here} {{ {agent} 'ipad|tablet|android(?!.*mobile)' }}
"""
        else:
            found += (
                f"    http-request set-header X-Language %[req.hdr(accept-language),bytes(0,2),lower] if {here} "
                "{ req.hdr(accept-language) -m reg -i ^[a-z][a-z] }\n"
            )
        found += f'    http-request set-var-fmt(txn.key) "%[var(txn.key)] %[req.hdr(x-{each})]" if {here}\n'
    return found


def _word(text: str) -> str:
    """Text as one word of the configuration (HAProxy's strong quoting, which knows no escapes)."""
    return "'" + text.replace("'", "'\\''") + "'" if set(text) & set(" \t\"'\\#${}") else text


def _raw(role: Role) -> str:
    raw = role.settings["raw"]
    return f"    {raw}\n" if raw else ""


def _behind(role: Role, front: Front, context: Context, name: str, at: tuple[str, int]) -> str:
    """Where the store asks: balanced, the failed left out, TLS checked against the line's own authority."""
    following = next(targets for key, targets in role.upstreams.items() if key != "assets")
    assets = role.upstreams.get("assets", ())
    use = f"    use_backend {name}-assets if {{ req.hdr(x-tl-to) -m str assets }}\n" if assets else ""
    own = held(context.plan, role)
    found = f"""\
frontend {name}-behind
    bind {at[0]}:{at[1]}
    no log
{budget.frontend(own)}{errors(budget.told(own))}\
    http-request set-var(txn.trace) req.hdr(traceparent),field(2,-)
    http-request del-header x-tl-place
{use}\
    default_backend {name}-next

backend {name}-next
    balance roundrobin
{budget.backend(own)}\
    http-request disable-l7-retry unless {{ method GET HEAD OPTIONS }}
    http-request del-header x-tl- -m beg
    http-request set-header {PLACE} {front.badge}
{_servers((*front.shielded, *following), context)}
"""
    if assets:
        found += f"""\
backend {name}-assets
    balance roundrobin
{budget.backend(own)}\
    http-request set-header Accept-Encoding %[req.hdr(x-tl-coding)]
    http-request del-header x-tl- -m beg
{_servers(assets, context)}
"""
    return found


def _servers(targets: tuple[Upstream, ...], context: Context) -> str:
    nearest = min(target.distance for target in targets)
    found = f"{proven(targets, context)}    option allbackups\n    default-server {server_options({})}\n"
    for target in targets:
        host, port = context.address(target.role, target.endpoint)
        secure = (
            f" ssl ca-file {context.authority} verify required sni str({context.plan.domain}) "
            f"verifyhost {context.plan.domain} check-sni {context.plan.domain} alpn http/1.1"
            if context.plan.speaks_tls(target)
            else ""
        )
        backup = " backup" if target.distance > nearest else ""
        found += f"    server {target.role} {host}:{port}{secure}{backup}\n"
    return found
