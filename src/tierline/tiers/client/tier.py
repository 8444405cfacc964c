"""Clients: who comes to the line, and how they identify themselves."""

from __future__ import annotations

from typing import ClassVar

from tierline.intent import Intent, setting


class Client(Intent):
    """Base of the clients. A journey's views are chosen by the client's kind."""

    kind: ClassVar[str] = ""


class Web(Client):
    """A browser: HTML and JSON, cookies, gzip."""

    kind = "web"


class Mobile(Client):
    """A mobile application: lean JSON, an application version."""

    kind = "mobile"
    version_header: str = setting("The header with the app's version.", default="x-app-version")


class Affiliate(Client):
    """A partner that embeds a part of the product."""

    kind = "affiliate"
    header: str = setting("The header that names the partner.", default="x-affiliate")
