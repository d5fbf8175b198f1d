-- What a provider is asked: by which replica at the moment, not before when again, and
-- since when the old credential may be revoked by it.
ALTER TABLE rollover.rollover ADD COLUMN ask_at bigint;
ALTER TABLE rollover.rollover ADD COLUMN asked_by text;
ALTER TABLE rollover.rollover ADD COLUMN revoking_at bigint;
