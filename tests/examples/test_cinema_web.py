"""The web page: what it refers to exists. And what a browser makes of it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from browser import Browser
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from plain import CINEMA, listening, process

from ports import free_port

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


TSC = shutil.which("tsc")


def test_the_client_of_the_page_is_what_the_journeys_say() -> None:
    told = subprocess.run(
        [
            sys.executable, "-m", "tierline", "client", "javascript", str(CINEMA),
            "--output", str(WEB / "static" / "journeys.js"), "--check",
        ],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr


@pytest.mark.skipif(TSC is None, reason="tsc: apt-get install node-typescript")
def test_the_pages_scripts_use_the_client_as_it_is_typed(tmp_path: Path) -> None:
    assert TSC is not None
    assert all(text.startswith("// @ts-check") for name, text in SCRIPTS.items() if name != "journeys.js")
    flags = (
        "--noEmit --allowJs --checkJs --strict --noUnusedLocals --noImplicitReturns "
        "--target es2022 --module es2022 --moduleResolution node --lib es2022,dom,dom.iterable"
    )

    def checked(folder: Path) -> str:
        argv = [TSC, *flags.split(), "app.js"]
        return subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=100).stdout

    assert checked(WEB / "static") == ""
    # And that it would notice: a field that the journey does not have.
    shutil.copytree(WEB / "static", tmp_path, dirs_exist_ok=True)
    pages = tmp_path / "pages.js"
    pages.write_text(pages.read_text().replace("film.minutes", "film.length"))
    assert "Property 'length' does not exist on type 'Details'" in checked(tmp_path)


BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
Device = Callable[[str], Browser]


@pytest.fixture(scope="module")
def site(
    films: str, accounts: str, valkey: str, nats_url: str, bucket: dict[str, str], folder: Path
) -> Iterator[Device]:
    """A browser by the name of its device, which shows the home page."""
    if BROWSER is None:
        pytest.skip("no browser: apt-get install chromium")
    key = folder / "signing.pem"
    made = ec.generate_private_key(ec.SECP256R1())
    key.write_bytes(made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    everything = {
        "DATABASE_URL": accounts, "DATABASE_READ_URL": films, "REDIS_URL": valkey, "NATS_URL": nats_url,
        "RATINGS_SUBJECT": "page", "ORDERS_SUBJECT": "page-orders", "JWT_SIGNING_KEY_FILE": str(key),
        "SMTP_URL": f"smtp://127.0.0.1:{free_port()}", **bucket,
    }  # fmt: skip
    port, profiles = free_port(), Path(tempfile.mkdtemp(prefix="cinema-browser-"))
    paths = [str(CINEMA), str(Path(__file__).parent), str(Path(__file__).parents[1])]
    program = f"import sys; sys.path[:0] = {paths!r}; import site_for_browsers"
    devices: dict[str, Browser] = {}
    with process(sys.executable, "-c", program, str(port), json.dumps(everything), ready=listening(port)):

        def device(name: str) -> Browser:
            if name not in devices:
                assert BROWSER is not None
                devices[name] = Browser(BROWSER, profiles / name)
            devices[name].open(f"http://127.0.0.1:{port}/")
            return devices[name]

        yield device
        for each in devices.values():
            each.close()
    shutil.rmtree(profiles, ignore_errors=True)


def pictured(page: Browser, name: str) -> None:
    """A picture for whoever wants to look: PICTURES=folder pytest …"""
    if folder := os.environ.get("PICTURES"):
        page.picture(Path(folder) / f"{name}.png")


GOING_ON = "Go on where you stopped"


@pytest.mark.real
def test_the_pages_in_a_browser(site: Device) -> None:
    page = site("laptop")
    page.sees("The Shawshank Redemption")
    whole(page)
    headings = page.run("[...document.querySelectorAll('main h2')].map(each => each.textContent)")
    # What members love is shown once somebody has rated: another test may have.
    assert [each for each in headings if each != "Loved by our members"] == [
        "The best films", "Drama", "Comedy", "Animation", "Documentary",
    ]  # fmt: skip
    pictured(page, "home")
    page.run("location.href = '/?film=48908'")
    page.until("document.title === 'Star Wars (1977) – Cinema'")
    for text in ("More like this", "Buy tickets", "None of our members has rated it yet."):
        page.sees(text)
    assert page.run("document.querySelector('.way [aria-current]').textContent") == "Film"
    pictured(page, "film")
    page.run("location.hash = '#/film/99999999'")
    page.sees("there is no film 99999999")
    page.run("location.hash = '#/search?q=godfahter'")
    page.sees("The Godfather")
    assert page.run("document.title") == "godfahter – Cinema"
    page.run("location.hash = '#/search?genre=Drama'")
    page.until("document.title === 'Drama – Cinema' && document.querySelector('h1').textContent === 'Drama'")
    pictured(page, "search")
    page.click("button.more")
    page.until("document.querySelectorAll('.card').length === 48")


def log_in(page: Browser) -> None:
    page.click("#account")
    page.fill("#login", name="Ada")
    page.until("document.querySelector('#who').textContent === 'Ada'")


def whole(page: Browser) -> None:
    """All of the home page has come."""
    page.until("document.querySelectorAll('.card').length > 40 && !document.querySelector('.slot')")


def look_at_a_film(page: Browser) -> str:
    page.click(".card")
    page.until("document.querySelector('.film h1')")
    # Not left before all of it has come: only then it is a step.
    page.until("document.querySelectorAll('.shelf .card').length && !document.querySelector('.slot')")
    return str(page.run("document.title")).removesuffix(" – Cinema")


@pytest.mark.real
def test_who_logs_in_goes_on_on_another_device_and_buys(site: Device) -> None:
    laptop = site("laptop")
    whole(laptop)
    film = look_at_a_film(laptop)
    log_in(laptop)
    again = site("laptop")
    again.sees(f"{GOING_ON}: tickets for {film}")
    whole(again)
    pictured(again, "going-on")

    phone = site("phone")
    phone.sees("The best films")
    assert GOING_ON not in phone.run("document.body.innerText"), "nobody is logged in there"
    log_in(phone)
    phone.sees(f"{GOING_ON}: tickets for {film}")
    phone.click(".going-on a")
    phone.until("document.querySelector('.film h1')")
    phone.click(".actions button")
    phone.fill("#buy", seats="3", email="ada@example.com")
    phone.sees("3 × 12.50 €: 37.50 €")
    pictured(phone, "checkout")
    assert phone.run("document.querySelector('.way [aria-current]').textContent") == "Tickets"

    laptop = site("laptop")
    whole(laptop)
    assert GOING_ON not in laptop.run("document.body.innerText"), "there is nothing left to do"


@pytest.mark.real
def test_a_device_that_was_logged_out_has_forgotten(site: Device) -> None:
    kiosk = site("kiosk")
    whole(kiosk)
    look_at_a_film(kiosk)
    log_in(kiosk)
    site("kiosk").sees(GOING_ON)
    kiosk.click("#account")
    kiosk.until("document.querySelector('#account').textContent === 'Log in'")
    kiosk = site("kiosk")
    whole(kiosk)
    assert GOING_ON not in kiosk.run("document.body.innerText")
