-- A TOTP seed that was offered to a user, until a code of it is sent back or it expires:
-- what is in users.mfa_secret goes on until then. Sealed, and bound to its row.
CREATE TABLE IF NOT EXISTS api_mfa_offers (
    user_id uuid PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    secret text NOT NULL,
    -- Milliseconds since the Unix epoch.
    expires_at bigint NOT NULL
);
CREATE INDEX IF NOT EXISTS api_mfa_offers_expiry_idx ON api_mfa_offers (expires_at);
