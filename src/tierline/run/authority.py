"""The local certificate authority: made on first use, kept in the state folder, trusted by nobody else."""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tierline.run.state import write

if TYPE_CHECKING:
    from cryptography import x509

_YEARS = 5
_LEAF_DAYS = 90


class Authority:
    """Issues P-256 certificates for the line's names and addresses."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.certificate = folder / "ca.pem"
        self._key = folder / "ca.key"

    def issue(self, *names: str) -> tuple[Path, Path]:
        """Chain and key files for these DNS names and addresses; reused while valid for a week more."""
        self._ensure()
        digest = hashlib.sha256(" ".join(names).encode()).hexdigest()[:12]
        chain, key = self._folder / f"{digest}.pem", self._folder / f"{digest}.key"
        if not (chain.is_file() and key.is_file() and _valid(chain)):
            self._issue(names, chain, key)
        return chain, key

    def client(self, name: str, folder: Path) -> tuple[Path, Path]:
        """Chain and key files, in `folder`, with which a client of this name can show who it is."""
        self._ensure()
        chain, key = folder / f"{name}.pem", folder / f"{name}.key"
        self._issue((name,), chain, key, ("client",))
        return chain, key

    def peers(self) -> tuple[Path, Path, Path]:
        """This authority's certificate, and a chain and key that are good for both ends of a connection on loopback.
        They last as long as the authority: nobody renews what a running program has read."""
        self._ensure()
        chain, key = self._folder / "peer.pem", self._folder / "peer.key"
        if not (chain.is_file() and key.is_file() and _valid(chain)):
            self._issue(("localhost", "127.0.0.1"), chain, key, ("server", "client"), 365 * _YEARS)
        return self.certificate, chain, key

    def _ensure(self) -> None:
        if self.certificate.is_file() and self._key.is_file() and _valid(self.certificate):
            return
        from cryptography import x509
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import NameOID

        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tierline local authority")])
        certificate = (
            _builder(name, name, key.public_key(), 365 * _YEARS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(
                x509.KeyUsage(
                    digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False,
                    key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False,
                    decipher_only=False,
                ),
                critical=True,
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, _sha256())
        )  # fmt: skip
        _save(self.certificate, self._key, [certificate], key)
        for old in self._folder.glob("*.pem"):
            if old != self.certificate:
                old.unlink()

    def _issue(
        self, names: tuple[str, ...], chain: Path, path: Path, ends: tuple[str, ...] = ("server",),
        days: int = _LEAF_DAYS,
    ) -> None:  # fmt: skip
        from cryptography import x509
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

        issuer = x509.load_pem_x509_certificate(self.certificate.read_bytes())
        signer: Any = serialization.load_pem_private_key(self._key.read_bytes(), None)
        key = ec.generate_private_key(ec.SECP256R1())
        usages = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        certificate = (
            _builder(subject, issuer.subject, key.public_key(), days)
            .add_extension(
                x509.SubjectAlternativeName([_alternative(name) for name in names]), critical=False
            )
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            # A server's key is no client's, nor the other way round.
            .add_extension(
                x509.ExtendedKeyUsage([usages[end] for end in ends]),
                critical=False,
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
            )
            .sign(signer, _sha256())
        )
        _save(chain, path, [certificate, issuer], key)


def _builder(subject: x509.Name, issuer: x509.Name, key: Any, days: int) -> x509.CertificateBuilder:
    from cryptography import x509

    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def _alternative(name: str) -> Any:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.UniformResourceIdentifier(name) if "://" in name else x509.DNSName(name)


def _sha256() -> Any:
    from cryptography.hazmat.primitives import hashes

    return hashes.SHA256()


def _save(chain: Path, path: Path, certificates: list[Any], key: Any) -> None:
    from cryptography.hazmat.primitives import serialization

    pem = b"".join(certificate.public_bytes(serialization.Encoding.PEM) for certificate in certificates)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write(path, secret.decode())
    write(chain, pem.decode(), 0o644)


def _valid(chain: Path) -> bool:
    from cryptography import x509

    certificate = x509.load_pem_x509_certificate(chain.read_bytes())
    week = datetime.timedelta(days=7)
    return certificate.not_valid_after_utc > datetime.datetime.now(datetime.UTC) + week
