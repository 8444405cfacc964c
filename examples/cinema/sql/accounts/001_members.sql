-- Who people are and which films they want to see.

create table if not exists members (
    id          bigint generated always as identity primary key,
    name        text not null,
    created_at  timestamptz not null default now()
);
-- "Ada" and "ada" are one person.
create unique index if not exists members_name on members (lower(name));

create table if not exists watchlist (
    member_id  bigint not null references members on delete cascade,
    film_id    integer not null,
    added_at   timestamptz not null default now(),
    primary key (member_id, film_id)
);
create index if not exists watchlist_recent on watchlist (member_id, added_at desc);
