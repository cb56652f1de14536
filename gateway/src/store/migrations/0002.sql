-- Step 2: what plugins remember, by binding and unit of order.

create table state (
    binding text not null,
    key text not null,
    name text not null,
    value blob not null,
    primary key (binding, key, name)
) strict, without rowid;
