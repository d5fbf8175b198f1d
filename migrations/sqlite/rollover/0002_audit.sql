-- The audit trail in Breeze's own columns (FORMATS section 8), append-only. SQLite has
-- no SHA-256, so that the writer computes checksum and chain, in the entry's transaction.

CREATE TABLE IF NOT EXISTS audit_logs (
    id            TEXT PRIMARY KEY NOT NULL,
    org_id        TEXT,
    timestamp     TEXT NOT NULL, -- 2026-11-24T17:00:00.000000Z
    actor_type    TEXT NOT NULL CHECK (actor_type IN ('user', 'api_key', 'agent', 'system')),
    actor_id      TEXT NOT NULL,
    actor_email   TEXT,
    action        TEXT NOT NULL,
    resource_type TEXT NOT NULL,
    resource_id   TEXT,
    resource_name TEXT,
    details       TEXT,
    ip_address    TEXT,
    user_agent    TEXT,
    result        TEXT NOT NULL CHECK (result IN ('success', 'failure', 'denied')),
    error_message TEXT,
    checksum      TEXT NOT NULL,
    prev_checksum TEXT,
    initiated_by  TEXT CHECK (initiated_by IN
        ('manual', 'ai', 'automation', 'policy', 'schedule', 'agent', 'integration'))
) STRICT;
CREATE INDEX IF NOT EXISTS audit_logs_by_time ON audit_logs (timestamp DESC, id DESC);

CREATE TABLE IF NOT EXISTS audit_log_chain (
    chain_seq           INTEGER PRIMARY KEY AUTOINCREMENT,
    audit_id            TEXT NOT NULL UNIQUE REFERENCES audit_logs (id),
    org_id              TEXT,
    content_checksum    TEXT NOT NULL,
    prev_chain_checksum TEXT,
    chain_checksum      TEXT NOT NULL,
    sealed_at           TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
) STRICT;
CREATE INDEX IF NOT EXISTS audit_log_chain_head ON audit_log_chain (org_id, chain_seq DESC);
CREATE UNIQUE INDEX IF NOT EXISTS audit_log_chain_one_next ON audit_log_chain
    (coalesce(org_id, 'NULL'), prev_chain_checksum);
CREATE UNIQUE INDEX IF NOT EXISTS audit_log_chain_one_genesis ON audit_log_chain
    (coalesce(org_id, 'NULL')) WHERE prev_chain_checksum IS NULL;

CREATE TRIGGER IF NOT EXISTS audit_logs_no_update BEFORE UPDATE ON audit_logs
    BEGIN SELECT RAISE(ABORT, 'audit_logs is append-only'); END;
CREATE TRIGGER IF NOT EXISTS audit_logs_no_delete BEFORE DELETE ON audit_logs
    BEGIN SELECT RAISE(ABORT, 'audit_logs is append-only'); END;
CREATE TRIGGER IF NOT EXISTS audit_log_chain_no_update BEFORE UPDATE ON audit_log_chain
    BEGIN SELECT RAISE(ABORT, 'audit_log_chain is append-only'); END;
CREATE TRIGGER IF NOT EXISTS audit_log_chain_no_delete BEFORE DELETE ON audit_log_chain
    BEGIN SELECT RAISE(ABORT, 'audit_log_chain is append-only'); END;

-- INSERT OR REPLACE deletes without asking a DELETE trigger.
CREATE TRIGGER IF NOT EXISTS audit_logs_no_replace BEFORE INSERT ON audit_logs
    WHEN EXISTS (SELECT 1 FROM audit_logs WHERE id = NEW.id)
    BEGIN SELECT RAISE(ABORT, 'audit_logs is append-only'); END;
CREATE TRIGGER IF NOT EXISTS audit_log_chain_no_replace BEFORE INSERT ON audit_log_chain
    WHEN EXISTS (SELECT 1 FROM audit_log_chain
        WHERE chain_seq = NEW.chain_seq OR audit_id = NEW.audit_id)
    BEGIN SELECT RAISE(ABORT, 'audit_log_chain is append-only'); END;
