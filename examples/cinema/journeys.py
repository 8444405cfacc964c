"""The cinema's four screens, each answered as one request; and where a visitor stopped.

home, film and search are the same for everybody, so that the CDN and the HTTP cache can answer them; what is personal
(my rating, my watchlist) the page asks the services for. checkout is the one that needs to know who asks.
home, film and checkout are the steps on the way to tickets: they are kept in the visitor's session.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, TypedDict

import msgspec

from screens import (
    Card,
    CheckoutAffiliate,
    CheckoutMobile,
    CheckoutWeb,
    Details,
    Film,
    FilmAffiliate,
    FilmMobile,
    FilmWeb,
    Found,
    HomeMobile,
    HomeWeb,
    Members,
    Offers,
    Order,
    SearchAffiliate,
    SearchMobile,
    SearchWeb,
    Shelf,
    card,
    line,
    offer,
    poster,
)
from tierline import Affiliate, Journey, Mobile, PartCache, Web
from tierline.journeys import BadInput, ServiceError, Session, Unauthorized

# On the home page, in this order.
GENRES = ("Drama", "Comedy", "Animation", "Documentary")
# The way to tickets.
FUNNEL = "tickets"

Words = Annotated[str, msgspec.Meta(max_length=200)]


def _cache(age: str, *keys: str) -> PartCache:
    # The services answer fast and keep what is worth keeping: here only the caches towards the client are told.
    return PartCache(age, stale="10m", stale_if_error="1h", keys=keys, store=False)


@contextmanager
def _told(where: str) -> Iterator[None]:
    """What a service says is wrong with its input is what is wrong with ours."""
    try:
        yield
    except ServiceError as error:
        if error.reply_status != 422:
            raise
        errors = msgspec.json.decode(error.body).get("errors") or []
        raise BadInput([{"in": where, **each} for each in errors]) from None


def _cards(films: list[Film]) -> list[Card]:
    return [card(film) for film in films]


# home ------------------------------------------------------------------------------------------------------------

home = Journey("home", "/home", deadline="2s", about="The best films, by genre, and what members love.")


@home.part(cache=_cache("60s", "top"))
async def top(catalog: Any) -> list[Card]:
    return _cards((await catalog.get("/top", limit=12)).json()["films"])


@home.part(deadline="500ms", fallback=[], cache=_cache("60s", "top"))
async def genres(catalog: Any) -> list[Shelf]:
    replies = await asyncio.gather(*(catalog.get("/top", genre=genre, limit=12) for genre in GENRES))
    return [
        {"genre": each["genre"], "films": _cards(each["films"])}
        for each in (reply.json() for reply in replies)
    ]


@home.part(deadline="300ms", fallback=[], cache=_cache("60s", "leaderboard"))
async def loved(catalog: Any, ratings: Any) -> list[Card]:
    """What our own members rate best, with what the catalog knows of these films."""
    board = (await ratings.get("/leaderboard", limit=12)).json()["films"]
    if not board:
        return []
    ids = ",".join(str(entry["film_id"]) for entry in board)
    return _cards((await catalog.get("/films", ids=ids)).json()["films"])


@home.view(Web, stream=True)
def home_web(top: list[Card], genres: list[Shelf], loved: list[Card]) -> HomeWeb:
    return {"top": top, "genres": genres, "loved": loved}


@home.view(Mobile)
def home_mobile(top: list[Card], genres: list[Shelf]) -> HomeMobile:
    return {
        "top": [line(film) for film in top[:6]],
        "genres": [
            {"genre": shelf["genre"], "films": [line(film) for film in shelf["films"][:4]]}
            for shelf in genres
        ],
    }


@home.view(Affiliate)
def home_affiliate(top: list[Card]) -> Offers:
    return {"films": [offer(film) for film in top]}


# film ------------------------------------------------------------------------------------------------------------

film = Journey(
    "film", "/film/{film_id}", deadline="2s", about="A film: what it is, who likes it, what is like it."
)


@film.part(cache=_cache("60s", "film-{film_id}"), forward_errors=404)
async def details(film_id: int, catalog: Any) -> Details:
    found = (await catalog.get("/films/{id}", id=film_id)).json()
    return {**found, "poster": poster(found)}


@film.part(deadline="400ms", fallback=[], cache=_cache("60s"))
async def similar(film_id: int, catalog: Any) -> list[Card]:
    return _cards((await catalog.get("/films/{id}/similar", id=film_id, limit=8)).json()["films"])


@film.part(deadline="300ms", fallback=None, cache=_cache("60s", "ratings-{film_id}"))
async def members_say(film_id: int, ratings: Any) -> Members:
    found = (await ratings.get("/ratings/{id}", id=film_id)).json()
    return {"votes": found["votes"], "average": found["average"], "spread": found["spread"]}


@film.view(Web, stream=True)
def film_web(details: Details, similar: list[Card], members_say: Members | None) -> FilmWeb:
    return {"film": details, "members": members_say, "similar": similar}


@film.view(Mobile)
def film_mobile(details: Details, similar: list[Card], members_say: Members | None) -> FilmMobile:
    return {
        "film": {**card(details), "minutes": details["minutes"], "votes": details["votes"]},
        "members": members_say and members_say["average"],
        "similar": [line(film) for film in similar[:4]],
    }


@film.view(Affiliate)
def film_affiliate(details: Details) -> FilmAffiliate:
    return {"film": {**offer(details), "rating": details["rating"], "genres": details["genres"]}}


# search ----------------------------------------------------------------------------------------------------------

search = Journey("search", "/search", deadline="2s", about="Find films by words or genre; misspelt ones too.")


@search.part(cache=_cache("60s", "films"))
async def found(
    catalog: Any,
    q: Words = "",
    genre: str | None = None,
    cursor: str | None = None,
    limit: Annotated[int, msgspec.Meta(ge=1, le=50)] = 24,
) -> Found:
    with _told("query"):
        reply = await catalog.get(
            "/films", q=q or None, genre=genre or None, cursor=cursor or None, limit=limit
        )
    page = reply.json()
    return {"films": _cards(page["films"]), "cursor": page["cursor"]}


@search.view(Web)
def search_web(found: Found, q: Words) -> SearchWeb:
    return {"q": q, "films": found["films"], "cursor": found["cursor"]}


@search.view(Mobile)
def search_mobile(found: Found) -> SearchMobile:
    return {"films": [line(film) for film in found["films"]], "cursor": found["cursor"]}


@search.view(Affiliate)
def search_affiliate(found: Found) -> SearchAffiliate:
    return {"films": [offer(film) for film in found["films"]], "cursor": found["cursor"]}


# checkout --------------------------------------------------------------------------------------------------------


class Tickets(msgspec.Struct):
    film_id: Annotated[int, msgspec.Meta(ge=1)]
    seats: Annotated[int, msgspec.Meta(ge=1, le=10)]
    email: Annotated[str, msgspec.Meta(min_length=3, max_length=254)]


checkout = Journey("checkout", "/checkout", methods=["POST"], deadline="5s", about="Buy tickets.")


@checkout.guard
async def buyer(identity: dict[str, Any] | None) -> dict[str, Any]:
    if identity is None:
        raise Unauthorized("log in to buy tickets")
    return identity


@checkout.part(hidden=True, forward_errors=404)
async def wanted(body: Tickets, catalog: Any) -> Card:
    """The film must exist before anybody pays for it."""
    return card((await catalog.get("/films/{id}", id=body.film_id)).json())


@checkout.effect(name="order", retries=1)
async def place(wanted: Card, buyer: dict[str, Any], body: Tickets, request: Any, orders: Any) -> Order:
    # The order is the member's: the token goes along. So does the idempotency key, by itself: sent twice, it is one order.
    headers = {"authorization": token} if (token := request.header("authorization")) else {}
    with _told("body"):
        reply = await orders.post("/orders", json=body, headers=headers)
    order: Order = reply.json()
    return order


@checkout.view(Web)
def checkout_web(order: Order, wanted: Card) -> CheckoutWeb:
    return {"order": order, "film": wanted, "status": f"/orders/{order['id']}"}


@checkout.view(Mobile)
def checkout_mobile(order: Order) -> CheckoutMobile:
    return {
        "order": {
            "id": order["id"],
            "status": order["status"],
            "total": order["total"],
            "currency": order["currency"],
        }
    }


@checkout.view(Affiliate)
def checkout_affiliate(order: Order) -> CheckoutAffiliate:
    return {"order": {"id": order["id"], "status": order["status"]}}


# On the way to tickets -------------------------------------------------------------------------------------------

home.step(FUNNEL)
film.step(FUNNEL, after=home)
checkout.step(FUNNEL, after=film)


class GoingOn(TypedDict):
    """Where the visitor stopped: the page's path, and the film."""

    path: str
    film: Card


resume = Journey(
    "resume",
    "/resume",
    methods=["GET", "DELETE"],
    about="Where this visitor stopped on the way to tickets; DELETE ends the visit on this device.",
)
join = Journey(
    "join",
    "/join",
    methods=["POST"],
    about="Makes this device one of the member's: they go on here where they stopped elsewhere.",
)


@join.part(hidden=True)
async def member(identity: dict[str, Any] | None, session: Session) -> Session:
    if identity is None:
        raise Unauthorized("log in to go on where you stopped")
    return session


@resume.part(name="member", hidden=True)
async def visitor(session: Session, request: Any) -> Session:
    if request.method == "DELETE":
        session.leave()
    return session


@resume.part(fallback=None)
@join.part(fallback=None)
async def going_on(member: Session, catalog: Any) -> GoingOn | None:
    """None: no film was looked at, or the tickets are bought."""
    stopped = member.steps.get(FUNNEL, {}).get("reached", {}).get(film.name)
    if stopped is None or member.left:
        return None
    found = (await catalog.get("/films/{id}", id=stopped["path"].rpartition("/")[2])).json()
    return {"path": stopped["path"], "film": card(found)}
