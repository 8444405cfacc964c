"""A client of the line: resolves through its name service, connects to the place that it answered, asks."""

from __future__ import annotations

import contextlib
import importlib
import ssl
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from tierline.engines.answers.networks import behind_loopback
from tierline.errors import RunError
from tierline.tiers.dns.common import places
from tierline.trips.hop import Hop
from tierline.trips.record import Span, span_id

TRACE_OPTION = 65001
"""EDNS option (local use, RFC 6891 section 9) that carries the traceparent of a query."""


class Answer(msgspec.Struct, kw_only=True):
    """What came back."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    trace: str
    total_us: int
    address: str
    hop: Hop
    resolving: Hop | None
    """How long the name service took, as its client saw it; None without one."""

    def hops(self, told: Sequence[Hop]) -> list[Hop]:
        """The client's own and what the line told; a name service that tells nothing was at least measured."""
        mute = self.resolving is not None and not any(hop.tier == "dns" for hop in told)
        return [self.hop, *([self.resolving] if mute and self.resolving else []), *told]


class Resolved(msgspec.Struct, kw_only=True):
    host: str
    port: int
    place: str
    took_us: int = 0
    """From the question to the answer."""


class Client:
    """One client in one region. `told` is the line's status (its addresses)."""

    def __init__(self, told: Mapping[str, Any], authority: Path, domain: str, region: str) -> None:
        self._told = told
        self._authority = authority
        self.domain = domain
        self.region = region
        if region not in places.REGIONS:
            from tierline.errors import choices, nearest

            raise RunError(
                f"--from {region!r}: unknown region{nearest(region, places.REGIONS)} there are: {choices(places.REGIONS)}"
            )

    def resolve(self, span: Span | None = None) -> Resolved:
        """Ask the line's name service as a client in the region would; without one, take the entry itself."""
        entry = self._entry()
        if "dns" not in self._told["urls"]:
            host, port = next(iter(entry.items()))[0], next(iter(entry.values()))
            return Resolved(host=host, port=port, place="")
        import dns.edns
        import dns.message
        import dns.query

        network = places.client(self.region)
        options: list[Any] = [dns.edns.ECSOption(network, 24)]
        if span is not None:
            options.append(
                dns.edns.GenericOption(dns.edns.OptionType.make(TRACE_OPTION), span.traceparent.encode())
            )
        query = dns.message.make_query(self.domain, "A", use_edns=0, options=options)
        host, _, port = self._told["urls"]["dns"].rpartition(":")
        # Who looks only at the address that asks (BIND) knows simulated clients by a loopback address of theirs.
        source = behind_loopback(network) if sys.platform == "linux" else None
        began = time.perf_counter_ns()
        try:
            reply = dns.query.udp(query, host, timeout=2, port=int(port), source=source)
        except dns.exception.Timeout:
            raise RunError(
                "the line's name service did not answer within 2 s; see tierline logs dns"
            ) from None
        took = (time.perf_counter_ns() - began) // 1000
        answers = [item.address for rrset in reply.answer for item in rrset if item.rdtype == 1]
        if not answers:
            raise RunError(f"{self.domain} has no address: {dns.rcode.to_text(reply.rcode())}")
        return Resolved(
            host=answers[0], port=entry.get(answers[0], next(iter(entry.values()))), place=answers[0],
            took_us=took,
        )  # fmt: skip

    def source(self) -> str | None:
        """The loopback address that it connects from: one of its region's, by which a CDN knows its country."""
        if sys.platform != "linux" or "cdn" not in self._told.get("lineup", {}):
            return None
        return behind_loopback(places.client(self.region)) or None

    def trust(self) -> ssl.SSLContext | bool:
        """The line's authority and nobody else; False where the entry has no TLS."""
        return ssl.create_default_context(cafile=str(self._authority)) if self._scheme == "https" else False

    def url(self, resolved: Resolved) -> str:
        return f"{self._scheme}://{resolved.host}:{resolved.port}"

    def _entry(self) -> dict[str, int]:
        """Host → port of the entry, TLS where there is."""
        urls = self._told["urls"]
        secure = [url for label, url in urls.items() if label.startswith("https")]
        plain = [url for label, url in urls.items() if label.partition(" ")[0] == "http"]
        found = {}
        for url in secure or plain:
            host, _, port = url.partition("://")[2].rstrip("/").rpartition(":")
            found[host] = int(port)
        self._scheme = "https" if secure else "http"
        if not found:
            raise RunError("the line has no entry: nothing that clients could connect to")
        return found

    def ask(
        self, path: str, headers: Mapping[str, str], *, method: str = "GET", body: bytes | None = None,
        sampled: bool = True,
    ) -> Answer:  # fmt: skip
        """One request, traced. Raises RunError when nobody answers."""
        import httpx

        for late in ("httpcore._sync.http2", "dns.edns", "dns.message", "dns.query"):
            # Else the first request would pay for its client's imports.
            with contextlib.suppress(ImportError):
                importlib.import_module(late)

        trace = Span(span_id() + span_id(), span_id(), sampled)
        began = time.time_ns()
        resolved = self.resolve(trace)
        context = self.trust()
        url = f"{self.url(resolved)}{path}"
        sent = {"host": self.domain, "traceparent": trace.traceparent, **headers}
        asked = time.time_ns()
        try:
            # It comes from an address of its region, as far as this machine has any: all of 127.0.0.0/8, on Linux.
            transport = httpx.HTTPTransport(
                http2=True, verify=context, trust_env=False, local_address=self.source()
            )
            # The line is the one to give up; its budget says when.
            timeout = httpx.Timeout(self._told.get("patience", 60.0), connect=5)
            with httpx.Client(transport=transport, timeout=timeout, trust_env=False) as client:
                began = asked = time.time_ns() - (asked - began)
                answer = client.request(
                    method, url, headers=sent, content=body, extensions={"sni_hostname": self.domain}
                )
        except httpx.HTTPError as error:
            raise RunError(f"{url}: {error or type(error).__name__}") from None
        ended = time.time_ns()
        total = (ended - began) // 1000
        hop = Hop(
            trace=trace.trace, span=trace.span, tier="client", system=headers.get("x-client", "web"),
            zone=self.region, start_us=began // 1000, duration_us=total, status=answer.status_code,
            verdict=f"{answer.http_version} → {resolved.host}", name=f"{method} {path}",
        )  # fmt: skip
        resolving = None
        if resolved.place:
            resolving = Hop(
                trace=trace.trace, span=span_id(), parent=trace.span, tier="dns",
                system=self._told["lineup"].get("dns", ""), zone=self._told["region"], start_us=began // 1000,
                duration_us=resolved.took_us, verdict=f"→ {resolved.host} (measured by the client)", name=self.domain,
            )  # fmt: skip
        return Answer(
            status=answer.status_code, headers=list(answer.headers.items()), body=answer.content, trace=trace.trace,
            total_us=total, address=resolved.host, hop=hop,
            resolving=resolving,
        )  # fmt: skip
