-- The cut-off of a rollover: that the key which it retired is accepted nowhere.
ALTER TABLE rollover_rollover ADD COLUMN cut_off TEXT;
CREATE INDEX rollover_rollover_awaits_cut_off ON rollover_rollover (id)
    WHERE cut_off IS NOT NULL AND cut_off ->> 'at' IS NULL;

-- A replica that goes on accepting when its lease is over.
ALTER TABLE rollover_replica ADD COLUMN
    accepts_while_fenced INTEGER NOT NULL DEFAULT 0 CHECK (accepts_while_fenced IN (0, 1));

-- The replicas that may have accepted the key at the moment when it was retired. Gone
-- once the rollover is cut off.
CREATE TABLE rollover_acceptor (
    rollover        TEXT    NOT NULL REFERENCES rollover_rollover (id),
    replica         TEXT    NOT NULL,
    name            TEXT    NOT NULL,
    epoch           INTEGER NOT NULL,
    acknowledged_at INTEGER,
    PRIMARY KEY (rollover, replica)
) STRICT;
