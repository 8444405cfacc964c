"""A journey whose stream has every kind of event, as an application for a server."""

from __future__ import annotations

from tierline.journeys import Journey, NotFound, build

screen = Journey("screen", "/screen/{number}", deadline="20s")


@screen.part
async def title(number: int) -> str:
    return f"no. {number}"


@screen.part(fallback=0)
async def price(number: int) -> int:
    raise NotFound("no price")


@screen.part(defer=True)
async def similar(number: int) -> list[str]:
    return [f"{number}", "b"]


@screen.part(defer=True)
async def reviews(number: int) -> list[int]:
    raise NotFound("no reviews")


@screen.view("mobile", stream=True)
def mobile(title: str) -> dict[str, str]:
    return {"title": title}


JOURNEYS = [screen]
app = build(JOURNEYS)
