-- The tables of the reference API. Arrays and documents are JSON text, ids are
-- lower-case canonical UUIDs.
--
-- Sealed columns: users.mfa_secret, sso_providers.client_secret, webhooks.url, .secret
-- and .headers, discovery_profiles.snmp_communities and .snmp_credentials,
-- tenant_variables.value.

CREATE TABLE IF NOT EXISTS users (
    id TEXT NOT NULL PRIMARY KEY,
    mfa_secret TEXT,
    email TEXT,
    name TEXT,
    password_hash TEXT,
    status TEXT NOT NULL DEFAULT 'active',
    scope TEXT NOT NULL DEFAULT 'organization',
    org_id TEXT,
    partner_id TEXT,
    mfa_enabled BOOLEAN NOT NULL DEFAULT FALSE,
    auth_epoch INTEGER NOT NULL DEFAULT 1,
    mfa_epoch INTEGER NOT NULL DEFAULT 1,
    -- The TOTP step of the last code that was accepted: a code counts once.
    mfa_last_step INTEGER NOT NULL DEFAULT 0,
    version INTEGER NOT NULL DEFAULT 1
);
CREATE UNIQUE INDEX IF NOT EXISTS users_email_lower_key ON users (lower(email));

-- One row a refresh token that was handed out, until it expires.
CREATE TABLE IF NOT EXISTS api_refresh_tokens (
    jti TEXT NOT NULL PRIMARY KEY,
    family TEXT NOT NULL,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    expires_at INTEGER NOT NULL,
    spent BOOLEAN NOT NULL DEFAULT FALSE,
    revoked BOOLEAN NOT NULL DEFAULT FALSE
);
CREATE INDEX IF NOT EXISTS api_refresh_tokens_family_idx ON api_refresh_tokens (family);
CREATE INDEX IF NOT EXISTS api_refresh_tokens_user_idx ON api_refresh_tokens (user_id);
CREATE INDEX IF NOT EXISTS api_refresh_tokens_expiry_idx ON api_refresh_tokens (expires_at);

CREATE TABLE IF NOT EXISTS sso_providers (
    id TEXT NOT NULL PRIMARY KEY,
    client_secret TEXT,
    org_id TEXT,
    name TEXT,
    issuer TEXT,
    client_id TEXT,
    version INTEGER NOT NULL DEFAULT 1
);

CREATE TABLE IF NOT EXISTS webhooks (
    id TEXT NOT NULL PRIMARY KEY,
    url TEXT NOT NULL,
    secret TEXT,
    headers TEXT,
    org_id TEXT,
    name TEXT,
    version INTEGER NOT NULL DEFAULT 1
);

CREATE TABLE IF NOT EXISTS discovery_profiles (
    id TEXT NOT NULL PRIMARY KEY,
    snmp_communities TEXT DEFAULT '[]',
    snmp_credentials TEXT,
    org_id TEXT,
    name TEXT,
    version INTEGER NOT NULL DEFAULT 1
);

CREATE TABLE IF NOT EXISTS tenant_variables (
    id TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL,
    org_id TEXT,
    name TEXT,
    version INTEGER NOT NULL DEFAULT 1
);
