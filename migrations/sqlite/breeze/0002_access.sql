-- Enrolment keys, and the agents that enrolled with them. Times are milliseconds.

CREATE TABLE IF NOT EXISTS enrollment_keys (
    id TEXT NOT NULL PRIMARY KEY,
    org_id TEXT NOT NULL,
    site_id TEXT,
    name TEXT NOT NULL,
    key TEXT NOT NULL UNIQUE,
    key_secret_hash TEXT,
    usage_count INTEGER NOT NULL DEFAULT 0,
    max_usage INTEGER,
    expires_at INTEGER,
    created_by TEXT,
    -- The id of the pepper that hashed the key; NULL: one of before.
    key_pepper_id TEXT
);
CREATE INDEX IF NOT EXISTS enrollment_keys_pepper_idx ON enrollment_keys (key_pepper_id);

CREATE TABLE IF NOT EXISTS devices (
    id TEXT NOT NULL PRIMARY KEY,
    org_id TEXT NOT NULL,
    site_id TEXT,
    agent_id TEXT NOT NULL UNIQUE,
    agent_token_hash TEXT,
    hostname TEXT NOT NULL,
    os_type TEXT NOT NULL,
    os_version TEXT NOT NULL,
    architecture TEXT NOT NULL,
    agent_version TEXT NOT NULL,
    last_seen_at INTEGER,
    enrolled_at INTEGER NOT NULL,
    token_issued_at INTEGER,
    pending_token_hash TEXT,
    pending_token_expires_at INTEGER,
    previous_token_hash TEXT,
    previous_token_expires_at INTEGER,
    -- The generation under which each was issued; NULL: none that is known.
    agent_token_generation TEXT,
    pending_token_generation TEXT,
    previous_token_generation TEXT
);
CREATE INDEX IF NOT EXISTS devices_agent_token_idx ON devices (agent_token_hash);
CREATE INDEX IF NOT EXISTS devices_pending_token_idx ON devices (pending_token_hash)
    WHERE pending_token_hash IS NOT NULL;
CREATE INDEX IF NOT EXISTS devices_previous_token_idx ON devices (previous_token_hash)
    WHERE previous_token_hash IS NOT NULL;
CREATE INDEX IF NOT EXISTS devices_token_generation_idx ON devices (agent_token_generation);
