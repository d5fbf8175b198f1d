-- The cut-off of a rollover: that the key which it retired is accepted nowhere.
ALTER TABLE rollover.rollover ADD COLUMN cut_off jsonb;
CREATE INDEX rollover_awaits_cut_off ON rollover.rollover (id)
    WHERE cut_off IS NOT NULL AND cut_off ->> 'at' IS NULL;

-- A replica that goes on accepting when its lease is over.
ALTER TABLE rollover.replica ADD COLUMN accepts_while_fenced boolean NOT NULL DEFAULT false;

-- The replicas that may have accepted the key at the moment when it was retired. Gone
-- once the rollover is cut off.
CREATE TABLE rollover.acceptor (
    rollover        uuid   NOT NULL REFERENCES rollover.rollover (id),
    replica         uuid   NOT NULL,
    name            text   NOT NULL,
    epoch           bigint NOT NULL,
    acknowledged_at bigint,
    PRIMARY KEY (rollover, replica)
);
