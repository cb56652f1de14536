-- Step 7: firmware: what devices run and how they came to it, and what they are to get.

-- What an operator chose over the canary of the configuration.
create table canary_choices (
    binding text primary key,
    -- None if there is to be no canary.
    reference text,
    signed_as text,
    -- That of the configuration; none if it had no canary.
    configured text,
    at_ms integer not null
) strict, without rowid;

-- What is known of the update of each device.
create table dfu_devices (
    device text primary key references devices (id) on delete cascade,
    -- What it runs.
    running text,
    heard_ms integer not null,
    state text not null,
    since_ms integer not null,
    -- Why the last attempt failed.
    reason text,
    -- The release that the state is about; none of these without one.
    name text,
    version text,
    image text,
    size integer,
    -- `campaign` or `rule`, and its id or name.
    by_kind text,
    by_name text,
    from_version text,
    restart integer,
    started_ms integer,
    offset integer,
    patch text,
    blocks integer,
    bytes integer,
    restarts integer,
    swaps integer,
    first integer
) strict, without rowid;

-- The attempts of each device at which version: starts that it was told, and transfers that failed; the latest has the
-- highest place.
create table dfu_attempts (
    device text not null references devices (id) on delete cascade,
    version text not null,
    place integer not null,
    made integer not null,
    until_ms integer not null,
    quarantined integer not null,
    primary key (device, version)
) strict, without rowid;

-- The attempts that are over.
create table dfu_history (
    id integer primary key autoincrement,
    device text not null references devices (id) on delete cascade,
    name text not null,
    from_version text not null,
    version text not null,
    size integer not null,
    by_kind text not null,
    by_name text not null,
    patch text,
    started_ms integer,
    ended_ms integer not null,
    blocks integer not null,
    bytes integer not null,
    restarts integer not null,
    attempt integer not null,
    -- `confirmed`, `failed` or `superseded`.
    outcome text not null,
    reason text
) strict;
create index dfu_history_device on dfu_history (device, id);

-- Campaigns: one release for a fixed set of devices, wave by wave. What is JSON begins with the digit of its form.
create table campaigns (
    -- The order in which they were made.
    number integer primary key,
    id text not null unique,
    -- `draft`, `scheduled`, `running`, `paused`, `finished` or `aborted`; the same as in `progress`.
    state text not null,
    release text not null,
    reference text not null,
    -- `query`, `list` or `job`.
    asked_kind text not null,
    asked text not null,
    operator text not null,
    created_ms integer not null,
    plan text not null,
    progress text not null
) strict;

create table campaign_devices (
    campaign text not null references campaigns (id) on delete cascade,
    device text not null,
    -- Its place in the order of the campaign.
    place integer not null,
    wave integer not null,
    standing text not null,
    failures integer not null,
    attempt integer not null,
    reason text,
    at_ms integer not null,
    primary key (campaign, device)
) strict, without rowid;
create index campaign_devices_places on campaign_devices (campaign, place);
