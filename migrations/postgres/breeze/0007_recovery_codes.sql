-- MFA recovery codes. As in 0001, a column of Breeze's is left as it is: its array of
-- hashes is read and written as Breeze does.
ALTER TABLE users
    ADD COLUMN IF NOT EXISTS mfa_recovery_codes jsonb,
    -- Hash to the id of the pepper that made it, for codes that were made or checked here.
    -- What it says of a hash that is in the array no more means nothing.
    ADD COLUMN IF NOT EXISTS mfa_recovery_code_peppers jsonb,
    -- When codes were taken back, until the user makes new ones. Milliseconds since the
    -- Unix epoch.
    ADD COLUMN IF NOT EXISTS mfa_recovery_codes_due_at bigint,
    -- When the user is to be told so by mail, until that is done.
    ADD COLUMN IF NOT EXISTS mfa_recovery_notice_at bigint;
CREATE INDEX IF NOT EXISTS users_recovery_notice_idx ON users (mfa_recovery_notice_at)
    WHERE mfa_recovery_notice_at IS NOT NULL;
