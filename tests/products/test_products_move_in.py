"""A browser on a port other than the default, through the CDN, uses products on Django, FastAPI and Express."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest

from ports import free_port
from products import DJANGO, EXPRESS, FASTAPI, STACK
from workbench import Bench

PRODUCTS = ("django", "fastapi", "express")


class Browser:
    """Keeps cookies, follows redirects, and says where a form comes from, as browsers do."""

    def __init__(self, bench: Bench, port: int, lineup: str) -> None:
        self.lineup = lineup
        self.origin = f"https://localhost:{port}"
        self.ca = str(bench.state / "authority" / "ca.pem")
        self.client = httpx.Client(
            base_url=self.origin,
            verify=ssl.create_default_context(cafile=self.ca),
            http2=True,
            follow_redirects=True,
            trust_env=False,
            timeout=20,
        )

    def get(self, path: str) -> httpx.Response:
        return self.client.get(path).raise_for_status()

    def post(self, path: str, token: str, **more: Any) -> httpx.Response:
        headers = {"origin": self.origin, "referer": f"{self.origin}{path}", "x-csrftoken": token}
        return self.client.post(path, headers=headers, **more).raise_for_status()


@pytest.fixture(scope="module", params=["embedded", "popular", "alternate", "fast"])
def browser(request: pytest.FixtureRequest, frameworks: Path, tmp_path_factory: Any) -> Iterator[Browser]:
    port = free_port()
    texts = {"site_django": DJANGO, "site_fastapi": FASTAPI, "server.js": EXPRESS}
    bench = Bench(
        tmp_path_factory.mktemp("products") / "line",
        STACK.replace("FRAMEWORKS", str(frameworks)),
        {name: text.replace("FRAMEWORKS", str(frameworks)) for name, text in texts.items()},
    )
    try:
        bench.up("--port", f"https={port}", "--lineup", request.param)
        yield Browser(bench, port, request.param)
    finally:
        bench.close()


@pytest.mark.parametrize("product", PRODUCTS)
def test_log_in_and_follow_the_redirect(browser: Browser, product: str) -> None:
    token = browser.get(f"/{product}/login/" if product == "django" else f"/{product}/login").text
    path = f"/{product}/login" + "/" * (product == "django")
    answer = browser.post(path, token, data={"user": "ann"})
    found = answer.json()
    port = int(browser.origin.rpartition(":")[2])
    assert str(answer.url) == f"{browser.origin}/{product}/me/" == found["url"]
    assert found["user"] == "ann" and found["secure"] is True and found["client"] == "127.0.0.1"
    assert [found["server"][0], int(found["server"][1])] == ["localhost", port]


@pytest.mark.parametrize("product", PRODUCTS)
def test_upload(browser: Browser, product: str) -> None:
    token = browser.get("/django/login/").text if product == "django" else ""
    path, size = f"/{product}/upload/", 300_000
    if product == "django":
        answer = browser.post(path, token, files={"file": ("film.bin", b"x" * size)})
    else:
        answer = browser.post(path, token, content=b"x" * size)
    assert answer.json() == {"size": size}


@pytest.mark.parametrize("product", PRODUCTS)
def test_absolute_links_lead_on(browser: Browser, product: str) -> None:
    first = browser.get(f"/{product}/items/").json()
    assert first["next"] == f"{browser.origin}/{product}/items/?page=2"
    assert browser.get(first["next"]).json()["page"] == 2


@pytest.mark.parametrize("product", ["django", "fastapi"])
def test_a_slash_that_is_missing(browser: Browser, product: str) -> None:
    answer = browser.get(f"/{product}/items")
    assert str(answer.url) == f"{browser.origin}/{product}/items/" and len(answer.history) == 1


def test_a_form_of_another_site_is_refused(browser: Browser) -> None:
    token = browser.get("/django/login/").text
    headers = {"origin": "https://localhost:1", "x-csrftoken": token}
    assert browser.client.post("/django/login/", headers=headers, data={"user": "eve"}).status_code == 403


def test_a_websocket_knows_that_it_is_secure(browser: Browser) -> None:
    at = browser.origin.replace("https", "wss") + "/fastapi/talk"

    trust = ssl.create_default_context(cafile=browser.ca)

    async def heard() -> str:
        async with aiohttp.ClientSession() as session, session.ws_connect(at, ssl=trust) as socket:
            return await socket.receive_str()

    if browser.lineup == "alternate":
        # Traffic Server lets none through, as the plan says; the client hears so at once.
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            asyncio.run(heard())
        assert refused.value.status == 501
        return
    assert asyncio.run(heard()) == at
