"""Clients: who comes to the line, and how they identify themselves."""

from __future__ import annotations

from typing import ClassVar, Literal

from tierline.intent import Intent, setting


class Client(Intent):
    """Base of the clients. A journey's views are chosen by the client's kind."""

    kind: ClassVar[str] = ""

    def asks(self) -> list[dict[str, str]]:
        """The headers of what such a client asks, once for each form of answer that it wants."""
        return []


class Web(Client):
    """A browser: HTML and JSON, cookies, gzip."""

    kind = "web"

    def asks(self) -> list[dict[str, str]]:
        html, data = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "application/json"
        return [{"x-client": "web", "accept": accept} for accept in (html, data)]


class Mobile(Client):
    """A mobile application: lean JSON, an application version."""

    kind = "mobile"
    version_header: str = setting("The header with the app's version.", default="x-app-version")

    def asks(self) -> list[dict[str, str]]:
        return [{"x-client": "mobile", "accept": "application/json", self.version_header: "1.0.0"}]


class Affiliate(Client):
    """A partner that embeds a part of the product."""

    kind = "affiliate"
    header: str = setting("The header that names the partner.", default="x-affiliate")


class Visit(Intent):
    """One kind of request of the stack's workload, for `tierline compare` and `kill --watch`."""

    path: str = setting(
        "What is asked; {1..500} stands for a number between.",
        allowed=lambda path: None if path.startswith("/") else "a path that begins with /",
    )
    weight: float = setting("How often, compared with the other visits.", default=1.0, above=0.001)
    client: Literal["web", "mobile", "affiliate"] = setting("Who asks.", default="web")
    region: str | None = setting("Where the client is; default: the stack's own region.", default=None)

    def headers(self) -> dict[str, str]:
        """The headers that make a request this client's."""
        return {"x-client": self.client, "user-agent": f"tierline ({self.client})"}
