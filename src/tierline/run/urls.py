"""Addresses for people: the line itself, its status page, its name service, its inbox."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tierline.run.line import Line


def urls(line: Line) -> dict[str, str]:
    """By what they are, for `status`: a region's or a zone's name follows where there are several."""
    found: dict[str, str] = {}
    for name in ("https", "http"):
        for entry in line.plan.entry:
            with contextlib.suppress(KeyError):
                host, port = line.addresses[(entry, name)]
                place = line.plan.roles[entry].region
                label = name if place == line.plan.region and name not in found else f"{name} {place}"
                found.setdefault(label, f"{name}://{host}:{port}/")
    host, port = line.addresses[("telemetry", "otlp")]
    found["status"] = f"http://{host}:{port}/?token={line.state.secret('telemetry.token')}"
    for role in line.plan.roles.values():
        for endpoint in role.endpoints:
            if endpoint.protocol == "dns":
                found["dns"] = "{}:{}".format(*line.addresses[(role.id, endpoint.name)])
            if role.tier == "lb" and endpoint.name in ("smtps", "imaps", "pop3s"):
                host, port = line.addresses[(role.id, endpoint.name)]
                found.setdefault(endpoint.name, f"{endpoint.name}://{host}:{port}")
            if endpoint.name == "mtls":
                label = "mtls" if "mtls" not in found else f"mtls {role.zone}"
                found[label] = "https://{}:{}/".format(*line.addresses[(role.id, endpoint.name)])
            if role.slot == "feature.mail" and endpoint.name == "http":
                at = line.addresses[(role.id, endpoint.name)]
                found["mail"] = "http://{}:{}/?token={}".format(*at, line.state.secret("mailbox.token"))
    return found
