-- Step 3: dead letters can be sent to their binding again.

-- The plugin that gave up, and how often the message was sent again in vain.
alter table dead_letters add column digest text not null default '';
alter table dead_letters add column attempts integer not null default 0;
create index dead_letters_binding on dead_letters (binding, kind, id);

-- Letters that an operator sends again: waiting until the transaction that holds their effects, or failed once more.
create table dead_letter_replays (
    letter integer primary key references dead_letters (id) on delete cascade,
    request integer not null,
    binding text not null,
    position integer not null,
    failed integer not null default 0
) strict;
create index dead_letter_replays_next on dead_letter_replays (binding, failed, position, letter);
create index dead_letter_replays_request on dead_letter_replays (request, failed);
