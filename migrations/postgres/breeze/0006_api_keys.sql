-- API keys that users hold. Breeze has the table: its hash and prefix are read as it
-- writes them, and what is added has names of its own.
CREATE TABLE IF NOT EXISTS api_keys (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    key_hash varchar(255) NOT NULL,
    key_prefix varchar(12) NOT NULL
);
ALTER TABLE api_keys
    ADD COLUMN IF NOT EXISTS org_id uuid,
    ADD COLUMN IF NOT EXISTS name text,
    ADD COLUMN IF NOT EXISTS held_by uuid,
    -- The key of USER_API_KEYS under which it was issued; none: before there was one.
    ADD COLUMN IF NOT EXISTS generation text,
    -- Milliseconds since the Unix epoch.
    ADD COLUMN IF NOT EXISTS ends_at_ms bigint,
    ADD COLUMN IF NOT EXISTS used_at_ms bigint,
    ADD COLUMN IF NOT EXISTS revoked_at_ms bigint;
CREATE UNIQUE INDEX IF NOT EXISTS api_keys_hash_key ON api_keys (key_hash);
CREATE INDEX IF NOT EXISTS api_keys_held_by_idx ON api_keys (held_by);
CREATE INDEX IF NOT EXISTS api_keys_generation_idx ON api_keys (generation);
