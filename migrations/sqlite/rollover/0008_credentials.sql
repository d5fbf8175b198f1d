-- What a rollover of a credential waits for: that the new one was probed, and that the
-- old one is revoked at its provider. And what an operator gives up with the old key.
ALTER TABLE rollover_rollover ADD COLUMN probed_at INTEGER;
ALTER TABLE rollover_rollover ADD COLUMN revoked_at INTEGER;
ALTER TABLE rollover_rollover ADD COLUMN accept_loss INTEGER NOT NULL DEFAULT 0;

-- How often a secret that others share was presented, and when last.
ALTER TABLE rollover_key ADD COLUMN presented INTEGER NOT NULL DEFAULT 0 CHECK (presented >= 0);
ALTER TABLE rollover_key ADD COLUMN presented_at INTEGER;
