-- Control tables. Times and lengths of time are in milliseconds, ids are text.

-- Lease expiry is judged by this clock alone.
CREATE VIEW rollover_now (ms) AS SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER);

-- The epoch, in one row.
CREATE TABLE rollover_meta (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    epoch    INTEGER NOT NULL CHECK (epoch >= 0)
) STRICT;
INSERT INTO rollover_meta (only_row, epoch) VALUES (1, 0);

-- Every key version, its material sealed under the root key.
CREATE TABLE rollover_key (
    secret           TEXT    NOT NULL,
    id               TEXT    NOT NULL CHECK (id <> '' AND id NOT GLOB '*[^A-Za-z0-9._-]*'),
    fingerprint      TEXT    NOT NULL,
    state            TEXT    NOT NULL
        CHECK (state IN ('staged', 'primary', 'retiring', 'retired', 'destroyed')),
    unnamed          INTEGER NOT NULL CHECK (unnamed IN (0, 1)),
    origin           TEXT    NOT NULL,
    rank             INTEGER NOT NULL,
    sealed           TEXT,
    created_at       INTEGER NOT NULL,
    promoted_at      INTEGER,
    retired_at       INTEGER,
    seals            INTEGER NOT NULL CHECK (seals >= 0),
    longest_lifetime INTEGER NOT NULL CHECK (longest_lifetime >= 0),
    PRIMARY KEY (secret, id),
    CONSTRAINT key_is_destroyed_without_material CHECK ((state = 'destroyed') = (sealed IS NULL))
) STRICT;
CREATE UNIQUE INDEX rollover_key_one_primary_a_secret ON rollover_key (secret)
    WHERE state = 'primary';

-- Every rollover. A phase that this schema does not know counts as in progress:
-- a newer version wrote it, and still drives it.
CREATE TABLE rollover_rollover (
    id                  TEXT    PRIMARY KEY NOT NULL,
    secret              TEXT    NOT NULL,
    mode                TEXT    NOT NULL,
    dry_run             INTEGER NOT NULL CHECK (dry_run IN (0, 1)),
    phase               TEXT    NOT NULL,
    active              INTEGER NOT NULL GENERATED ALWAYS AS (phase NOT IN
        ('retired', 'destroyed', 'rolled_back', 'abandoned', 'refused', 'rehearsed')) STORED,
    slot                TEXT    NOT NULL,
    revision            INTEGER NOT NULL CHECK (revision >= 0),
    paused_at           INTEGER,
    reason              TEXT    NOT NULL,
    requested_by        TEXT    NOT NULL,
    from_key            TEXT    NOT NULL,
    to_key              TEXT,
    created_at          INTEGER NOT NULL,
    updated_at          INTEGER NOT NULL,
    settled_at          INTEGER,
    target              TEXT    NOT NULL,
    pass                INTEGER NOT NULL CHECK (pass >= 0),
    max_rows_per_second INTEGER,
    blocked_by          TEXT,
    accept_quarantined  INTEGER NOT NULL CHECK (accept_quarantined IN (0, 1)),
    report              TEXT
) STRICT;
CREATE UNIQUE INDEX rollover_rollover_one_a_secret ON rollover_rollover (secret)
    WHERE active AND NOT dry_run;
-- The slot is `all`, unless the rollover may run beside another secret's.
CREATE UNIQUE INDEX rollover_rollover_one_in_all ON rollover_rollover (slot)
    WHERE active AND NOT dry_run;

-- Every process that serves, with its lease.
CREATE TABLE rollover_replica (
    id          TEXT    PRIMARY KEY NOT NULL,
    name        TEXT    NOT NULL,
    version     TEXT    NOT NULL,
    applied     INTEGER NOT NULL,
    settled     INTEGER NOT NULL,
    lease_until INTEGER NOT NULL
) STRICT;

-- The ranges of each pass, `position` in the order in which they are to be done.
CREATE TABLE rollover_range (
    position    INTEGER PRIMARY KEY,
    rollover    TEXT    NOT NULL REFERENCES rollover_rollover (id),
    pass        INTEGER NOT NULL,
    table_name  TEXT    NOT NULL,
    number      INTEGER NOT NULL,
    after       TEXT,
    upto        TEXT,
    cursor      TEXT,
    finished    INTEGER NOT NULL DEFAULT 0 CHECK (finished IN (0, 1)),
    scanned     INTEGER NOT NULL DEFAULT 0,
    rewrapped   INTEGER NOT NULL DEFAULT 0,
    superseded  INTEGER NOT NULL DEFAULT 0,
    holder      TEXT,
    lease_until INTEGER NOT NULL DEFAULT 0,
    began_at    INTEGER NOT NULL,
    UNIQUE (rollover, pass, table_name, number)
) STRICT;

-- Values that no key opens: where, and which class of error; never the value.
CREATE TABLE rollover_quarantine (
    table_name  TEXT    NOT NULL,
    column_name TEXT    NOT NULL,
    row_key     TEXT    NOT NULL,
    path        TEXT    NOT NULL,
    error       TEXT    NOT NULL,
    seen_at     INTEGER NOT NULL,
    PRIMARY KEY (table_name, column_name, row_key, path)
) STRICT;
