"""The document that every application answers, in three parts of about 600 bytes together."""

from __future__ import annotations

import msgspec

DETAILS = {
    "id": 41975,
    "title": "Sunrise: A Song of Two Humans",
    "year": 1927,
    "length": 94,
    "rating": 8.1,
    "votes": 5234,
    "genres": ["drama", "romance"],
    "about": "A married farmer falls under the spell of a slatternly woman from the city.",
}
SIMILAR = [
    {"id": 41976 + n, "title": f"A film like the other, number {n}", "rating": 7.5 + n / 10} for n in range(5)
]
RATING = {"mine": 9, "at": "2026-11-24"}

encode = msgspec.json.Encoder().encode


async def get_details(film_id: int) -> dict[str, object]:
    return DETAILS


async def get_similar(film_id: int) -> list[dict[str, object]]:
    return SIMILAR


async def get_rating(film_id: int) -> dict[str, object]:
    return RATING
