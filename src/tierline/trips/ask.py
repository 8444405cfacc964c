"""Asking a running line's telemetry: the hops of a trace, the counts of all requests."""

from __future__ import annotations

import http.client
import time
from collections.abc import Mapping
from typing import Any

import msgspec

from tierline.errors import RunError
from tierline.trips.hop import Hop

_LANDS = 1.2
"""Counts land once a second."""


class Telemetry:
    """One connection to the telemetry of a line whose status is `told`. Raises RunError when it doesn't answer."""

    def __init__(self, told: Mapping[str, Any]) -> None:
        address, _, self._token = told["urls"]["status"].partition("://")[2].partition("/?token=")
        host, _, port = address.rpartition(":")
        self._connection = http.client.HTTPConnection(host, int(port), timeout=5)

    def get(self, path: str) -> Any:
        return msgspec.json.decode(self.read(path))

    def read(self, path: str) -> bytes:
        """What it answers, as it is."""
        try:
            self._connection.request("GET", path, headers={"authorization": f"Bearer {self._token}"})
            return self._connection.getresponse().read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise RunError(f"telemetry does not answer: {error}; see tierline logs telemetry") from None

    def close(self) -> None:
        self._connection.close()


def hops(told: Mapping[str, Any], trace: str, patience: float = 2.0) -> list[Hop]:
    """The hops of a trace once they have all arrived: when no more come for a quarter of a second."""
    telemetry = Telemetry(told)
    deadline = time.monotonic() + patience
    last, since = 0, time.monotonic()
    rows: list[dict[str, Any]] = []
    while time.monotonic() < deadline:
        rows = telemetry.get(f"/trips/{trace}")
        if len(rows) != last:
            last, since = len(rows), time.monotonic()
        elif last and time.monotonic() - since > 0.25:
            break
        time.sleep(0.02)
    telemetry.close()
    return msgspec.convert(rows, list[Hop])


def counts(told: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Requests so far by tier, system, zone, status and verdict: complete."""
    time.sleep(_LANDS)
    telemetry = Telemetry(told)
    found: list[dict[str, Any]] = telemetry.get("/counts")
    telemetry.close()
    return found
