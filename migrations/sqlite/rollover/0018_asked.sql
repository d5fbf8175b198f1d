-- What a provider is asked: by which replica at the moment, not before when again, and
-- since when the old credential may be revoked by it.
ALTER TABLE rollover_rollover ADD COLUMN ask_at INTEGER;
ALTER TABLE rollover_rollover ADD COLUMN asked_by TEXT;
ALTER TABLE rollover_rollover ADD COLUMN revoking_at INTEGER;
