-- Enrolment keys, and the agents that enrolled with them. As in 0001, a table or
-- column of Breeze's is left as it is.

DO $$ BEGIN
    CREATE TYPE os_type AS ENUM ('windows', 'macos', 'linux');
EXCEPTION WHEN duplicate_object THEN NULL;
END $$;

CREATE TABLE IF NOT EXISTS enrollment_keys (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    org_id uuid NOT NULL,
    site_id uuid,
    name varchar(255) NOT NULL,
    key varchar(64) NOT NULL UNIQUE,
    key_secret_hash varchar(64),
    usage_count integer NOT NULL DEFAULT 0,
    max_usage integer,
    -- UTC, as every timestamp of Breeze's without a zone.
    expires_at timestamp,
    created_by uuid,
    created_at timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'UTC')
);
ALTER TABLE enrollment_keys
    ADD COLUMN IF NOT EXISTS key_secret_hash varchar(64),
    -- The id of the pepper that hashed the key; NULL: one of before.
    ADD COLUMN IF NOT EXISTS key_pepper_id text;
CREATE INDEX IF NOT EXISTS enrollment_keys_pepper_idx ON enrollment_keys (key_pepper_id);

CREATE TABLE IF NOT EXISTS devices (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    org_id uuid NOT NULL,
    site_id uuid,
    agent_id varchar(64) NOT NULL UNIQUE,
    agent_token_hash varchar(64),
    hostname varchar(255) NOT NULL,
    os_type os_type NOT NULL,
    os_version varchar(100) NOT NULL,
    architecture varchar(20) NOT NULL,
    agent_version varchar(50) NOT NULL,
    last_seen_at timestamp,
    enrolled_at timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'UTC')
);
ALTER TABLE devices
    ADD COLUMN IF NOT EXISTS token_issued_at timestamptz,
    ADD COLUMN IF NOT EXISTS pending_token_hash varchar(64),
    ADD COLUMN IF NOT EXISTS pending_token_expires_at timestamptz,
    ADD COLUMN IF NOT EXISTS previous_token_hash varchar(64),
    ADD COLUMN IF NOT EXISTS previous_token_expires_at timestamptz,
    -- The generation under which each was issued; NULL: none that is known.
    ADD COLUMN IF NOT EXISTS agent_token_generation text,
    ADD COLUMN IF NOT EXISTS pending_token_generation text,
    ADD COLUMN IF NOT EXISTS previous_token_generation text;
CREATE INDEX IF NOT EXISTS devices_agent_token_idx ON devices (agent_token_hash);
CREATE INDEX IF NOT EXISTS devices_pending_token_idx ON devices (pending_token_hash)
    WHERE pending_token_hash IS NOT NULL;
CREATE INDEX IF NOT EXISTS devices_previous_token_idx ON devices (previous_token_hash)
    WHERE previous_token_hash IS NOT NULL;
CREATE INDEX IF NOT EXISTS devices_token_generation_idx ON devices (agent_token_generation);
