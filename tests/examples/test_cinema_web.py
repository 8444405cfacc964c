"""The web page: what it refers to exists. And what a browser makes of it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from plain import CINEMA, free_port, listening, process

WEB = CINEMA / "web"
PAGE = (WEB / "index.html").read_text()
SCRIPTS = {path.name: path.read_text() for path in (WEB / "static").glob("*.js")}


def test_every_file_that_the_page_names_is_there() -> None:
    named = re.findall(r'(?:src|href)="(/[^"#]*)"', PAGE)
    assert named and all((WEB / name[1:]).is_file() for name in named)
    for text in SCRIPTS.values():
        assert all((WEB / "static" / name).is_file() for name in re.findall(r'from "\./([^"]+)"', text))


def test_every_element_that_the_scripts_look_for_is_there() -> None:
    ids = set(re.findall(r' id="([^"]+)"', PAGE))
    asked = {id for text in SCRIPTS.values() for id in re.findall(r'\$\("([^"]+)"\)', text)}
    assert asked and asked <= ids, asked - ids


def test_the_page_needs_nobody_else() -> None:
    texts = [PAGE, *SCRIPTS.values(), *(path.read_text() for path in (WEB / "static").glob("*.css"))]
    assert not [url for text in texts for url in re.findall(r"https?://[^\s\"')]+", text)]
    assert "default-src 'self'" in PAGE
    assert not re.search(r"<script(?![^>]*src)|style=|onclick=", PAGE), "the policy allows nothing inline"
    assert "innerHTML" not in "".join(SCRIPTS.values()), "nothing that was fetched is parsed as HTML"


BROWSER = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def site(
    films: str, accounts: str, valkey: str, nats_url: str, bucket: dict[str, str]
) -> Iterator[Callable[[str], str]]:
    """What a browser shows for an address: the page's elements after its scripts have run."""
    if BROWSER is None:
        pytest.skip("no browser: apt-get install chromium")
    everything = {
        "DATABASE_READ_URL": films, "REDIS_URL": valkey, "NATS_URL": nats_url, "RATINGS_SUBJECT": "page", **bucket,
    }  # fmt: skip
    port, profile = free_port(), tempfile.mkdtemp(prefix="cinema-browser-")
    program = f"import sys; sys.path[:0] = [{str(CINEMA)!r}, {str(Path(__file__).parent)!r}]; import site_for_browsers"
    with process(
        sys.executable, "-c", program, str(port), json.dumps({**everything, "DATABASE_URL": accounts}),
        ready=listening(port),
    ):  # fmt: skip

        def show(address: str) -> str:
            told = subprocess.run(
                [
                    BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}",
                    "--virtual-time-budget=10000", "--dump-dom", f"http://127.0.0.1:{port}/{address}",
                ],
                capture_output=True, text=True, timeout=60,
            )  # fmt: skip
            return told.stdout

        yield show
    shutil.rmtree(profile, ignore_errors=True)


@pytest.mark.real
def test_the_pages_in_a_browser(site: Callable[[str], str]) -> None:
    home = site("")
    assert "The Shawshank Redemption" in home and home.count('class="card"') > 40
    film = site("?film=48908")
    assert "<title>Star Wars (1977) – Cinema</title>" in film, "a partner's link"
    assert "More like this" in film and "Buy tickets" in film
    assert "there is no film 99999999" in site("#/film/99999999")
