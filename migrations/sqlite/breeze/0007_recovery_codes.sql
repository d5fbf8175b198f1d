-- MFA recovery codes: an array of hashes, as JSON text.
ALTER TABLE users ADD COLUMN mfa_recovery_codes TEXT;
-- Hash to the id of the pepper that made it, for codes that were made or checked here, as
-- a JSON object. What it says of a hash that is in the array no more means nothing.
ALTER TABLE users ADD COLUMN mfa_recovery_code_peppers TEXT;
-- When codes were taken back, until the user makes new ones. Milliseconds since the Unix
-- epoch.
ALTER TABLE users ADD COLUMN mfa_recovery_codes_due_at INTEGER;
-- When the user is to be told so by mail, until that is done.
ALTER TABLE users ADD COLUMN mfa_recovery_notice_at INTEGER;
CREATE INDEX IF NOT EXISTS users_recovery_notice_idx ON users (mfa_recovery_notice_at)
    WHERE mfa_recovery_notice_at IS NOT NULL;
