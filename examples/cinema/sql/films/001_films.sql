-- The catalog: films, as they are read. Filled by `python -m cinema.load`.

create extension if not exists pg_trgm;

create table if not exists films (
    id       integer primary key,
    title    text not null,
    year     smallint not null,
    minutes  smallint not null,
    budget   bigint,
    rating   real not null,
    votes    integer not null,
    -- Share of the votes, in percent, for each of 1 to 10 stars.
    spread   real[] not null,
    mpaa     text,
    genres   text[] not null,
    -- A film with few votes is believed less: its rating is drawn towards the mean of all films (5.93) as if
    -- 1,000 people had voted that. Without this the top list would be films that five friends liked.
    score    real not null generated always as ((votes * rating + 5930) / (votes + 1000)) stored,
    words    tsvector not null generated always as (to_tsvector('simple', title)) stored
);

-- Search: whole words and beginnings of words by `words`, misspellings by trigrams.
create index if not exists films_words on films using gin (words);
create index if not exists films_trigrams on films using gin (title gin_trgm_ops);
-- Top lists, over all films and by genre; the id makes the order total, so that a cursor can continue it.
create index if not exists films_score on films (score desc, id);
-- Similar films have the same genres.
create index if not exists films_alike on films (genres, score desc, id);

create table if not exists film_genres (
    genre    text not null,
    score    real not null,
    film_id  integer not null references films on delete cascade,
    primary key (film_id, genre)
);
create index if not exists film_genres_top on film_genres (genre, score desc, film_id);
