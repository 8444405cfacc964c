"""The shop's services: small Starlette applications that know nothing of tierline. They keep what they have in memory."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

PRODUCTS = {
    1: {"id": 1, "title": "Kettle <steel>", "weight": 1100},
    2: {"id": 2, "title": "Teapot", "weight": 900},
    3: {"id": 3, "title": "Cup", "weight": 250},
}
CENTS = {1: 4900, 2: 3500, 3: 990}
RATES = {"EUR": 100, "USD": 117}


def application(**paths: Any) -> Starlette:
    """An application of handlers: `GET_products_id` answers GET /products/{id}."""

    async def health(request: Request) -> Response:
        return Response("ok")

    routes = [Route("/health", health)]
    for name, handler in paths.items():
        method, *pieces = name.split("_")
        path = "/" + "/".join(f"{{{piece}}}" if piece in ("id", "key") else piece for piece in pieces)
        routes.append(Route(path, handler, methods=[method]))
    return Starlette(routes=routes)


def serving(service: object) -> Starlette:
    """An application of an object's methods."""
    return application(**{name: getattr(service, name) for name in dir(service) if name[:1].isupper()})


def asked(request: Request) -> list[int]:
    """`?id=1&id=2`."""
    return [int(each) for each in request.query_params.getlist("id")]


async def listed(request: Request) -> Response:
    return JSONResponse([PRODUCTS[each] for each in asked(request) if each in PRODUCTS])


catalogue = application(GET_products=listed)


async def priced(request: Request) -> Response:
    rate = RATES[request.query_params.get("currency", "EUR")]
    return JSONResponse({each: CENTS[each] * rate // 100 for each in asked(request) if each in CENTS})


pricing = application(GET_prices=priced)


class Stock:
    """How many there are; what is reserved is known by its key, so a reservation made twice is made once."""

    def __init__(self) -> None:
        self.left = {1: 3, 2: 0, 3: 40}
        self.reserved: dict[str, dict[int, int]] = {}
        self.changed = asyncio.Event()
        self.version = 0

    def change(self, counts: dict[int, int], sign: int) -> None:
        for each, count in counts.items():
            self.left[each] += sign * count
        self.version += 1
        self.changed.set()
        self.changed = asyncio.Event()

    async def GET_stock_id(self, request: Request) -> Response:
        """At once, or with `after=` when it has changed since that version, but not later than after 10 s."""
        if request.query_params.get("after") == str(self.version):
            changed = self.changed
            await asyncio.wait([asyncio.ensure_future(changed.wait())], timeout=10)
        left = self.left.get(int(request.path_params["id"]), 0)
        return JSONResponse({"left": left, "version": self.version})

    async def PUT_reservations_key(self, request: Request) -> Response:
        key = request.path_params["key"]
        counts = {int(each): count for each, count in (await request.json()).items()}
        if key not in self.reserved:
            if any(self.left.get(each, 0) < count for each, count in counts.items()):
                raise HTTPException(409, "sold out")
            self.reserved[key] = counts
            self.change(counts, -1)
        return JSONResponse({"id": key})

    async def DELETE_reservations_key(self, request: Request) -> Response:
        self.change(self.reserved.pop(request.path_params["key"], {}), +1)
        return Response(status_code=204)


class Reviews:
    """Slow, as what somebody else runs is: it answers when `go` is set, and that is after 0.3 s unless a test says else."""

    def __init__(self, go: asyncio.Event | None = None) -> None:
        self.go = go
        self.kept = {1: [{"stars": 5, "text": "Boils & pours"}]}

    async def GET_products_id_reviews(self, request: Request) -> Response:
        await (asyncio.sleep(0.3) if self.go is None else self.go.wait())
        return JSONResponse(self.kept.get(int(request.path_params["id"]), []))

    async def POST_products_id_reviews(self, request: Request) -> Response:
        review = await request.json()
        self.kept.setdefault(int(request.path_params["id"]), []).append(review)
        return JSONResponse(review, 201)


class Carts:
    """How many of each product, by the cart's key. To set the same twice changes nothing."""

    def __init__(self) -> None:
        self.kept: dict[str, dict[int, int]] = {}

    async def GET_carts_key(self, request: Request) -> Response:
        return JSONResponse(self.kept.get(request.path_params["key"], {}))

    async def PUT_carts_key_id(self, request: Request) -> Response:
        cart = self.kept.setdefault(request.path_params["key"], {})
        cart[int(request.path_params["id"])] = await request.json()
        self.kept[request.path_params["key"]] = {each: count for each, count in cart.items() if count}
        return JSONResponse(self.kept[request.path_params["key"]])


class Orders:
    """Payments and orders; each knows the idempotency keys that it has seen."""

    def __init__(self) -> None:
        self.seen: dict[str, Any] = {}
        self.numbers = itertools.count(1)
        self.payments: dict[str, str] = {}

    async def POST_payments(self, request: Request) -> Response:
        asked = await request.json()
        if asked["card"] == "declined":
            raise HTTPException(402, "declined")
        made = self.seen.setdefault(request.headers["idempotency-key"], {"id": f"p{next(self.numbers)}"})
        self.payments.setdefault(made["id"], "taken")
        return JSONResponse(made)

    async def DELETE_payments_id(self, request: Request) -> Response:
        self.payments[request.path_params["id"]] = "returned"
        return Response(status_code=204)

    async def POST_orders(self, request: Request) -> Response:
        asked = await request.json()
        if asked["delivery"] == "bike" and asked["address"]["country"] != "GB":
            raise HTTPException(422, "no bike goes there")
        order = {"id": next(self.numbers), **asked}
        return JSONResponse(self.seen.setdefault(request.headers["idempotency-key"], order))


stock, opinions, carts, orders = map(serving, (Stock(), Reviews(), Carts(), Orders()))
