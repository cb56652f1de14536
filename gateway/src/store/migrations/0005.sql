-- Step 5: how versions of plugins did, so that a bad one is not tried at each start.

create table plugin_versions (
    binding text not null,
    digest text not null,
    good integer not null,
    reason text not null,
    at_ms integer not null,
    primary key (binding, digest)
) strict, without rowid;
