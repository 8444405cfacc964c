"""Consumers with a client certificate, on a listener of the gateway's own; nobody else reaches their paths."""

from __future__ import annotations

import datetime
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from feature_suite import Contract

from tierline import MTLS, Access, APIKeys, Gateway, RateLimit, Service, Stack
from tierline.run.authority import Authority, _builder, _save, _sha256


class MTLSContract(Contract):
    """Inherit it and name the system."""

    root: ClassVar[Path]
    partners: ClassVar[Authority]

    @classmethod
    def prepare(cls, root: Path) -> Callable[[], None] | None:
        cls.root = root
        (root / "partners").mkdir()
        cls.partners = Authority(root / "partners")
        cls.partners.client("acme", root)
        return None

    @classmethod
    def names(cls) -> dict[str, str]:
        return {
            "acme": "acme",
            "globex": "globex",
            "spiffe://partners/initech": "initech",
            "hooli.partners.test": "hooli",
        }

    @classmethod
    def stack(cls) -> Stack:
        return Stack(
            "edge",
            gateway=Gateway(
                mtls=MTLS(consumers=cls.names(), paths=["/partners"], ca="partners/ca.pem"),
                keys=APIKeys(consumers={"ann": ""}, paths=["/keyed"]),
                access=[Access(paths=["/partners/inside"], addresses=["127.0.0.0/8"])],
                limits=[RateLimit(3, per="60s", by="consumer", paths=["/partners/limited"])],
            ),
            services=[Service("echo", "app:app", expose=["/partners", "/open", "/keyed"])],
            zones=["a"],
        )

    def door(self, name: str | None = "acme", authority: Authority | None = None) -> httpx.Client:
        """A client of the listener for certificates, with one for this name."""
        host, port = self.line.address("a", "mtls")
        trust = ssl.create_default_context(cafile=str(self.line.context.authority))
        if name is not None:
            folder = self.root / "clients"
            folder.mkdir(exist_ok=True)
            trust.load_cert_chain(*(authority or self.partners).client(name, folder))
        return httpx.Client(base_url=f"https://{host}:{port}", verify=trust, trust_env=False)

    def test_a_consumer_is_known_by_its_certificate(self) -> None:
        self.asks("mtls")
        with self.door() as acme:
            found = self.arrived(acme.get("/partners/orders", headers={"x-tierline-consumer": "globex"}))
            assert found["headers"]["x-tierline-consumer"] == "acme"
            assert found["headers"]["x-forwarded-for"] == "127.0.0.1"
            self.arrived(acme.get("/open"))
            # What strangers may not say, they may not say here either.
            self.arrived(acme.get("/partners/inside", headers={"x-forwarded-for": "10.0.0.1"}))

    def test_without_a_certificate_the_paths_are_closed(self) -> None:
        self.asks("mtls")
        before = len(self.line.upstreams.seen)
        self.refused(self.get("/partners"), 401)
        self.refused(self.get("/partners/orders", x_tierline_consumer="acme"), 401)
        forged = 'By=x;Subject="CN=acme"'
        self.refused(self.get("/partners", x_forwarded_client_cert=forged, x_ssl_client_cn="acme"), 401)
        assert len(self.line.upstreams.seen) == before
        self.arrived(self.get("/open"))

    def test_an_unknown_certificate_is_refused(self) -> None:
        self.asks("mtls")
        before = len(self.line.upstreams.seen)
        with self.door("stranger") as stranger:
            self.refused(stranger.get("/partners"), 403)
        assert len(self.line.upstreams.seen) == before

    @pytest.mark.parametrize("kind", ["none", "other authority", "a server's", "expired"])
    def test_a_bad_certificate_gets_no_connection(self, kind: str, tmp_path: Path) -> None:
        self.asks("mtls")
        before = len(self.line.upstreams.seen)
        if kind == "none":
            client = self.door(None)
        elif kind == "other authority":
            (tmp_path / "other").mkdir()
            client = self.door("acme", Authority(tmp_path / "other"))
        elif kind == "a server's":
            client = self.door(None)
            client = self.wearing(*self.partners.issue("acme"))
        else:
            client = self.wearing(*self.expired(tmp_path))
        with client, pytest.raises((httpx.TransportError, ssl.SSLError)):
            client.get("/partners")
            client.get("/partners")  # TLS 1.3 tells a client only when it reads
        assert len(self.line.upstreams.seen) == before

    def wearing(self, chain: Path, key: Path) -> httpx.Client:
        host, port = self.line.address("a", "mtls")
        trust = ssl.create_default_context(cafile=str(self.line.context.authority))
        trust.load_cert_chain(chain, key)
        return httpx.Client(base_url=f"https://{host}:{port}", verify=trust, trust_env=False)

    def expired(self, folder: Path) -> tuple[Path, Path]:
        from cryptography.hazmat.primitives import serialization

        ca = x509.load_pem_x509_certificate(self.partners.certificate.read_bytes())
        signer = serialization.load_pem_private_key((self.root / "partners" / "ca.key").read_bytes(), None)
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, "acme")])
        now = datetime.datetime.now(datetime.UTC)
        made = _builder(subject, ca.subject, key.public_key(), 1)
        made._not_valid_before = (now - datetime.timedelta(days=3)).replace(tzinfo=None)
        made._not_valid_after = (now - datetime.timedelta(days=1)).replace(tzinfo=None)
        _save(folder / "old.pem", folder / "old.key", [made.sign(signer, _sha256()), ca], key)  # type: ignore[arg-type]
        return folder / "old.pem", folder / "old.key"

    def test_policies_know_the_consumer(self) -> None:
        self.asks("mtls")
        with self.door("acme") as acme, self.door("globex") as globex:
            statuses = [acme.get("/partners/limited").status_code for _ in range(4)]
            assert statuses == [200, 200, 200, 429]
            assert globex.get("/partners/limited").status_code == 200
            # A certificate is no key.
            self.refused(acme.get("/keyed"), 401)

    def test_the_hop_says_who_it_was(self) -> None:
        self.asks("mtls")
        trace = "7" * 32
        with self.door() as acme:
            acme.get("/partners", headers={"traceparent": f"00-{trace}-00f067aa0ba902b7-01"})
        (hop,) = self.line.hops(trace)
        assert hop.attributes["enduser.id"] == "acme"
        self.get("/partners", traceparent=f"00-{'6' * 31}7-00f067aa0ba902b7-01")
        (hop,) = self.line.hops("6" * 31 + "7")
        assert hop.verdict.startswith("refused: ") and "certificate" in hop.verdict

    def by(self, *names: str) -> httpx.Response:
        """The answer to who has these names, the first one as the common name."""
        chain, key = self.root / "workload.pem", self.root / "workload.key"
        self.partners._issue(names, chain, key, ("client",))
        with self.wearing(chain, key) as workload:
            return workload.get("/partners", headers={"x-tierline-consumer": "acme"})

    def test_a_consumer_is_known_by_an_alternative_name(self) -> None:
        self.asks("mtls_san")
        uri, dns = "spiffe://partners/initech", "hooli.partners.test"
        for names, consumer in (
            (("somebody", uri), "initech"), (("somebody", "more.test", "10.0.0.1", dns), "hooli"),
            (("somebody", *(f"host-{number}.partners.test" for number in range(40)), uri, "last.test"), "initech"),
            (("somebody", dns, uri), "initech"), (("acme", uri), "acme"),
        ):  # fmt: skip
            found = self.arrived(self.by(*names))
            assert found["headers"]["x-tierline-consumer"] == consumer, names

    def test_an_alternative_name_is_meant_as_a_whole(self) -> None:
        self.asks("mtls_san")
        for name in (
            "spiffe://partners/initech/more",
            "x.hooli.partners.test",
            "hooli.partners.test.x",
            "10.0.0.2",
        ):
            self.refused(self.by("somebody", name), 403)
