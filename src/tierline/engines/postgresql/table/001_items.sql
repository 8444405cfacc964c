-- A key-value and document table: one item per partition and sort key.
create table items (
    pk text not null,
    sk text not null default '',
    item jsonb not null,
    version bigint not null default 1,
    expires_at timestamptz,
    primary key (pk, sk)
);

-- Expired items are invisible at once and removed by whoever cleans up.
create index items_expiry on items (expires_at) where expires_at is not null;
create view live_items as select pk, sk, item, version from items where expires_at is null or expires_at > now();
