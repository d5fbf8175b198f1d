-- Since when each replica is there, and when it acknowledged what it did. An older
-- version beside this one renews its lease without them.
ALTER TABLE rollover_replica ADD COLUMN registered_at INTEGER;
ALTER TABLE rollover_replica ADD COLUMN renewed_at    INTEGER;
ALTER TABLE rollover_replica ADD COLUMN applied_at    INTEGER;
ALTER TABLE rollover_replica ADD COLUMN settled_at    INTEGER;
ALTER TABLE rollover_replica ADD COLUMN left_at       INTEGER;
