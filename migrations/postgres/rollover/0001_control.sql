-- Control tables. Times and lengths of time are in milliseconds.

-- Lease expiry is judged by this clock alone. It goes on within a transaction.
CREATE FUNCTION rollover.now_ms() RETURNS bigint
    LANGUAGE sql VOLATILE PARALLEL SAFE
    AS $$ SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint $$;

-- The epoch. One row, locked first by every change: changes queue, and never deadlock.
CREATE TABLE rollover.meta (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    epoch    bigint  NOT NULL CHECK (epoch >= 0)
);
INSERT INTO rollover.meta (epoch) VALUES (0);

-- Every key version, its material sealed under the root key.
CREATE TABLE rollover.key (
    secret           text    NOT NULL,
    id               text    NOT NULL CHECK (id ~ '^[A-Za-z0-9._-]+$'),
    fingerprint      text    NOT NULL,
    state            text    NOT NULL
        CHECK (state IN ('staged', 'primary', 'retiring', 'retired', 'destroyed')),
    unnamed          boolean NOT NULL,
    origin           text    NOT NULL,
    rank             bigint  NOT NULL,
    sealed           text,
    created_at       bigint  NOT NULL,
    promoted_at      bigint,
    retired_at       bigint,
    seals            bigint  NOT NULL CHECK (seals >= 0),
    longest_lifetime bigint  NOT NULL CHECK (longest_lifetime >= 0),
    PRIMARY KEY (secret, id),
    CONSTRAINT key_is_destroyed_without_material CHECK ((state = 'destroyed') = (sealed IS NULL))
);
CREATE UNIQUE INDEX key_one_primary_a_secret ON rollover.key (secret) WHERE state = 'primary';

-- Every rollover. A phase that this schema does not know counts as in progress:
-- a newer version wrote it, and still drives it.
CREATE TABLE rollover.rollover (
    id                  uuid    PRIMARY KEY,
    secret              text    NOT NULL,
    mode                text    NOT NULL,
    dry_run             boolean NOT NULL,
    phase               text    NOT NULL,
    active              boolean NOT NULL GENERATED ALWAYS AS (phase NOT IN
        ('retired', 'destroyed', 'rolled_back', 'abandoned', 'refused', 'rehearsed')) STORED,
    slot                text    NOT NULL,
    revision            bigint  NOT NULL CHECK (revision >= 0),
    paused_at           bigint,
    reason              text    NOT NULL,
    requested_by        text    NOT NULL,
    from_key            text    NOT NULL,
    to_key              text,
    created_at          bigint  NOT NULL,
    updated_at          bigint  NOT NULL,
    settled_at          bigint,
    target              text    NOT NULL,
    pass                bigint  NOT NULL CHECK (pass >= 0),
    max_rows_per_second bigint,
    blocked_by          text,
    accept_quarantined  boolean NOT NULL,
    report              jsonb
);
CREATE UNIQUE INDEX rollover_one_a_secret ON rollover.rollover (secret)
    WHERE active AND NOT dry_run;
-- The slot is `all`, unless the rollover may run beside another secret's.
CREATE UNIQUE INDEX rollover_one_in_all ON rollover.rollover (slot)
    WHERE active AND NOT dry_run;

-- Every process that serves, with its lease.
CREATE TABLE rollover.replica (
    id          uuid   PRIMARY KEY,
    name        text   NOT NULL,
    version     text   NOT NULL,
    applied     bigint NOT NULL,
    settled     bigint NOT NULL,
    lease_until bigint NOT NULL
);

-- The ranges of each pass, `position` in the order in which they are to be done.
CREATE TABLE rollover.range (
    rollover    uuid    NOT NULL REFERENCES rollover.rollover (id),
    pass        bigint  NOT NULL,
    table_name  text    NOT NULL,
    number      bigint  NOT NULL,
    position    bigint  NOT NULL GENERATED ALWAYS AS IDENTITY UNIQUE,
    after       text,
    upto        text,
    cursor      text,
    finished    boolean NOT NULL DEFAULT false,
    scanned     bigint  NOT NULL DEFAULT 0,
    rewrapped   bigint  NOT NULL DEFAULT 0,
    superseded  bigint  NOT NULL DEFAULT 0,
    holder      uuid,
    lease_until bigint  NOT NULL DEFAULT 0,
    began_at    bigint  NOT NULL,
    PRIMARY KEY (rollover, pass, table_name, number)
);

-- Values that no key opens: where, and which class of error; never the value.
CREATE TABLE rollover.quarantine (
    table_name  text   NOT NULL,
    column_name text   NOT NULL,
    row_key     text   NOT NULL,
    path        text   NOT NULL,
    error       text   NOT NULL,
    seen_at     bigint NOT NULL,
    PRIMARY KEY (table_name, column_name, row_key, path)
);
