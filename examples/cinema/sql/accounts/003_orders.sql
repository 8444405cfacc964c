-- Ticket orders. The row is the promise to the buyer; the queue only says that there is something to do.

create table if not exists orders (
    id           uuid primary key,
    -- The client's Idempotency-Key: the same order sent twice is one order.
    key          text unique,
    member       text,
    film_id      integer not null,
    seats        smallint not null check (seats between 1 and 10),
    email        text not null,
    cents        integer not null,
    status       text not null default 'placed' check (status in ('placed', 'paid', 'receipted')),
    created_at   timestamptz not null default now(),
    paid_at      timestamptz,
    receipt_at   timestamptz
);
-- What is still to be done, for the sweep after a queue was away; nearly always empty.
create index if not exists orders_open on orders (created_at) where status <> 'receipted';
