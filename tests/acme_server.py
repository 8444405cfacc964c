"""A certificate authority that speaks ACME (RFC 8555), small and strict: what it must check, it checks.

Over HTTPS on loopback. Every request is a JWS that must be signed by the account's key, for this URL, with a nonce
that was given out and not used; a challenge is asked for over plain HTTP at where the name really answers. Its
certificates live as short as a test wants.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import http.client
import json
import secrets
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.x509.oid import NameOID

from tierline.run.authority import Authority


class Refused(Exception):
    def __init__(self, kind: str, status: int = 400) -> None:
        super().__init__(kind)
        self.kind, self.status = kind, status


class ACMEServer:
    """See the module. where: name → host and port that stand for its port 80. lifetime: of certificates, seconds."""

    def __init__(self, folder: Path, where: dict[str, tuple[str, int]], lifetime: float = 3600) -> None:
        self.where, self.lifetime = where, lifetime
        self.nonces: set[str] = set()
        self.accounts: dict[str, dict[str, Any]] = {}
        self.orders: dict[str, dict[str, Any]] = {}
        self.issued: list[int] = []
        """Serial numbers, the oldest first."""
        self.refusals: list[str] = []
        self.asked: list[str] = []
        """What the proofs were."""
        self.down = False
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.root = _root(self._key)
        self.trust = folder / "acme-root.pem"
        """Who issues the certificates."""
        self.trust.write_bytes(self.root.public_bytes(serialization.Encoding.PEM))
        (folder / "web").mkdir()
        web = Authority(folder / "web")
        chain, key = web.issue("localhost")
        self.web_trust = web.certificate
        """Who issued the directory's own certificate."""
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                self._answer(200, b"")

            def do_GET(self) -> None:
                self._answer(200, json.dumps(server.directory()).encode())

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                try:
                    if server.down:
                        raise Refused("serverInternal", 500)
                    status, headers, answer = server.answer(self.path, json.loads(body))
                except Refused as refused:
                    server.refusals.append(refused.kind)
                    status, headers = refused.status, {"content-type": "application/problem+json"}
                    answer = {"type": f"urn:ietf:params:acme:error:{refused.kind}", "detail": refused.kind}
                told = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
                self._answer(status, told, headers)

            def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
                self.send_response(status)
                for name, value in {
                    "content-type": "application/json", "replay-nonce": server.nonce(), "cache-control": "no-store",
                    **(headers or {}), "content-length": str(len(body)),
                }.items():  # fmt: skip
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain, key)
        self._http.socket = context.wrap_socket(self._http.socket, server_side=True)
        self.url = f"https://localhost:{self._http.server_address[1]}"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def directory(self) -> dict[str, Any]:
        return {
            "newNonce": f"{self.url}/nonce", "newAccount": f"{self.url}/account", "newOrder": f"{self.url}/order",
            "revokeCert": f"{self.url}/revoke", "keyChange": f"{self.url}/key",
            "meta": {"termsOfService": f"{self.url}/terms"},
        }  # fmt: skip

    def nonce(self) -> str:
        self.nonces.add(made := secrets.token_urlsafe(16))
        return made

    def answer(self, path: str, jws: dict[str, str]) -> tuple[int, dict[str, str], Any]:
        head = json.loads(_decoded(jws["protected"]))
        if head["nonce"] not in self.nonces:
            raise Refused("badNonce")
        self.nonces.discard(head["nonce"])
        if head["url"] != self.url + path:
            raise Refused("unauthorized", 401)
        jwk = head["jwk"] if "jwk" in head else self.accounts.get(head["kid"], {}).get("jwk")
        if jwk is None:
            raise Refused("accountDoesNotExist")
        if head["alg"] != "ES256" or ("jwk" in head) != (path == "/account"):
            raise Refused("malformed")
        _verify(jwk, jws)
        payload = json.loads(_decoded(jws["payload"])) if jws["payload"] else {}
        what, *rest = path.strip("/").split("/")
        if what == "account":
            return self._account(jwk, payload)
        return getattr(self, f"_{what}")(head["kid"], payload, *rest)  # type: ignore[no-any-return]

    def _account(self, jwk: dict[str, str], payload: dict[str, Any]) -> tuple[int, dict[str, str], Any]:
        url = f"{self.url}/account/{_thumbprint(jwk)}"
        known = url in self.accounts
        if not known and payload.get("onlyReturnExisting"):
            raise Refused("accountDoesNotExist")
        if not known and not payload.get("termsOfServiceAgreed"):
            raise Refused("userActionRequired", 403)
        self.accounts.setdefault(url, {"jwk": jwk, "contact": payload.get("contact", [])})
        return (
            200 if known else 201,
            {"location": url},
            {"status": "valid", "contact": payload.get("contact", [])},
        )

    def _order(self, kid: str, payload: dict[str, Any], id: str = "") -> tuple[int, dict[str, str], Any]:
        if id:
            return 200, {}, self._shown(self._mine(kid, id))
        names = [each["value"] for each in payload["identifiers"] if each["type"] == "dns"]
        if any(name not in self.where for name in names):
            raise Refused("rejectedIdentifier", 403)
        id = secrets.token_hex(6)
        proofs = {name: {"token": secrets.token_urlsafe(32), "status": "pending"} for name in names}
        self.orders[id] = {"id": id, "kid": kid, "names": names, "proofs": proofs, "chain": ""}
        return 201, {"location": f"{self.url}/order/{id}"}, self._shown(self.orders[id])

    def _mine(self, kid: str, id: str) -> dict[str, Any]:
        order = self.orders.get(id)
        if order is None or order["kid"] != kid:
            raise Refused("unauthorized", 403)
        return order

    def _shown(self, order: dict[str, Any]) -> dict[str, Any]:
        states = {proof["status"] for proof in order["proofs"].values()}
        status = "valid" if order["chain"] else "invalid" if "invalid" in states else (
            "pending" if "pending" in states else "ready"
        )  # fmt: skip
        at = f"{self.url}/{{}}/{order['id']}"
        return {
            "status": status,
            "identifiers": [{"type": "dns", "value": name} for name in order["names"]],
            "authorizations": [at.format("proof") + f"/{number}" for number in range(len(order["names"]))],
            "finalize": at.format("finalize"),
            **({"certificate": at.format("certificate")} if order["chain"] else {}),
        }

    def _proof(self, kid: str, _: Any, id: str, number: str) -> tuple[int, dict[str, str], Any]:
        order = self._mine(kid, id)
        name = order["names"][int(number)]
        return 200, {}, {
            "status": order["proofs"][name]["status"], "identifier": {"type": "dns", "value": name},
            "challenges": [self._challenged(order, int(number))],
        }  # fmt: skip

    def _challenged(self, order: dict[str, Any], number: int) -> dict[str, Any]:
        proof = order["proofs"][order["names"][number]]
        return {"type": "http-01", "url": f"{self.url}/challenge/{order['id']}/{number}", **proof}

    def _challenge(self, kid: str, _: Any, id: str, number: str) -> tuple[int, dict[str, str], Any]:
        order = self._mine(kid, id)
        name = order["names"][int(number)]
        proof = order["proofs"][name]
        proof["status"] = "valid" if self._proven(kid, name, proof["token"]) else "invalid"
        if proof["status"] == "invalid":
            kind = "urn:ietf:params:acme:error:unauthorized"
            proof["error"] = {
                "type": kind,
                "detail": f"{name} doesn't answer the challenge: {self.asked[-1]}",
            }
        return (
            200,
            {"link": f'<{self.url}/proof/{id}/{number}>;rel="up"'},
            self._challenged(order, int(number)),
        )

    def _proven(self, kid: str, name: str, token: str) -> bool:
        """Ask the name's own port 80."""
        connection = http.client.HTTPConnection(*self.where[name], timeout=3)
        try:
            connection.request("GET", f"/.well-known/acme-challenge/{token}", headers={"Host": name})
            answer = connection.getresponse()
            said = answer.read(1000).decode(errors="replace").strip()
            self.asked.append(f"{answer.status} {said}")
        except OSError as error:
            self.asked.append(repr(error))
            return False
        finally:
            connection.close()
        return answer.status == 200 and said == f"{token}.{_thumbprint(self.accounts[kid]['jwk'])}"

    def _finalize(self, kid: str, payload: dict[str, Any], id: str) -> tuple[int, dict[str, str], Any]:
        order = self._mine(kid, id)
        if self._shown(order)["status"] != "ready":
            raise Refused("orderNotReady", 403)
        csr = x509.load_der_x509_csr(_decoded(payload["csr"]))
        names = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        if not csr.is_signature_valid or sorted(names.get_values_for_type(x509.DNSName)) != sorted(
            order["names"]
        ):
            raise Refused("badCSR")
        order["chain"] = self._issue(csr, names)
        return 200, {"location": f"{self.url}/order/{id}"}, self._shown(order)

    def _issue(self, csr: x509.CertificateSigningRequest, names: x509.SubjectAlternativeName) -> str:
        now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
        made = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self.root.subject)
            .public_key(csr.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now)
            .not_valid_after(now + datetime.timedelta(seconds=self.lifetime))
            .add_extension(names, critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.issued.append(made.serial_number)
        chain = (made, self.root)
        return "".join(each.public_bytes(serialization.Encoding.PEM).decode() for each in chain)

    def _certificate(self, kid: str, _: Any, id: str) -> tuple[int, dict[str, str], Any]:
        return 200, {"content-type": "application/pem-certificate-chain"}, self._mine(kid, id)["chain"]


def _root(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a test's authority")])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _thumbprint(jwk: dict[str, str]) -> str:
    text = json.dumps({name: jwk[name] for name in ("crv", "kty", "x", "y")}, separators=(",", ":"))
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")


def _verify(jwk: dict[str, str], jws: dict[str, str]) -> None:
    x, y = (int.from_bytes(_decoded(jwk[each]), "big") for each in ("x", "y"))
    signature = _decoded(jws["signature"])
    der = utils.encode_dss_signature(
        int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    )
    signed = f"{jws['protected']}.{jws['payload']}".encode()
    try:
        ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key().verify(
            der, signed, ec.ECDSA(hashes.SHA256())
        )
    except InvalidSignature:
        raise Refused("malformed") from None
