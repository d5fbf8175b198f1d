-- What a rollover of a credential waits for: that the new one was probed, and that the
-- old one is revoked at its provider. And what an operator gives up with the old key.
ALTER TABLE rollover.rollover ADD COLUMN probed_at bigint;
ALTER TABLE rollover.rollover ADD COLUMN revoked_at bigint;
ALTER TABLE rollover.rollover ADD COLUMN accept_loss boolean NOT NULL DEFAULT false;

-- How often a secret that others share was presented, and when last.
ALTER TABLE rollover.key ADD COLUMN presented bigint NOT NULL DEFAULT 0 CHECK (presented >= 0);
ALTER TABLE rollover.key ADD COLUMN presented_at bigint;
