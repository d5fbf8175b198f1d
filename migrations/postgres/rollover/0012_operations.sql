-- How long one key of a secret should serve, where an operator has set it.
CREATE TABLE rollover.schedule (
    secret        text   PRIMARY KEY,
    interval_days bigint NOT NULL CHECK (interval_days > 0)
);

-- What is done once a day: by whoever holds the lease, until it is done.
CREATE TABLE rollover.daily (
    job         text   NOT NULL,
    day         bigint NOT NULL,
    lease_until bigint NOT NULL,
    done_at     bigint,
    PRIMARY KEY (job, day)
);

-- Emergencies: what was exposed, and what was done about it. The body is the whole.
CREATE TABLE rollover.incident (
    id       uuid    PRIMARY KEY,
    revision bigint  NOT NULL,
    is_open  boolean NOT NULL,
    body     jsonb   NOT NULL
);
CREATE UNIQUE INDEX incident_one_open ON rollover.incident (is_open) WHERE is_open;
