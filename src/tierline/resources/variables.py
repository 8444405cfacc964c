"""A resource's addresses, as the environment of the application has them."""

from __future__ import annotations

import os
from collections.abc import Mapping

from tierline.errors import RunError, choices

_URLS = (
    "DATABASE_URL", "REDIS_URL", "VALKEY_URL", "NATS_URL", "AWS_ENDPOINT_URL_S3", "SMTP_URL",
)  # fmt: skip


class Resource(Mapping[str, str]):
    """The variables of one resource, without its name before them: `films["DATABASE_READ_URL"]`."""

    def __init__(self, name: str, variables: Mapping[str, str]) -> None:
        self.name = name
        self._variables = dict(variables)

    @property
    def url(self) -> str:
        """Where it is: the one of its variables that is its URL. Raises RunError when it has none."""
        for name in _URLS:
            if name in self._variables:
                return self._variables[name]
        raise RunError(f"resource {self.name!r} has no URL; it has {choices(self._variables)}")

    def __getitem__(self, name: str) -> str:
        return self._variables[name]

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(self._variables)

    def __len__(self) -> int:
        return len(self._variables)

    def __repr__(self) -> str:  # no values: they hold passwords
        return f"Resource({self.name!r}, {', '.join(self._variables)})"


def resource(name: str, environment: Mapping[str, str] | None = None) -> Resource:
    """A resource that the service's `uses=` names. Call it while the module is imported, as for any variable.

    environment: default `os.environ`. Raises RunError when nothing is told about a resource of that name.
    """
    given = os.environ if environment is None else environment
    prefix = name.upper().replace("-", "_") + "_"
    found = {key.removeprefix(prefix): value for key, value in given.items() if key.startswith(prefix)}
    if not found:
        raise RunError(
            f"resource({name!r}): no variable {prefix}… is set; write uses=[{name}] on the service, and ask for it "
            "while the module is imported"
        )
    return Resource(name, found)
