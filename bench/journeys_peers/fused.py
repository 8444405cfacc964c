"""A journey of three parts that are functions in its own process: the very functions that the peers gather."""

from __future__ import annotations

from journeys_peers.document import get_details, get_rating, get_similar

from tierline.journeys import Journey, build

film = Journey("film", "/film/{film_id}")
film.part(name="details")(get_details)
film.part(name="similar", deadline="100ms", fallback=[])(get_similar)
film.part(name="my_rating", deadline="80ms", fallback=None)(get_rating)

app = build([film])
