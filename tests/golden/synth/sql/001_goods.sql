create table goods (id bigint primary key, name text not null);
