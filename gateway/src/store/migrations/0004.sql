-- Step 4: what each part of the store takes, and columns that are filled after their declaration changed.

-- Kept by the triggers below, so that nobody has to count.
create table usage (
    part text primary key,
    row_count integer not null,
    bytes integer not null
) strict, without rowid;

insert into usage select 'dead_letters', count(*), coalesce(sum(octet_length(message) + octet_length(reason)), 0)
    from dead_letters;
insert into usage select 'outbox', count(*), coalesce(sum(octet_length(message)), 0) from outbox;
insert into usage select 'state', count(*), coalesce(sum(octet_length(name) + octet_length(value)), 0) from state;

create trigger dead_letters_added after insert on dead_letters begin
    update usage set row_count = row_count + 1, bytes = bytes + octet_length(new.message) + octet_length(new.reason)
    where part = 'dead_letters';
end;
create trigger dead_letters_removed after delete on dead_letters begin
    update usage set row_count = row_count - 1, bytes = bytes - octet_length(old.message) - octet_length(old.reason)
    where part = 'dead_letters';
end;

create trigger outbox_added after insert on outbox begin
    update usage set row_count = row_count + 1, bytes = bytes + octet_length(new.message) where part = 'outbox';
end;
create trigger outbox_removed after delete on outbox begin
    update usage set row_count = row_count - 1, bytes = bytes - octet_length(old.message) where part = 'outbox';
end;

create trigger state_added after insert on state begin
    update usage set row_count = row_count + 1, bytes = bytes + octet_length(new.name) + octet_length(new.value)
    where part = 'state';
end;
create trigger state_changed after update on state begin
    update usage set bytes = bytes - octet_length(old.value) + octet_length(new.value) where part = 'state';
end;
create trigger state_removed after delete on state begin
    update usage set row_count = row_count - 1, bytes = bytes - octet_length(old.name) - octet_length(old.value)
    where part = 'state';
end;

-- Rows up to `fill_end` have no values yet for the columns in `fill`, a JSON list; those up to `fill_next` have.
alter table collections add column fill text;
alter table collections add column fill_next integer not null default 0;
alter table collections add column fill_end integer not null default 0;

-- Patches that were left out because their document would have become too large.
alter table collections add column refused integer not null default 0;
