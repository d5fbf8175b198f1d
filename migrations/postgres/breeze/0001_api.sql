-- The tables of the reference API, beside whatever Breeze has already.
--
-- A table or column that is there is left as it is, with its type and its rows:
-- nothing is dropped, renamed or rewritten, and a column that is added has a
-- constant default, so that no row is touched.
--
-- Sealed columns: users.mfa_secret, sso_providers.client_secret, webhooks.url, .secret
-- and .headers, discovery_profiles.snmp_communities and .snmp_credentials,
-- tenant_variables.value.

CREATE TABLE IF NOT EXISTS users (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    mfa_secret text
);
ALTER TABLE users
    ADD COLUMN IF NOT EXISTS email text,
    ADD COLUMN IF NOT EXISTS name text,
    ADD COLUMN IF NOT EXISTS password_hash text,
    ADD COLUMN IF NOT EXISTS status text NOT NULL DEFAULT 'active',
    ADD COLUMN IF NOT EXISTS scope text NOT NULL DEFAULT 'organization',
    ADD COLUMN IF NOT EXISTS org_id uuid,
    ADD COLUMN IF NOT EXISTS partner_id uuid,
    ADD COLUMN IF NOT EXISTS mfa_enabled boolean NOT NULL DEFAULT false,
    ADD COLUMN IF NOT EXISTS auth_epoch integer NOT NULL DEFAULT 1,
    ADD COLUMN IF NOT EXISTS mfa_epoch integer NOT NULL DEFAULT 1,
    -- The TOTP step of the last code that was accepted: a code counts once.
    ADD COLUMN IF NOT EXISTS mfa_last_step bigint NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS version bigint NOT NULL DEFAULT 1;
CREATE UNIQUE INDEX IF NOT EXISTS users_email_lower_key ON users (lower(email));

-- One row a refresh token that was handed out, until it expires. Its name keeps it
-- apart from whatever Breeze keeps.
CREATE TABLE IF NOT EXISTS api_refresh_tokens (
    jti uuid PRIMARY KEY,
    family uuid NOT NULL,
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    expires_at bigint NOT NULL,
    spent boolean NOT NULL DEFAULT false,
    revoked boolean NOT NULL DEFAULT false
);
CREATE INDEX IF NOT EXISTS api_refresh_tokens_family_idx ON api_refresh_tokens (family);
CREATE INDEX IF NOT EXISTS api_refresh_tokens_user_idx ON api_refresh_tokens (user_id);
CREATE INDEX IF NOT EXISTS api_refresh_tokens_expiry_idx ON api_refresh_tokens (expires_at);

CREATE TABLE IF NOT EXISTS sso_providers (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    client_secret text
);
ALTER TABLE sso_providers
    ADD COLUMN IF NOT EXISTS org_id uuid,
    ADD COLUMN IF NOT EXISTS name text,
    ADD COLUMN IF NOT EXISTS issuer text,
    ADD COLUMN IF NOT EXISTS client_id text,
    ADD COLUMN IF NOT EXISTS version bigint NOT NULL DEFAULT 1;

CREATE TABLE IF NOT EXISTS webhooks (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    url text NOT NULL,
    secret text,
    headers jsonb
);
ALTER TABLE webhooks
    ADD COLUMN IF NOT EXISTS org_id uuid,
    ADD COLUMN IF NOT EXISTS name text,
    ADD COLUMN IF NOT EXISTS version bigint NOT NULL DEFAULT 1;

CREATE TABLE IF NOT EXISTS discovery_profiles (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    snmp_communities text[] DEFAULT '{}',
    snmp_credentials jsonb
);
ALTER TABLE discovery_profiles
    ADD COLUMN IF NOT EXISTS org_id uuid,
    ADD COLUMN IF NOT EXISTS name text,
    ADD COLUMN IF NOT EXISTS version bigint NOT NULL DEFAULT 1;

CREATE TABLE IF NOT EXISTS tenant_variables (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    value text NOT NULL
);
ALTER TABLE tenant_variables
    ADD COLUMN IF NOT EXISTS org_id uuid,
    ADD COLUMN IF NOT EXISTS name text,
    ADD COLUMN IF NOT EXISTS version bigint NOT NULL DEFAULT 1;
