-- What members think of films: one rating per member and film, the last one counts.

create table if not exists ratings (
    film_id    integer not null,
    member     text not null,
    stars      smallint not null check (stars between 1 and 10),
    rated_at   timestamptz not null,
    -- Whether the stream has the event. False only while the stream is away.
    published  boolean not null,
    primary key (film_id, member)
);
create index if not exists ratings_unpublished on ratings (rated_at) where not published;
