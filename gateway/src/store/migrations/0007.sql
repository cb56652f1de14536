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
