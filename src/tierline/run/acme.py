"""Certificates from an authority that speaks ACME (RFC 8555), proven over HTTP through the line itself.

    account key, made once → order → the balancer answers the challenge → chain and key, kept → renewed in time

The answer to a challenge is its token and the account key's thumbprint, so the balancer can give it without being
told of each one. What was issued is kept in `.tierline/authority/acme/`; until something is, the local authority's
certificate stands in.
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import hashlib
import importlib.util
import json
import re
import threading
import time
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tierline.engines.certificates import CHALLENGE
from tierline.errors import RunError
from tierline.run.authority import Authority
from tierline.run.state import write

_DEADLINE = 60.0
"""Seconds for one order."""
_SHARE = 3
"""Without renew_before=, a certificate is renewed when this part of its life is left: one third."""


class Acme:
    """One line's certificate from one authority. Reading is cheap, `renew` takes seconds and blocks."""

    def __init__(
        self, folder: Path, authority: Authority, domain: str, settings: dict[str, Any], project: Path
    ) -> None:
        self.settings = settings
        self.names = tuple(settings["names"]) or (domain,)
        self._folder, self._authority, self._project = folder, authority, project
        at = hashlib.sha256(settings["directory"].encode()).hexdigest()[:12]
        self._account = folder / f"account-{at}.key"
        self._registered = folder / f"account-{at}.json"
        self._pem = folder / f"{hashlib.sha256(' '.join((at, *self.names)).encode()).hexdigest()[:12]}.pem"

    def certificate(self) -> tuple[Path, Path]:
        """Chain and key: what was issued, else the local authority's for the same names."""
        if self._pem.is_file() and self.until() > time.time():
            return self._pem, self._pem
        return self._authority.issue(*dict.fromkeys((*self.names, "localhost", "127.0.0.1")))

    def until(self) -> float:
        """When what was issued ends (seconds since 1970); 0: nothing was."""
        return self._span()[1]

    def due(self) -> float:
        """When it is to be renewed (seconds since 1970); 0: at once."""
        began, ends = self._span()
        before = self.settings["renew_before"]
        return ends - (before if before is not None else (ends - began) / _SHARE) if ends else 0.0

    def _span(self) -> tuple[float, float]:
        from cryptography import x509

        if not self._pem.is_file():
            return 0.0, 0.0
        found = x509.load_pem_x509_certificate(self._pem.read_bytes())
        return found.not_valid_before_utc.timestamp(), found.not_valid_after_utc.timestamp()

    @property
    def thumbprint(self) -> str:
        """Of the account's key (RFC 7638)."""
        numbers = self._key().public_key().public_numbers()
        x, y = (_base64(each.to_bytes(32, "big")) for each in (numbers.x, numbers.y))
        known = json.dumps({"crv": "P-256", "kty": "EC", "x": x, "y": y}, separators=(",", ":"))
        return _base64(hashlib.sha256(known.encode()).digest())

    def _key(self) -> Any:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec

        if not self._account.is_file():
            write(self._account, _pem(ec.generate_private_key(ec.SECP256R1())))
        return serialization.load_pem_private_key(self._account.read_bytes(), None)

    @staticmethod
    def check() -> None:
        """Raises RunError when the client isn't installed."""
        if importlib.util.find_spec("acme") is None:
            raise RunError(_NEEDED)

    def renew(self, answering: Sequence[tuple[str, int]] = ()) -> None:
        """Order, answer, fetch and keep. Raises RunError with what the authority said.

        answering: where balancers that can't answer challenges by themselves send them.
        """
        with contextlib.ExitStack() as closing:
            for address in answering:
                closing.enter_context(_responder(address, self.thumbprint))
            self._order()

    def _order(self) -> None:
        try:
            from acme import client, crypto_util, errors, messages
            from acme.challenges import HTTP01
            from josepy.jwa import ES256
            from josepy.jwk import JWKEC
            from requests import RequestException
        except ImportError:
            raise RunError(_NEEDED) from None
        from cryptography.hazmat.primitives.asymmetric import ec

        directory = self.settings["directory"]
        trust: Any = str((self._project / given).resolve()) if (given := self.settings["authority"]) else True
        key = JWKEC(key=self._key())
        net = client.ClientNetwork(key, alg=ES256, verify_ssl=trust, user_agent="tierline", timeout=10)
        private = _pem(ec.generate_private_key(ec.SECP256R1()))
        try:
            asked = client.ClientV2(client.ClientV2.get_directory(directory, net), net)
            self._log_in(asked, messages, errors)
            order = asked.new_order(crypto_util.make_csr(private.encode(), list(self.names)))
            for each in order.authorizations:
                if each.body.status == messages.STATUS_VALID:
                    continue
                (http,) = [one for one in each.body.challenges if isinstance(one.chall, HTTP01)]
                asked.answer_challenge(http, http.response(key))
            deadline = datetime.datetime.now() + datetime.timedelta(seconds=_DEADLINE)
            chain = asked.poll_and_finalize(order, deadline).fullchain_pem
        except errors.ValidationError as error:
            said = [
                str(one.error) for each in error.failed_authzrs for one in each.body.challenges if one.error
            ]
            raise RunError(f"{directory} says: {'; '.join(said)}") from None
        except (errors.Error, messages.Error, RequestException, ValueError) as error:
            raise RunError(f"{directory}: {error or type(error).__name__}") from None
        write(self._pem, chain.rstrip("\n") + "\n" + private)

    def _log_in(self, asked: Any, messages: Any, errors: Any) -> None:
        """The account, made when this key has none yet."""
        new = messages.NewRegistration.from_data(email=self.settings["email"], terms_of_service_agreed=True)
        try:
            asked.new_account(new)
        except errors.ConflictError as known:
            asked.query_registration(messages.RegistrationResource(body=new, uri=known.location))


@contextlib.contextmanager
def _responder(address: tuple[str, int], thumbprint: str) -> Iterator[None]:
    """Answers challenges on an address of its own (RFC 8555, 8.3)."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            token = re.fullmatch(re.escape(CHALLENGE) + "([A-Za-z0-9_-]+)", self.path)
            body = f"{token[1]}.{thumbprint}".encode() if token else b""
            self.send_response(200 if token else 404)
            self.send_header("content-type", "text/plain")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Nothing: the balancer's own log has it."""

    with ThreadingHTTPServer(address, Answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


_NEEDED = (
    "certificate=ACME(…) needs a client that isn't installed here. Install it: pip install 'tierline[acme]'"
)


def _pem(key: Any) -> str:
    from cryptography.hazmat.primitives import serialization

    made: bytes = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return made.decode()


def _base64(data: bytes) -> str:
    return re.sub("=", "", base64.urlsafe_b64encode(data).decode())
