"""Hops into DuckDB: tierline's own telemetry."""

from __future__ import annotations

from tierline.tiers.base import System


class Telemetry(System):
    title = "tierline telemetry"
    engine = "telemetry"
    levels = frozenset({"runs"})
    endpoints = {"otlp": "http"}
