-- Since when each replica is there, and when it acknowledged what it did. An older
-- version beside this one renews its lease without them.
ALTER TABLE rollover.replica
    ADD COLUMN registered_at bigint,
    ADD COLUMN renewed_at    bigint,
    ADD COLUMN applied_at    bigint,
    ADD COLUMN settled_at    bigint,
    ADD COLUMN left_at       bigint;
