"""Paths: what a policy matched is what the service gets, in every system alike (plan/paths.py).

A system inherits the suite with an empty subclass that names its tier and itself.
"""

from __future__ import annotations

import ssl
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from edge import Line, Seen, raw

from tierline import CDN, Access, CDNRule, Gateway, HTTPCache, LoadBalancer, RateLimit, Service, Stack
from tierline.tiers.base import system
from waiting import eventually

NOBODY = ("192.0.2.0/24",)
REFUSED = (
    "/p/..;/secret", "/p/../secret", "/./secret", "/x/..", "/x/.", "/x/%2e%2e/secret", "/x/.%2E/secret",
    "/x/..%2fsecret", "/x%2f..%2fsecret", "/x/..%5csecret", "/x\\..\\secret", "/x/%252e%252e/secret", "/secret%00",
    "/secret%0d%0aX:y", "/secret%7f", "/secret\\", "/secret%", "/secret%4", "/secret%zz", "/%c0%afsecret",
    "/x/%c0%ae%c0%ae/secret", "/%e0%80%afsecret", "/x/..%3b/secret",
)  # fmt: skip
"""In either mode."""
SPELT = (
    "//secret", "/secret//x", "/secret;x=1", "/secret;/x", "/%73ecret", "/secre%74/x", "/%2573ecret", "/secret%2fx",
    "/secret%2Fx", "/secret%5Cx", "/%2fsecret",
)  # fmt: skip
"""Other spellings of a path with a rule: refused, or, as they are sent, met by the rule."""
PLAIN = (
    "/caf%C3%A9", "/a%20b", "/100%25", "/x?y=%2fz//;..%00", "/.well-known/x", "/x/...", "/x..", "/a%3fb", "/a%23b",
    "/Secret", "/secrets", "/a'b(c)*+,=@:!$&~", "/%e2%82%ac",
)  # fmt: skip
"""Go on as they are."""
KEYS = ("/@scope%2fname", "/a//b", "/a;v=1/b", "/%7Euser", "/keys/a%2Fb%2fc", "/a%2525")
"""Go on as they are with paths="as_sent"."""


def respelt(path: str, name: str) -> str:
    """The same spelling of another name than `secret`."""
    first, last = f"%{ord(name[0]):x}", f"{name[:-1]}%{ord(name[-1]):x}"
    spelt = path.replace("%73ecret", first + name[1:]).replace("secre%74", last)
    return spelt.replace("%2573ecret", "%25" + first[1:] + name[1:]).replace("secret", name)


class PathsContract:
    """Inherit it, name tier and system."""

    tier: ClassVar[str] = ""
    system: ClassVar[str] = ""
    running: ClassVar[dict[str, Line]]

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def lines(cls) -> Iterator[None]:
        cls.running = {}
        yield
        for line in cls.running.values():
            line.close()

    def line(self, paths: str) -> Line:
        if paths not in self.running:
            said: dict[str, Any] = {"paths": paths}
            tiers: dict[str, Any] = {}
            if self.tier == "gateway":
                said["access"] = [Access(paths=["/secret"], addresses=NOBODY)]
                said["limits"] = [RateLimit(1, per="1h", by="client", paths=["/counted"])]
            if self.tier == "cdn":
                tiers["cdn"] = CDN(
                    rules=[
                        CDNRule("/secret", networks=NOBODY),
                        CDNRule("/secret/", networks=NOBODY),
                        CDNRule("/signed", signed=True),
                        CDNRule("/signed/", signed=True),
                    ]
                )
            if self.tier == "lb":
                tiers["lb"] = LoadBalancer()
            if self.tier == "cache":
                tiers |= {"lb": LoadBalancer(), "cache": HTTPCache()}
            stack = Stack(
                "edge", **tiers, gateway=Gateway(**said), services=[Service("web", "app:app", expose=["/"])],
                zones=["a"],
            )  # fmt: skip
            # Another engine than the tier has: they would share a process.
            uses = {"gateway": "envoy" if self.system == "haproxy" else "haproxy", self.tier: self.system}
            self.running[paths] = Line(stack, self.tier, uses).start()
        return self.running[paths]

    def ask(self, path: str, paths: str = "safe", tls: bool = False) -> tuple[int, list[Seen]]:
        line = self.line(paths)
        before = len(line.upstreams.seen)
        role = next(r.id for r in line.plan.roles.values() if r.name == self.tier)
        trust = ssl.create_default_context(cafile=str(line.context.authority)) if tls else None
        request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nX-Test-Header: cache-control: no-store\r\nConnection: close\r\n\r\n"
        answer = raw(line.addresses[(role, "https" if tls else "http")], request.encode(), tls=trust)
        assert answer, path
        return int(answer.split()[1]), line.upstreams.seen[before:]

    def as_sent(self) -> str:
        """The mode, where the tier has it."""
        lacks = self.tier == "gateway" and "paths_as_sent" in system(self.tier, self.system).lacks
        return "safe" if lacks else "as_sent"

    @pytest.mark.parametrize("path", REFUSED)
    def test_what_has_another_meaning_is_refused(self, path: str) -> None:
        if self.tier == "cache":
            return  # the tiers around it do
        for paths in dict.fromkeys(("safe", self.as_sent())):
            status, seen = self.ask(path, paths)
            assert status == 400 and not seen, (paths, status, seen)

    @pytest.mark.parametrize("path", SPELT)
    def test_a_rule_holds_for_every_spelling(self, path: str) -> None:
        if self.tier == "cache":
            return
        status, seen = self.ask(path)
        normalised = self.tier == "lb" and self.system == "traefik" and path in ("/%73ecret", "/secre%74/x")
        if normalised:
            assert seen[0].path in ("/secret", "/secret/x")
            return
        assert status == 400 and not seen, (status, seen)
        if self.as_sent() == "as_sent" and self.tier == "gateway":
            status, seen = self.ask(path, "as_sent")
            assert status == 403 and not seen, (status, seen)

    def test_a_limit_counts_every_spelling(self) -> None:
        if self.tier != "gateway":
            return
        for paths in dict.fromkeys(("safe", self.as_sent())):
            assert eventually(lambda paths=paths: self.ask("/counted", paths)[0] == 429)
            # At once: Envoy takes a second to hang up.
            with ThreadPoolExecutor(len(SPELT)) as pool:
                asked = pool.map(lambda path, paths=paths: self.ask(respelt(path, "counted"), paths), SPELT)
                for path, (status, seen) in zip(SPELT, asked, strict=True):
                    assert status in ((400,) if paths == "safe" else (400, 429)), (path, paths, status)
                    assert not seen, (path, paths, seen)

    @pytest.mark.parametrize("path", SPELT)
    def test_no_spelling_needs_no_signature(self, path: str) -> None:
        if self.tier != "cdn":
            return
        spelt = respelt(path, "signed")
        assert self.ask("/signed")[0] == 403 and self.ask("/signed/x")[0] == 403
        status, seen = self.ask(spelt)
        assert status in (400, 403) and not seen, (spelt, status, seen)

    def test_the_same_over_http2(self) -> None:
        line = self.line("safe")
        role = next(r for r in line.plan.roles.values() if r.name == self.tier)
        if all(each.name != "https" for each in role.endpoints):
            return
        host, port = line.addresses[(role.id, "https")]
        trust = ssl.create_default_context(cafile=str(line.context.authority))
        with httpx.Client(
            verify=trust, http2=True, trust_env=False, base_url=f"https://{host}:{port}"
        ) as client:
            for path in (
                "/p/..;/secret",
                "/x/%2e%2e/secret",
                "//secret",
                "/secret;x",
                "/secret%2fx",
                "/secret%zz",
            ):
                before = len(line.upstreams.seen)
                try:
                    answer = client.get(
                        "/", headers={"host": "localhost"}, extensions={"target": path.encode()}
                    )
                except httpx.RemoteProtocolError:
                    assert "%zz" in path  # no URI at all: the stream may be reset (RFC 9113, 8.1.1)
                    continue
                finally:
                    assert len(line.upstreams.seen) == before
                assert answer.http_version == "HTTP/2" and answer.status_code == 400, (
                    path,
                    answer.status_code,
                )
                assert len(line.upstreams.seen) == before
            answer = client.get(
                "/", headers={"host": "localhost"}, extensions={"target": b"/caf%C3%A9?x=%2f"}
            )
            assert answer.status_code == 200
            assert self.plain(line.upstreams.seen[-1].path) == self.plain("/caf%C3%A9?x=%2f")

    @pytest.mark.parametrize("path", PLAIN)
    def test_other_paths_go_on_as_they_are(self, path: str) -> None:
        for paths in dict.fromkeys(("safe", self.as_sent())):
            status, seen = self.ask(path, paths)
            assert status == 200 and [self.plain(each.path) for each in seen] == [self.plain(path)], (
                paths,
                status,
                seen,
            )

    def plain(self, path: str) -> str:
        """Traefik decodes letters, writes hexadecimal digits in upper case, and `;` of a query as %3B."""
        if self.system != "traefik":
            return path
        path, _, query = path.upper().replace("%7E", "~").partition("?")
        return f"{path}?{query.replace(';', '%3B')}"

    @pytest.mark.parametrize("path", KEYS)
    def test_names_with_slashes_go_on_as_they_are_sent(self, path: str) -> None:
        if self.as_sent() == "safe":
            return
        status, seen = self.ask(path, "as_sent")
        assert status == 200 and [self.plain(each.path) for each in seen] == [self.plain(path)], (
            status,
            seen,
        )
