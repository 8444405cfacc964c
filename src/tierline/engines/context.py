"""What an engine may ask while it turns a unit into processes: addresses, paths, secrets, certificates."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from tierline.plan.model import Plan, Ref, Text


class Context(Protocol):
    """Implemented by `run` (local ports, the state folder) and by `deploy` (placeholders of an image)."""

    plan: Plan
    stack: Path
    """The stack file."""

    def address(self, role: str, endpoint: str) -> tuple[str, int]:
        """Host and port of an endpoint. Raises KeyError when the plan has no such endpoint."""

    def text(self, text: Text) -> str:
        """The string with its references resolved."""

    def attribute(self, ref: Ref) -> str:
        """One reference resolved."""

    def attribute_of(self, name: str, attribute: str) -> str:
        """An attribute of a tier or resource by its name, wherever it stands (`gateway`, `jwks`)."""

    def document(self, url: str, ca: str | None, every: float) -> str:
        """A JSON object from a URL (https, or this machine), the last good copy; fetched again every so many
        seconds as long as the line runs. ca: a PEM file of the project. Raises RunError when there is none."""

    def unit_of(self, role: str) -> str:
        """The unit that plays a role."""

    def folder(self, unit: str) -> Path:
        """Where a unit keeps its configuration and sockets; emptied by `down`."""

    def data(self, unit: str) -> Path:
        """Where a unit keeps what survives `down`; removed by `down --volumes`."""

    def hops(self, unit: str) -> Path:
        """The JSON-lines file that the unit's hops are appended to (see trips/hop.py)."""

    def secret(self, name: str) -> str:
        """A password or token by name: made on first use, kept in a 0600 file, the same ever after."""

    def certificate(self, *names: str) -> tuple[Path, Path]:
        """Certificate chain and key (PEM files) from the local authority for DNS names and addresses."""

    def peers(self, unit: str) -> tuple[Path, Path, Path]:
        """For a unit whose parts talk to each other over ports: the certificate of an authority that nobody else has,
        and a certificate chain and key from it, with which each part shows the others that it is one of them (PEM)."""

    def acme(self, settings: dict[str, Any]) -> tuple[Path, Path, str]:
        """Chain and key of what an ACME authority issued for the line, or the local authority's until it has;
        and the thumbprint of the account's key. settings: the data of a stack's ACME(…)."""

    @property
    def authority(self) -> Path:
        """The local certificate authority's certificate (PEM)."""

    @property
    def project(self) -> Path:
        """The folder of the stack file: what relative paths in the stack are relative to."""

    @property
    def python(self) -> str:
        """The interpreter that services and tierline's own engines run on."""
