-- Which root keys each replica holds, by fingerprint, its current one first; empty: it
-- is of a version that does not tell.
ALTER TABLE rollover.replica ADD COLUMN root_keys text NOT NULL DEFAULT '';
