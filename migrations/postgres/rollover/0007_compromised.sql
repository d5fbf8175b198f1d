-- A key that was retired because it may be in wrong hands: nothing is opened with it,
-- but to be sealed again under another.
ALTER TABLE rollover.key ADD COLUMN compromised_at bigint;
