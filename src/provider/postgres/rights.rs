//! What a role may do, and to which roles the present one may give a password: as the
//! server tells it to anybody.

/// What the role of the pool may do and the asking role, $1, may not: a few examples.
///
/// Of a table also what is granted on single columns; of a function whether it may be
/// called.
pub(super) const LACKING: &str = "
    WITH thing AS (
        SELECT c.oid, n.nspname, c.relname, c.relkind
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
          AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%'
    )
    SELECT privilege || ' on ' || nspname || '.' || relname FROM thing, unnest(
        CASE relkind WHEN 'S' THEN ARRAY['USAGE'] ELSE ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE'] END
    ) AS privilege
    WHERE CASE relkind
        WHEN 'S' THEN has_sequence_privilege(session_user, oid, privilege)
            AND NOT has_sequence_privilege($1, oid, privilege)
        ELSE has_table_privilege(session_user, oid, privilege)
            AND NOT has_table_privilege($1, oid, privilege)
    END
    UNION ALL
    SELECT privilege || ' on column ' || nspname || '.' || relname || '.' || attname
    FROM thing JOIN pg_attribute ON attrelid = oid AND attnum > 0 AND NOT attisdropped,
        unnest(ARRAY['SELECT', 'INSERT', 'UPDATE']) AS privilege
    WHERE relkind <> 'S' AND attacl IS NOT NULL
      AND NOT has_table_privilege(session_user, oid, privilege)
      AND has_column_privilege(session_user, oid, attnum, privilege)
      AND NOT has_column_privilege($1, oid, attnum, privilege)
    UNION ALL
    SELECT 'EXECUTE on ' || p.oid::regprocedure
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%'
      AND has_function_privilege(session_user, p.oid, 'EXECUTE')
      AND NOT has_function_privilege($1, p.oid, 'EXECUTE')
    UNION ALL
    SELECT 'USAGE on schema ' || nspname FROM pg_namespace
    WHERE has_schema_privilege(session_user, oid, 'USAGE')
      AND NOT has_schema_privilege($1, oid, 'USAGE')
    UNION ALL
    SELECT 'BYPASSRLS' FROM pg_roles here, pg_roles there
    WHERE here.rolname = session_user AND there.rolname = $1
      AND (here.rolsuper OR here.rolbypassrls) AND NOT (there.rolsuper OR there.rolbypassrls)
    LIMIT 3";

/// Open connections of role $1.
pub(super) const IN_USE: &str = "
    SELECT count(*), coalesce(string_agg(DISTINCT nullif(application_name, ''), ', '), '')
    FROM pg_stat_activity WHERE usename = $1";

/// Role $1, if there is one: whether it is a member of role $2, or that one of it; and how
/// many connections of it are open. A superuser counts as a member of nothing here.
pub(super) const OTHER: &str = "
    SELECT EXISTS (
        SELECT FROM pg_auth_members JOIN pg_roles present ON present.rolname = $2
        WHERE (roleid, member) IN ((other.oid, present.oid), (present.oid, other.oid))
    ), (SELECT count(*) FROM pg_stat_activity WHERE usesysid = other.oid)
    FROM pg_roles other WHERE rolname = $1";

/// Whether role $1 sees what row-level security hides, and whether it makes roles.
pub(super) const OWN: &str = "SELECT rolbypassrls, rolcreaterole FROM pg_roles WHERE rolname = $1";

/// Whether an operator lets the present role renew logins by a function.
pub(super) const RENEWS: &str = "
    SELECT coalesce(has_function_privilege(
        to_regprocedure('rollover.renew_login(text, text)'), 'EXECUTE'
    ), false)";

/// Gives role $1 the verifier $2, by that function.
pub(super) const RENEW: &str = "SELECT rollover.renew_login($1, $2)";
