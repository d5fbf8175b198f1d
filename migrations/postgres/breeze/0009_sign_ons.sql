-- One row a sign-on at an SSO provider that is on its way, until it is finished or expires.
-- The state itself is in the browser alone.
CREATE TABLE IF NOT EXISTS api_sign_ons (
    -- SHA-256 of the state, in hexadecimal.
    state_hash text PRIMARY KEY,
    provider_id uuid NOT NULL REFERENCES sso_providers (id) ON DELETE CASCADE,
    -- What the provider's ID token has to repeat.
    nonce text NOT NULL,
    -- What shows the provider that who redeems the code asked for it (PKCE).
    verifier text NOT NULL,
    -- Whom the provider has signed on, while a code of their second factor is awaited.
    user_id uuid REFERENCES users (id) ON DELETE CASCADE,
    -- Milliseconds since the Unix epoch.
    expires_at bigint NOT NULL
);
CREATE INDEX IF NOT EXISTS api_sign_ons_expiry_idx ON api_sign_ons (expires_at);
