-- Step 1: the tables of the first release. Tables of collections are made when a collection is declared.
-- A step is never edited once it was released: a change is a new step.

-- Where each consumer of the journal stands; it moves in the transaction of the effects.
create table cursors (
    name text primary key,
    position integer not null
) strict, without rowid;

-- Names of bindings, so that a row carries a small number and not a text.
create table origins (
    id integer primary key,
    name text not null unique
) strict;

-- Declared collections and their totals, kept by the transactions that change them.
create table collections (
    name text primary key,
    declaration text not null,
    row_count integer not null default 0,
    bytes integer not null default 0
) strict, without rowid;

create table dead_letters (
    id integer primary key,
    binding text not null,
    position integer,
    item integer not null,
    topic text not null,
    sender text not null,
    kind text not null,
    reason text not null,
    at_ms integer not null,
    message blob not null
) strict;
create unique index dead_letters_source on dead_letters (position, item, binding);

-- Publications of committed effects that still have to leave; an id is never used twice.
create table outbox (
    id integer primary key autoincrement,
    binding text not null,
    position integer,
    item integer not null,
    message blob not null
) strict;
create unique index outbox_source on outbox (position, item, binding);

create table retained (
    topic text primary key,
    message blob not null,
    expires_ms integer
) strict;

create table sessions (
    key text primary key,
    state blob not null,
    as_of integer not null
) strict;

create table devices (
    id text primary key,
    enabled integer not null,
    attributes text not null,
    member_of text not null,
    parent text,
    first_seen_ms integer,
    last_seen_ms integer,
    certificate_expiry_ms integer,
    revision integer not null
) strict;
create index devices_parent on devices (parent) where parent is not null;

-- An identity without a device belonged to a device that was removed: it does not register itself again.
create table device_identities (
    identity text primary key,
    device text references devices (id) on delete set null
) strict, without rowid;
create index device_identities_device on device_identities (device);

create table audit (
    id integer primary key,
    at_ms integer not null,
    operator text not null,
    action text not null,
    subject text not null,
    outcome text not null,
    detail text not null
) strict;

-- One row that a sync touches when commits alone do not sync (`synchronous: normal`).
create table sync_mark (
    id integer primary key check (id = 1),
    count integer not null
) strict;
insert into sync_mark values (1, 0);
