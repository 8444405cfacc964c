"""The context of a local run: what the plan left open, filled in with this machine's addresses and paths."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from tierline.engines.keysets import EMPTY, usable
from tierline.errors import RunError
from tierline.plan.model import Plan, Ref, Text
from tierline.run.acme import Acme
from tierline.run.addresses import Addresses
from tierline.run.authority import Authority
from tierline.run.fetched import Fetched
from tierline.run.keys import KEY_ID, Issuer
from tierline.run.state import State


class LocalContext:
    """Implements engines/context.py for `run`."""

    def __init__(self, plan: Plan, state: State, addresses: Addresses) -> None:
        self.plan = plan
        self.addresses = addresses
        self.python = sys.executable
        self.stack = state.stack
        self.project = state.stack.parent
        self._state = state
        self._authority = Authority(state.folder("authority"))
        self._issuer = Issuer(state.folder("authority"))
        self.fetched = Fetched(state.folder("fetched"))
        self._roles = plan.roles
        self._units = {role.id: unit.id for unit in plan.units for role in unit.roles}

    @property
    def left_out(self) -> frozenset[str]:
        """Roles that don't answer now."""
        return self._state.left_out

    @property
    def authority(self) -> Path:
        return self._authority.certificate

    def address(self, role: str, endpoint: str) -> tuple[str, int]:
        return self.addresses[(role, endpoint)]

    def text(self, text: Text) -> str:
        return "".join(part if isinstance(part, str) else self.attribute(part) for part in text.parts)

    def attribute(self, ref: Ref) -> str:
        head, _, rest = ref.attribute.partition(".")
        if head == "secret":
            return self.secret(rest)
        if ref.attribute in ("signing_key", "key_id", "jwks"):
            return self.attribute_of(ref.role, ref.attribute)
        if ref.attribute == "database":
            unit = next(unit for unit in self.plan.units if unit.id == self._units[ref.role])
            return str([role.id for role in unit.roles].index(ref.role))
        host, port = self.address(ref.role, head)
        return {"host": host, "port": str(port), "address": f"{host}:{port}"}[rest]

    def attribute_of(self, name: str, attribute: str) -> str:
        role = next(role for role in self._roles.values() if role.name == name)
        if attribute == "signing_key":
            self._issuer.jwks()
            return str(self._issuer.key)
        if attribute == "key_id":
            return KEY_ID
        if attribute == "local_jwks":
            return self._issuer.jwks()
        if attribute == "jwks":
            return str(self._jwks(role.settings["auth"]))
        raise KeyError(attribute)

    def document(self, url: str, ca: str | None, every: float) -> str:
        return self.fetched.get(url, self.project / ca if ca else None, every)

    def _jwks(self, auth: dict[str, Any]) -> str:
        given, ca = auth["jwks"], auth["ca"]
        if given is None:
            return self._issuer.jwks()
        if "://" not in given:
            return str((self.project / given).read_text())
        try:
            where = self.project / ca if ca else None
            return self.fetched.get(
                given, where, auth["refresh"], lambda text: usable(text, auth["algorithms"])
            )
        except RunError:  # nobody is let in until the keys are there; `follow` tells and tries again
            return EMPTY

    def unit_of(self, role: str) -> str:
        return self._units[role]

    def folder(self, unit: str) -> Path:
        return self._state.folder("run", unit)

    def data(self, unit: str) -> Path:
        return self._state.folder("data", unit)

    def hops(self, unit: str) -> Path:
        return self._state.folder("hops") / f"{unit}.jsonl"

    def secret(self, name: str) -> str:
        return self._state.secret(name)

    def certificate(self, *names: str) -> tuple[Path, Path]:
        return self._authority.issue(*dict.fromkeys(names))

    def peers(self, unit: str) -> tuple[Path, Path, Path]:
        return Authority(self._state.folder("authority", f"peers-{unit}")).peers()

    def acme(self, settings: dict[str, Any]) -> tuple[Path, Path, str]:
        found = self.acme_of(settings)
        return (*found.certificate(), found.thumbprint)

    def acme_of(self, settings: dict[str, Any]) -> Acme:
        """Who asks the authority."""
        folder = self._state.folder("authority", "acme")
        return Acme(folder, self._authority, self.plan.domain, settings, self.project)

    def sign(self, claims: dict[str, object], lifetime: float = 3600) -> str:
        """A development token from the local issuer."""
        return self._issuer.sign(claims, lifetime)
