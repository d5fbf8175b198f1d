-- How long one key of a secret should serve, where an operator has set it.
CREATE TABLE rollover_schedule (
    secret        TEXT PRIMARY KEY NOT NULL,
    interval_days INTEGER NOT NULL CHECK (interval_days > 0)
) STRICT;

-- What is done once a day: by whoever holds the lease, until it is done.
CREATE TABLE rollover_daily (
    job         TEXT    NOT NULL,
    day         INTEGER NOT NULL,
    lease_until INTEGER NOT NULL,
    done_at     INTEGER,
    PRIMARY KEY (job, day)
) STRICT;

-- Emergencies: what was exposed, and what was done about it. The body is the whole.
CREATE TABLE rollover_incident (
    id       TEXT    PRIMARY KEY NOT NULL,
    revision INTEGER NOT NULL,
    is_open  INTEGER NOT NULL,
    body     TEXT    NOT NULL
) STRICT;
CREATE UNIQUE INDEX rollover_incident_one_open ON rollover_incident (is_open) WHERE is_open;
