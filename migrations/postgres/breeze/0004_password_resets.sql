-- One row a password reset that was mailed, until it is used or expires. The token itself
-- is in the mail alone.
CREATE TABLE IF NOT EXISTS api_password_resets (
    user_id uuid PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    token_hash text NOT NULL UNIQUE,
    expires_at bigint NOT NULL
);
