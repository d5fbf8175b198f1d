-- The guard: what its triggers ask, and how they refuse. Both run as their owner, so that
-- the role that writes a guarded table needs no right to the schema `rollover`.

-- The retired key that a value names and did not name before, if there is one.
--
-- Values come as JSON text, which is one form for text, arrays and documents: an envelope
-- is a string in it. White space before it counts for nothing; a string that was there
-- already, as a quarantined one is, may stay. `mfa:` is plaintext but to its own secret,
-- which once was sealed under the general one.
CREATE OR REPLACE FUNCTION rollover.retired_key_in(of_secret text, was text, becomes text)
    RETURNS text
    LANGUAGE plpgsql VOLATILE STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    RETURN (
        SELECT key.id
        FROM rollover.key
        WHERE key.state IN ('retired', 'destroyed')
            -- Hardly ever so, and soon found out.
            AND strpos(becomes, ':' || key.id || ':') > 0
            AND EXISTS (
                SELECT
                FROM regexp_matches(becomes,
                    $re$(?<!\\)"(?:\s|\\[tnfr])*((enc:v[23]|mfa:v2):([A-Za-z0-9._-]+):[^"]*")$re$,
                    'g') AS named (part)
                WHERE named.part[3] = key.id
                    AND strpos(was, named.part[1]) = 0
                    AND CASE
                        WHEN named.part[2] = 'mfa:v2' THEN
                            key.secret = of_secret AND of_secret = 'MFA_ENCRYPTION_KEY'
                        WHEN of_secret = 'MFA_ENCRYPTION_KEY' THEN
                            key.secret = 'APP_ENCRYPTION_KEY'
                        ELSE key.secret = of_secret
                    END
            )
        LIMIT 1
    );
END
$$;
GRANT EXECUTE ON FUNCTION rollover.retired_key_in(text, text, text) TO PUBLIC;

-- Refuses the row, and tells of the column and the key, never of the value. Its arguments
-- are the guarded columns, each with its secret.
CREATE OR REPLACE FUNCTION rollover.refuse_retired_key()
    RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    was     json := CASE TG_OP WHEN 'UPDATE' THEN to_json(OLD) ELSE '{}' END;
    becomes json := to_json(NEW);
    named   text;
BEGIN
    FOR n IN 0 .. TG_NARGS - 1 BY 2 LOOP
        named := rollover.retired_key_in(TG_ARGV[n + 1],
            coalesce((was -> TG_ARGV[n])::text, ''), (becomes -> TG_ARGV[n])::text);
        IF named IS NOT NULL THEN
            RAISE check_violation USING
                MESSAGE = format('%s.%s must not be sealed under key %s, which is retired; seal it under the primary key',
                    TG_TABLE_NAME, TG_ARGV[n], named),
                SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME, COLUMN = TG_ARGV[n],
                CONSTRAINT = 'rollover_guard';
        END IF;
    END LOOP;
    RETURN NULL;
END
$$;
