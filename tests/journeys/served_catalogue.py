"""The catalogue's journeys as an application for a server."""

from __future__ import annotations

from catalogue import JOURNEYS

from tierline.journeys import build

app = build(JOURNEYS)
