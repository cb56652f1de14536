-- Step 6: where versions of plugins came from and when they took over, what operators chose, and what plugins remembered
-- before a version took over that remembers otherwise.

create table plugin_versions_6 (
    binding text not null,
    digest text not null,
    -- `untried`, `good` or `bad`.
    verdict text not null,
    -- Why it is bad.
    reason text not null default '',
    -- When the verdict was given.
    at_ms integer not null,
    -- When it took over; none if that was before this step.
    activated_ms integer,
    state_version integer not null default 0,
    source text not null default 'file',
    reference text not null default '',
    signed_as text,
    manifest text,
    repository text,
    signer text,
    version text,
    primary key (binding, digest)
) strict, without rowid;
insert into plugin_versions_6 (binding, digest, verdict, reason, at_ms)
    select binding, digest, iif(good, 'good', 'bad'), reason, at_ms from plugin_versions;
drop table plugin_versions;
alter table plugin_versions_6 rename to plugin_versions;

-- The highest version that ever took over, of each repository.
create table plugin_highest (
    binding text not null,
    repository text not null,
    version text not null,
    primary key (binding, repository)
) strict, without rowid;

-- What an operator chose over the reference of the configuration.
create table plugin_choices (
    binding text primary key,
    reference text not null,
    signed_as text,
    allow_downgrade integer not null,
    configured text not null,
    at_ms integer not null
) strict, without rowid;

-- Which version each partition runs: the values in `state` are to be read as it says.
create table plugin_partitions (
    binding text not null,
    partition integer not null,
    digest text not null,
    state_version integer not null,
    primary key (binding, partition)
) strict, without rowid;

-- The values of `state` as they were before another version took over, by binding and partition with how they are read.
create table state_snapshots (
    binding text not null,
    partition integer not null,
    state_version integer not null,
    at_ms integer not null,
    primary key (binding, partition)
) strict, without rowid;
create table state_snapshot_values (
    binding text not null,
    key text not null,
    name text not null,
    value blob not null,
    primary key (binding, key, name)
) strict, without rowid;

insert into usage values ('state_snapshots', 0, 0);
create trigger state_snapshot_values_added after insert on state_snapshot_values begin
    update usage set row_count = row_count + 1, bytes = bytes + octet_length(new.name) + octet_length(new.value)
    where part = 'state_snapshots';
end;
create trigger state_snapshot_values_removed after delete on state_snapshot_values begin
    update usage set row_count = row_count - 1, bytes = bytes - octet_length(old.name) - octet_length(old.value)
    where part = 'state_snapshots';
end;
