-- The audit trail in Breeze's own columns (FORMATS section 8). A Breeze database has
-- it already, with triggers of its own, and it is left alone.
--
-- 1. A row cannot be updated, deleted or truncated.
-- 2. Its checksum is computed here, whatever the writer says.
-- 3. At commit it is chained to the one before it of the same organisation.

CREATE FUNCTION rollover.audit_refuse() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME;
END
$$;

CREATE FUNCTION rollover.audit_checksum() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog
    AS $$
BEGIN
    NEW.prev_checksum := NULL;
    NEW.checksum := encode(sha256(convert_to(concat_ws('|',
        '',
        NEW.id::text,
        NEW.actor_type,
        NEW.actor_id::text,
        NEW.action,
        NEW.resource_type,
        coalesce(NEW.resource_id::text, ''),
        NEW.result,
        coalesce(NEW.details::text, ''),
        to_char(NEW."timestamp", 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
    ), 'UTF8')), 'hex');
    RETURN NEW;
END
$$;

-- Runs as its owner, so that a role that writes the trail needs no right to the chain.
CREATE FUNCTION rollover.audit_chain() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
    AS $$
DECLARE
    head text;
BEGIN
    PERFORM pg_advisory_xact_lock(1000200, hashtext(coalesce(NEW.org_id::text, 'NULL')));
    SELECT chain_checksum INTO head
        FROM public.audit_log_chain
        WHERE org_id IS NOT DISTINCT FROM NEW.org_id
        ORDER BY chain_seq DESC
        LIMIT 1;
    INSERT INTO public.audit_log_chain
        (audit_id, org_id, content_checksum, prev_chain_checksum, chain_checksum)
    VALUES (NEW.id, NEW.org_id, NEW.checksum, head,
        encode(sha256(convert_to(coalesce(head, '') || '|' || NEW.checksum, 'UTF8')), 'hex'));
    RETURN NULL;
END
$$;

DO $migration$
BEGIN
    IF to_regclass('public.audit_logs') IS NOT NULL THEN
        RETURN;
    END IF;

    CREATE TABLE public.audit_logs (
        id            uuid         PRIMARY KEY DEFAULT gen_random_uuid(),
        org_id        uuid,
        "timestamp"   timestamp    NOT NULL DEFAULT now(),
        actor_type    text         NOT NULL
            CHECK (actor_type IN ('user', 'api_key', 'agent', 'system')),
        actor_id      uuid         NOT NULL,
        actor_email   varchar(255),
        action        varchar(100) NOT NULL,
        resource_type varchar(50)  NOT NULL,
        resource_id   uuid,
        resource_name varchar(255),
        details       jsonb,
        ip_address    varchar(45),
        user_agent    text,
        result        text         NOT NULL
            CHECK (result IN ('success', 'failure', 'denied')),
        error_message text,
        checksum      varchar(128),
        prev_checksum varchar(128),
        initiated_by  text
            CHECK (initiated_by IN
                ('manual', 'ai', 'automation', 'policy', 'schedule', 'agent', 'integration'))
    );
    CREATE INDEX audit_logs_by_time ON public.audit_logs ("timestamp" DESC, id DESC);

    CREATE TABLE public.audit_log_chain (
        chain_seq           bigserial    PRIMARY KEY,
        audit_id            uuid         NOT NULL UNIQUE REFERENCES public.audit_logs (id),
        org_id              uuid,
        content_checksum    varchar(128) NOT NULL,
        prev_chain_checksum varchar(128),
        chain_checksum      varchar(128) NOT NULL,
        sealed_at           timestamptz  NOT NULL DEFAULT now()
    );
    CREATE INDEX audit_log_chain_head ON public.audit_log_chain (org_id, chain_seq DESC);
    CREATE UNIQUE INDEX audit_log_chain_one_next ON public.audit_log_chain
        (coalesce(org_id::text, 'NULL'), prev_chain_checksum);
    CREATE UNIQUE INDEX audit_log_chain_one_genesis ON public.audit_log_chain
        (coalesce(org_id::text, 'NULL')) WHERE prev_chain_checksum IS NULL;

    CREATE TRIGGER audit_logs_checksum BEFORE INSERT ON public.audit_logs
        FOR EACH ROW EXECUTE FUNCTION rollover.audit_checksum();
    CREATE CONSTRAINT TRIGGER audit_logs_chain AFTER INSERT ON public.audit_logs
        DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION rollover.audit_chain();
    CREATE TRIGGER audit_logs_append_only BEFORE UPDATE OR DELETE ON public.audit_logs
        FOR EACH ROW EXECUTE FUNCTION rollover.audit_refuse();
    CREATE TRIGGER audit_logs_no_truncate BEFORE TRUNCATE ON public.audit_logs
        FOR EACH STATEMENT EXECUTE FUNCTION rollover.audit_refuse();
    CREATE TRIGGER audit_log_chain_append_only BEFORE UPDATE OR DELETE ON public.audit_log_chain
        FOR EACH ROW EXECUTE FUNCTION rollover.audit_refuse();
    CREATE TRIGGER audit_log_chain_no_truncate BEFORE TRUNCATE ON public.audit_log_chain
        FOR EACH STATEMENT EXECUTE FUNCTION rollover.audit_refuse();
END
$migration$;
