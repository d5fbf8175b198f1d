-- Which root keys each replica holds, by fingerprint, its current one first; empty: it
-- is of a version that does not tell.
ALTER TABLE rollover_replica ADD COLUMN root_keys TEXT NOT NULL DEFAULT '';
