"""Which certificate a role shows, wherever it comes from: a file, a certificate authority (ACME), or the line's own."""

from __future__ import annotations

from pathlib import Path

import msgspec

from tierline.engines.context import Context
from tierline.plan.model import Role


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate chain and its key, both PEM; they may be one file."""

    chain: Path
    key: Path
    thumbprint: str = ""
    """With ACME: of the account's key. A token and it, with a dot between, answer a challenge (RFC 8555, 8.3)."""

    @property
    def pem(self) -> str:
        """Chain and key in one."""
        parts = [self.chain] if self.chain == self.key else [self.chain, self.key]
        return "".join(part.read_text() for part in parts)


CHALLENGE = "/.well-known/acme-challenge/"
"""Where a certificate authority asks over plain HTTP, at port 80 of the name (RFC 8555, 8.3)."""


def shown(role: Role, context: Context) -> Shown:
    """The certificate of a role with the setting `certificate`."""
    given = role.settings["certificate"]
    if isinstance(given, str):
        path = (context.project / given).resolve()
        return Shown(chain=path, key=path)
    if given is not None:
        chain, key, thumbprint = context.acme(given)
        return Shown(chain=chain, key=key, thumbprint=thumbprint)
    chain, key = own(role, context)
    return Shown(chain=chain, key=key)


def own(role: Role, context: Context) -> tuple[Path, Path]:
    """The local authority's, for the names and addresses that the role answers to."""
    host, _ = context.address(role.id, "https")
    domain = context.plan.domain
    return context.certificate(domain, f"*.{domain}", "localhost", host, "127.0.0.1")
