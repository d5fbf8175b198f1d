-- API keys that users hold.
CREATE TABLE IF NOT EXISTS api_keys (
    id TEXT NOT NULL PRIMARY KEY,
    key_hash TEXT NOT NULL,
    key_prefix TEXT NOT NULL,
    org_id TEXT,
    name TEXT,
    held_by TEXT,
    -- The key of USER_API_KEYS under which it was issued; none: before there was one.
    generation TEXT,
    -- Milliseconds since the Unix epoch.
    ends_at_ms INTEGER,
    used_at_ms INTEGER,
    revoked_at_ms INTEGER
);
CREATE UNIQUE INDEX IF NOT EXISTS api_keys_hash_key ON api_keys (key_hash);
CREATE INDEX IF NOT EXISTS api_keys_held_by_idx ON api_keys (held_by);
CREATE INDEX IF NOT EXISTS api_keys_generation_idx ON api_keys (generation);
