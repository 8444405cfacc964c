"""The cinema's four screens, each answered as one request.

home, film and search are the same for everybody, so that the CDN and the HTTP cache can answer them; what is personal
(my rating, my watchlist) the page asks the services for. checkout is the one that needs to know who asks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import msgspec

from tierline import Affiliate, Journey, Mobile, PartCache, Web
from tierline.journeys import BadInput, ServiceError, Unauthorized

# On the home page, in this order.
GENRES = ("Drama", "Comedy", "Animation", "Documentary")

Film = dict[str, Any]
Films = list[Film]
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


def _card(film: Film) -> Film:
    return {
        "id": film["id"],
        "title": film["title"],
        "year": film["year"],
        "rating": film["rating"],
        "genres": film["genres"],
        "poster": f"/posters/{film['id']}.svg",
    }


def _line(film: Film) -> Film:
    """What a telephone shows of a film in a list."""
    return {
        "id": film["id"],
        "title": film["title"],
        "year": film["year"],
        "rating": film["rating"],
        "poster": f"/posters/{film['id']}.svg",
    }


def _offer(film: Film) -> Film:
    """What a partner may show of a film."""
    return {"id": film["id"], "title": film["title"], "year": film["year"], "link": f"/?film={film['id']}"}


# home ------------------------------------------------------------------------------------------------------------

home = Journey("home", "/home", deadline="2s", about="The best films, by genre, and what members love.")


@home.part(cache=_cache("60s", "top"))
async def top(catalog: Any) -> Films:
    films: Films = (await catalog.get("/top", limit=12)).json()["films"]
    return films


@home.part(deadline="500ms", fallback=[], cache=_cache("60s", "top"))
async def genres(catalog: Any) -> list[dict[str, Any]]:
    replies = await asyncio.gather(*(catalog.get("/top", genre=genre, limit=12) for genre in GENRES))
    return [reply.json() for reply in replies]


@home.part(deadline="300ms", fallback=[], cache=_cache("60s", "leaderboard"))
async def loved(catalog: Any, ratings: Any) -> Films:
    """What our own members rate best, with what the catalog knows of these films."""
    board = (await ratings.get("/leaderboard", limit=12)).json()["films"]
    if not board:
        return []
    ids = ",".join(str(entry["film_id"]) for entry in board)
    films: Films = (await catalog.get("/films", ids=ids)).json()["films"]
    return films


@home.view(Web)
def home_web(top: Films, genres: list[dict[str, Any]], loved: Films) -> dict[str, Any]:
    return {
        "top": [_card(film) for film in top],
        "genres": [
            {"genre": row["genre"], "films": [_card(film) for film in row["films"]]} for row in genres
        ],
        "loved": [_card(film) for film in loved],
    }


@home.view(Mobile)
def home_mobile(top: Films, genres: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "top": [_line(film) for film in top[:6]],
        "genres": [
            {"genre": row["genre"], "films": [_line(film) for film in row["films"][:4]]} for row in genres
        ],
    }


@home.view(Affiliate)
def home_affiliate(top: Films) -> dict[str, Any]:
    return {"films": [_offer(film) for film in top]}


# film ------------------------------------------------------------------------------------------------------------

film = Journey(
    "film", "/film/{film_id}", deadline="2s", about="A film: what it is, who likes it, what is like it."
)


@film.part(cache=_cache("60s", "film-{film_id}"))
async def details(film_id: int, catalog: Any) -> Film:
    found: Film = (await catalog.get("/films/{id}", id=film_id)).json()
    return found


@film.part(deadline="400ms", fallback=[], cache=_cache("60s"))
async def similar(film_id: int, catalog: Any) -> Films:
    films: Films = (await catalog.get("/films/{id}/similar", id=film_id, limit=8)).json()["films"]
    return films


@film.part(deadline="300ms", fallback=None, cache=_cache("60s", "ratings-{film_id}"))
async def members_say(film_id: int, ratings: Any) -> dict[str, Any]:
    found: dict[str, Any] = (await ratings.get("/ratings/{id}", id=film_id)).json()
    return found


@film.view(Web)
def film_web(details: Film, similar: Films, members_say: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "film": {**details, "poster": f"/posters/{details['id']}.svg"},
        "members": members_say and {name: members_say[name] for name in ("votes", "average", "spread")},
        "similar": [_card(film) for film in similar],
    }


@film.view(Mobile)
def film_mobile(details: Film, similar: Films, members_say: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "film": {**_card(details), "minutes": details["minutes"], "votes": details["votes"]},
        "members": members_say and members_say["average"],
        "similar": [_line(film) for film in similar[:4]],
    }


@film.view(Affiliate)
def film_affiliate(details: Film) -> dict[str, Any]:
    return {"film": {**_offer(details), "rating": details["rating"], "genres": details["genres"]}}


# search ----------------------------------------------------------------------------------------------------------

search = Journey("search", "/search", deadline="2s", about="Find films by words or genre; misspelt ones too.")


@search.part(cache=_cache("60s", "films"))
async def found(
    catalog: Any,
    q: Words = "",
    genre: str | None = None,
    cursor: str | None = None,
    limit: Annotated[int, msgspec.Meta(ge=1, le=50)] = 24,
) -> dict[str, Any]:
    with _told("query"):
        reply = await catalog.get(
            "/films", q=q or None, genre=genre or None, cursor=cursor or None, limit=limit
        )
    page: dict[str, Any] = reply.json()
    return page


@search.view(Web)
def search_web(found: dict[str, Any], q: Words) -> dict[str, Any]:
    return {"q": q, "films": [_card(film) for film in found["films"]], "cursor": found["cursor"]}


@search.view(Mobile)
def search_mobile(found: dict[str, Any]) -> dict[str, Any]:
    return {"films": [_line(film) for film in found["films"]], "cursor": found["cursor"]}


@search.view(Affiliate)
def search_affiliate(found: dict[str, Any]) -> dict[str, Any]:
    return {"films": [_offer(film) for film in found["films"]], "cursor": found["cursor"]}


# checkout --------------------------------------------------------------------------------------------------------


class Tickets(msgspec.Struct):
    film_id: Annotated[int, msgspec.Meta(ge=1)]
    seats: Annotated[int, msgspec.Meta(ge=1, le=10)]
    email: Annotated[str, msgspec.Meta(min_length=3, max_length=254)]


checkout = Journey("checkout", "/checkout", methods=["POST"], deadline="5s", about="Buy tickets.")


@checkout.part(hidden=True)
async def buyer(identity: dict[str, Any] | None) -> dict[str, Any]:
    if identity is None:
        raise Unauthorized("log in to buy tickets")
    return identity


@checkout.part(hidden=True)
async def wanted(body: Tickets, catalog: Any) -> Film:
    """The film must exist before anybody pays for it."""
    found: Film = (await catalog.get("/films/{id}", id=body.film_id)).json()
    return found


@checkout.part(name="order")
async def place(
    wanted: Film, buyer: dict[str, Any], body: Tickets, request: Any, orders: Any
) -> dict[str, Any]:
    # The client's key goes all the way: sent twice, it is one order. So does its token: the order is the member's.
    names = ("idempotency-key", "authorization")
    headers = {name: request.header(name) for name in names if request.header(name)}
    with _told("body"):
        reply = await orders.post("/orders", json=body, headers=headers)
    order: dict[str, Any] = reply.json()
    return order


@checkout.view(Web)
def checkout_web(order: dict[str, Any], wanted: Film) -> dict[str, Any]:
    return {"order": order, "film": _card(wanted), "status": f"/orders/{order['id']}"}


@checkout.view(Mobile)
def checkout_mobile(order: dict[str, Any]) -> dict[str, Any]:
    return {"order": {name: order[name] for name in ("id", "status", "total", "currency")}}


@checkout.view(Affiliate)
def checkout_affiliate(order: dict[str, Any]) -> dict[str, Any]:
    return {"order": {name: order[name] for name in ("id", "status")}}
