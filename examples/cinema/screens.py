"""What the screens are made of. The clients that tierline generates have the same types."""

from __future__ import annotations

from typing import Any, TypedDict

Film = dict[str, Any]
"""A film as the catalog tells it."""


class Line(TypedDict):
    """What a telephone shows of a film in a list."""

    id: int
    title: str
    year: int
    rating: float
    poster: str


class Card(Line):
    """What a page shows of a film in a list."""

    genres: list[str]


class Offer(TypedDict):
    """What a partner may show of a film."""

    id: int
    title: str
    year: int
    link: str


class RatedOffer(Offer):
    rating: float
    genres: list[str]


class Shelf(TypedDict):
    """The best films of a genre."""

    genre: str
    films: list[Card]


class ShortShelf(TypedDict):
    genre: str
    films: list[Line]


class Details(Card):
    """All that is known of a film. `spread`: percent of all votes for 1 to 10 stars."""

    minutes: int
    votes: int
    budget: int | None
    mpaa: str | None
    score: float
    spread: list[float]


class MobileDetails(Card):
    minutes: int
    votes: int


class Members(TypedDict):
    """What our own members say. `spread`: votes for 1 to 10 stars."""

    votes: int
    average: float | None
    spread: list[int]


class Found(TypedDict):
    """A page of a search; `cursor` asks for the next one."""

    films: list[Card]
    cursor: str | None


class Order(TypedDict):
    """Tickets. `status`: placed, paid, receipted, in this order. `total` in the currency's units."""

    id: str
    film_id: int
    seats: int
    email: str
    total: str
    currency: str
    status: str
    created_at: str
    paid_at: str | None
    receipt_at: str | None


# home, per client


class HomeWeb(TypedDict):
    top: list[Card]
    genres: list[Shelf]
    loved: list[Card]


class HomeMobile(TypedDict):
    top: list[Line]
    genres: list[ShortShelf]


class Offers(TypedDict):
    films: list[Offer]


# film


class FilmWeb(TypedDict):
    film: Details
    members: Members | None
    similar: list[Card]


class FilmMobile(TypedDict):
    film: MobileDetails
    members: float | None
    similar: list[Line]


class FilmAffiliate(TypedDict):
    film: RatedOffer


# search


class SearchWeb(Found):
    q: str


class SearchMobile(TypedDict):
    films: list[Line]
    cursor: str | None


class SearchAffiliate(Offers):
    cursor: str | None


# checkout


class MobileOrder(TypedDict):
    id: str
    status: str
    total: str
    currency: str


class AffiliateOrder(TypedDict):
    id: str
    status: str


class CheckoutWeb(TypedDict):
    order: Order
    film: Card
    status: str


class CheckoutMobile(TypedDict):
    order: MobileOrder


class CheckoutAffiliate(TypedDict):
    order: AffiliateOrder


def poster(film: Film) -> str:
    return f"/posters/{film['id']}.svg"


def card(film: Film) -> Card:
    return {
        "id": film["id"],
        "title": film["title"],
        "year": film["year"],
        "rating": film["rating"],
        "genres": film["genres"],
        "poster": poster(film),
    }


def line(film: Card) -> Line:
    return {
        "id": film["id"],
        "title": film["title"],
        "year": film["year"],
        "rating": film["rating"],
        "poster": film["poster"],
    }


def offer(film: Card) -> Offer:
    return {"id": film["id"], "title": film["title"], "year": film["year"], "link": f"/?film={film['id']}"}
