//! Tables as Breeze itself keeps them, with its types and what it demands of a row.

use serde_json::json;
use uuid::Uuid;

use crate::{service::Service, support::deployment::Db};

/// The columns that matter here; Breeze has many more, all with a default.
const TABLES: &str = "
    CREATE TYPE os_type AS ENUM ('windows', 'macos', 'linux');
    CREATE TYPE device_status AS ENUM ('online', 'offline', 'decommissioned');
    CREATE TABLE enrollment_keys (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(), org_id uuid NOT NULL, site_id uuid,
        name varchar(255) NOT NULL, key varchar(64) NOT NULL UNIQUE, key_secret_hash varchar(64),
        usage_count integer NOT NULL DEFAULT 0, max_usage integer, expires_at timestamp,
        created_by uuid, created_at timestamp NOT NULL DEFAULT now());
    CREATE TABLE devices (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(), org_id uuid NOT NULL,
        site_id uuid NOT NULL, agent_id varchar(64) NOT NULL UNIQUE,
        agent_token_hash varchar(64), token_issued_at timestamptz,
        previous_token_hash varchar(64), previous_token_expires_at timestamptz,
        pending_token_hash varchar(64), pending_token_expires_at timestamptz,
        hostname varchar(255) NOT NULL, os_type os_type NOT NULL,
        os_version varchar(100) NOT NULL, architecture varchar(20) NOT NULL,
        agent_version varchar(50) NOT NULL, status device_status NOT NULL DEFAULT 'offline',
        last_seen_at timestamp, enrolled_at timestamp NOT NULL DEFAULT now());";

#[tokio::test]
#[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
async fn agents_enrol_and_rotate_in_the_tables_of_breeze() {
    let db = Db::on_postgres().await;
    db.execute(TABLES, "").await;
    let service = Service::start(db).await;
    let (org, site) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let body = json!({ "name": "of a site", "orgId": org, "siteId": site });
    let key = service.enrolment_key_as(body).await["key"].as_str().unwrap().to_owned();
    let mut agent = service.enrol(&key).await.unwrap();
    agent.token =
        agent.ask("rotate-token").await.expect(200)["authToken"].as_str().unwrap().to_owned();
    agent.beat().await.unwrap();

    let database = service.db.open().await;
    let is_recent = "SELECT count(*) FROM devices, enrollment_keys AS k
        WHERE abs(extract(epoch FROM last_seen_at - now() AT TIME ZONE 'UTC')) < 60
        AND abs(extract(epoch FROM token_issued_at - now())) < 60
        AND extract(epoch FROM k.expires_at - now() AT TIME ZONE 'UTC') BETWEEN 3500 AND 3600";
    assert_eq!(database.number(is_recent).await, 1);
}
