"""Two members and their devices through a whole line with a CDN: nobody sees, loses or repeats what is another's."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.cookies import SimpleCookie
from typing import Any

import httpx
import pytest

from waiting import eventually
from workbench import Bench, run

STACK = """
from screens import journeys
from tierline import CDN, DNS, JWT, Gateway, HTTPCache, LoadBalancer, Mobile, Service, Sessions, Stack, Web

stack = Stack(
    "bank", clients=[Web(), Mobile()], dns=DNS("bank.test"), cdn=CDN(), lb=LoadBalancer(), cache=HTTPCache(),
    gateway=Gateway(auth=JWT(issuer="bank", audience="bank", paths=["/me", "/pay"])),
    journeys=journeys, zones=["a"],
    services=[Service("ledger", "ledger:app", uses=[Sessions("session", ttl="1d")], fuse=False)],
)
"""

LEDGER = '''
"""What it is asked, in order, and whose."""
import asyncio
import json

PAID = []


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    if scope["method"] == "POST":
        await asyncio.sleep(0.1)
        PAID.append(json.loads(body))
        answer = {"id": len(PAID)}
    elif scope["path"] == "/paid":
        answer = PAID
    else:
        await asyncio.sleep(0.01)
        answer = {"path": scope["path"], "secret": "of " + scope["path"]}
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": json.dumps(answer).encode()})
'''

SCREENS = """
from tierline.journeys import HTML, Cache, Cursor, Journey, Page, Reply, page

me = Journey("me", "/me", requires="member")
add = Journey("add", "/cart/{item}", methods=["PUT"])
cart = Journey("cart", "/cart")
pay = Journey("pay", "/pay", methods=["POST"], requires=True)
rates = Journey("rates", "/rates")


@me.part(cache=Cache("60s", per="user"))
async def account(identity, ledger) -> dict:
    return (await ledger.get("/accounts/{id}", id=identity["sub"])).json()


@me.part(fallback=None, deadline="1ms")
async def late(ledger) -> dict | None:
    return (await ledger.get("/accounts/slow")).json()


@me.part
async def entries(identity, after: Cursor[int] | None = None) -> Page[str]:
    start = after.values[0] if after else 0
    return page([f"{identity['sub']} {n}" for n in range(start, 5)][:3], 2, lambda text: int(text.split()[1]) + 1)


@me.view("web")
def page_of_mine(account: dict) -> HTML:
    return HTML("<p>{a[secret]}</p>", a=account)


@add.part
async def added(item: int, session, ledger) -> list[int]:
    await ledger.get("/items/{id}", id=item)
    session.setdefault("cart", []).append(item)
    return session["cart"]


@cart.part
def items(session) -> list[int]:
    return session.get("cart", [])


@pay.effect
async def payment(identity, session, body: dict[str, int], ledger) -> Reply[dict]:
    made = (await ledger.post("/payments", json={**body, "of": identity["sub"], "cart": session["cart"]})).json()
    return Reply(made, status=201, location=f"/payments/{made['id']}", cookies={"last": str(made["id"])})


@rates.part(cache="60s")
async def rate(ledger) -> dict:
    return (await ledger.get("/rates")).json()


@rates.part(cache=Cache("60s", per="user"), requires="member", fallback=None)
async def mine(identity, ledger) -> dict | None:
    return (await ledger.get("/rates/{id}", id=identity["sub"])).json()


@pay.part
async def paid(payment: dict, ledger) -> int:
    return len((await ledger.get("/paid")).json())


prices = Journey("prices", "/prices")


@prices.part(cache=Cache("1s", stale="1h"))
async def price(ledger) -> dict:
    return (await ledger.get("/rates")).json()


add.step("buy"), pay.step("buy", after=add, required=True)
journeys = [me, add, cart, pay, rates, prices]
"""


class Bank:
    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.url = bench.status()["urls"]["https"]
        self.tokens = {
            name: run(
                "token", str(bench.folder), "--sub", name, "--claim", "scope=member"
            ).stdout.strip()
            for name in ("ada.l", "eve.l")
        }  # fmt: skip

    def client(self, who: str = "", **headers: str) -> httpx.Client:
        """A device: it has no cookies of others."""
        sent = {"host": "bank.test", "x-client": "mobile", "accept": "application/json", **headers}
        if who:
            sent["authorization"] = f"Bearer {self.tokens[who]}"
        # The line's names resolve nowhere here, so the cookies are put together by hand.
        return httpx.Client(base_url=self.url, headers=sent, verify=False, timeout=30)

    def device(self, who: str) -> httpx.Client:
        """One that was signed in on, and has no token any more."""
        with self.client() as visitor:
            before = cookie_of(visitor.put("/cart/1"))
        with self.client(who) as signed:
            return self.client(cookie=cookie_of(signed.put("/cart/2", headers={"cookie": before})))


def cookie_of(reply: httpx.Response) -> str:
    assert "set-cookie" in reply.headers, f"{reply.status_code} {reply.headers} {reply.text}"
    found: SimpleCookie = SimpleCookie(reply.headers["set-cookie"])
    return f"tierline_session={found['tierline_session'].value}"


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bank]:
    bench = Bench(tmp_path_factory.mktemp("bank"), STACK, {"ledger": LEDGER, "screens": SCREENS})
    try:
        bench.up()
        yield Bank(bench)
    finally:
        bench.close()


@pytest.mark.parametrize(
    "target",
    ["/me", "/me?fields=account", "/me?fields=account.secret,entries", "/me?stream", "/rates", "/rates?fields=mine"],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["mobile", "web"])
def test_nobody_is_answered_with_anothers(bank: Bank, target: str, kind: str) -> None:
    accept = (
        "application/x-ndjson" if "stream" in target else "text/html, */*;q=0.1" if kind == "web" else "*/*"
    )
    ada, eve, nobody = (
        bank.client(who, **{"x-client": kind, "accept": accept}) for who in ("ada.l", "eve.l", "")
    )
    for _ in range(2):
        for own, client, other in (("ada.l", ada, "eve.l"), ("eve.l", eve, "ada.l")):
            reply = client.get(target)
            if kind == "web" and "fields" in target:
                assert reply.status_code in (200, 406, 422)
            else:
                assert reply.status_code == 200, reply.text
                assert own in reply.text
            assert other not in reply.text
            if "rates" not in target:
                assert "public" not in reply.headers["cache-control"]
            tag = reply.headers.get("etag")
            if tag is not None:
                again = (eve if client is ada else ada).get(target, headers={"if-none-match": tag})
                assert again.status_code == 200 and own not in again.text
        stranger = nobody.get(target)
        assert "ada.l" not in stranger.text and "eve.l" not in stranger.text
        assert stranger.status_code == (200 if "rates" in target else 401)


def test_problems_of_one_member_are_not_given_to_another(bank: Bank) -> None:
    ada, eve = bank.client("ada.l"), bank.client("eve.l")
    for target in ("/me?after=x", "/me?fields=nothing", "/me?fields=account.nothing"):
        for client in (ada, eve):
            reply = client.get(target)
            assert reply.status_code == 422 and "no-store" in reply.headers["cache-control"]
    cursor = ada.get("/me").json()["entries"]["next"]
    assert eve.get("/me", params={"after": cursor}).json()["entries"]["items"] == ["eve.l 2", "eve.l 3"]


@pytest.mark.parametrize("path", ["/-/metrics", "/-/journeys", "/-/openapi.json", "/-/health"])
def test_what_is_told_about_journeys_is_for_nobody_outside(bank: Bank, path: str) -> None:
    assert bank.client("ada.l").get(path).status_code == 404


@pytest.mark.parametrize(
    "headers",
    [
        {"x-tierline-claims": '{"sub":"ada.l","scope":"member"}'},
        {"X-Tierline-Claims": "eyJzdWIiOiJhZGEubCJ9", "connection": "x-tierline-claims"},
        {"x_tierline_claims": '{"sub":"ada.l","scope":"member"}'},
        {"x-session": "user:ada.l"},
        {"cookie": "tierline_session=user:ada.l"},
    ],
)
def test_claims_and_sessions_can_not_be_made_up(bank: Bank, headers: dict[str, str]) -> None:
    bank.device("ada.l").close()
    assert bank.client().get("/me", headers=headers).status_code == 401
    assert bank.client().get("/cart", headers=headers).json() == {"items": []}
    assert "ada.l" not in bank.client("eve.l").get("/me", headers=headers).text


def test_two_devices_of_a_member_write_one_session_at_once(bank: Bank) -> None:
    devices = [bank.device("ada.l"), bank.device("ada.l")]
    assert devices[0].headers["cookie"] != devices[1].headers["cookie"]
    numbers = range(100, 116)
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda n: devices[n % 2].put(f"/cart/{n}"), numbers))
    assert {reply.status_code for reply in replies} == {200}
    for device in devices:
        assert set(numbers) <= set(device.get("/cart").json()["items"])
    assert not set(numbers) & set(bank.device("eve.l").get("/cart").json()["items"])


def test_a_step_out_of_order_says_where_to_go(bank: Bank) -> None:
    with bank.client("eve.l") as eve:
        eve.put("/cart/1")
        assert eve.post("/pay", json={"cents": 1}).status_code == 201, "which ends the funnel"
        early = eve.post("/pay", json={"cents": 1})
    assert early.status_code == 409
    assert early.json()["step"] == "add" and early.json()["go_to"].startswith("/")


def test_a_key_is_one_payment_of_one_member_for_one_body(bank: Bank) -> None:
    ada, eve, key = bank.client("ada.l"), bank.client("eve.l"), str(uuid.uuid4())
    for client in (ada, eve):
        client.put("/cart/7")

    def paid(client: httpx.Client, cents: int) -> httpx.Response:
        return client.post("/pay", json={"cents": cents}, headers={"idempotency-key": key})

    with ThreadPoolExecutor(4) as pool:
        replies: list[Any] = list(pool.map(lambda _: paid(ada, 5), range(4)))
    assert {reply.status_code for reply in replies} == {201}
    assert len({reply.headers["location"] for reply in replies}) == 1
    assert len({reply.json()["payment"]["id"] for reply in replies}) == 1
    assert all("Secure" in reply.headers["set-cookie"] for reply in replies)
    assert paid(ada, 6).status_code == 409
    hers = paid(eve, 5)
    assert hers.status_code == 201 and hers.headers["location"] != replies[0].headers["location"]
    assert paid(eve, 6).status_code == 409


@pytest.mark.parametrize("origin", ["https://evil.test", "null", "https://bank.test.evil.test"])
def test_a_page_of_another_site_writes_nothing(bank: Bank, origin: str) -> None:
    device = bank.device("ada.l")
    before = device.get("/cart").json()
    assert device.put("/cart/666", headers={"origin": origin}).status_code == 403
    assert device.put("/cart/666", headers={"sec-fetch-site": "cross-site"}).status_code == 403
    assert device.get("/cart").json() == before


def test_a_large_body_that_is_refused_is_told_why(bank: Bank) -> None:
    """Not 503, as when the journeys close amid it."""
    foreign = {"origin": "https://evil.test", "cookie": "a=b"}
    with bank.client("ada.l", **foreign) as client:
        for _ in range(10):
            reply = client.put("/cart/7", content=b"x" * 3_000_000)
            assert reply.status_code == 403 and reply.json()["type"].endswith(":cross-origin")


def test_a_copy_that_is_used_while_a_new_one_is_made_is_told_to_clients_and_in_the_lines_metrics(
    bank: Bank,
) -> None:
    seen: list[httpx.Response] = []
    with bank.client() as client:

        def old() -> bool:
            # Another URL each time: the journeys have a copy of the part, the caches in front none of the answer.
            seen.append(client.get(f"/prices?n={len(seen)}"))
            assert seen[-1].status_code == 200
            return "x-tierline-degraded" in seen[-1].headers

        assert eventually(old)
    reply = seen[-1]
    (told,) = reply.json()["degraded"]
    assert (told["part"], told["why"], told["stale"]) == ("price", "stale-while-revalidate", True)
    assert int(reply.headers["age"]) >= told["age"] >= 1
    assert "max-age=1" in reply.headers["cache-control"]
    counter = 'tierline_journeys_part_revalidated_total{journey="prices",part="price"} '
    assert eventually(lambda: counter in bank.bench.run("metrics").stdout)
