//! A database and a Redis server with TLS under an authority of the operator's own: they
//! are spoken to with it, and not without.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    time::Duration,
};

use serde_json::json;
use tokio::time::sleep;

use crate::{
    cluster::Cluster,
    served::Served,
    support::{
        breeze_api::{Finished, breeze_api},
        deployment::{Db, KEYS},
        redis::{OLD, Redis},
    },
};

/// Has the server speak TLS, with a certificate that this answers.
async fn speaks_tls(cluster: &Cluster) -> String {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let mut connection = cluster.connect("postgres").await.unwrap();
    let folder: String =
        sqlx::query_scalar("SHOW data_directory").fetch_one(&mut connection).await.unwrap();
    for (name, pem) in [
        ("server.crt", certified.cert.pem()),
        ("server.key", certified.signing_key.serialize_pem()),
    ] {
        // By the server's own hand, so that the file is its own.
        let lines = pem.trim_end();
        let copy = format!(
            "COPY (SELECT unnest(string_to_array($pem${lines}$pem$, E'\\n'))) TO '{folder}/{name}'"
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(copy)).execute(&mut connection).await.unwrap();
        fs::set_permissions(format!("{folder}/{name}"), Permissions::from_mode(0o600)).unwrap();
    }
    for statement in ["ALTER SYSTEM SET ssl = on", "SELECT pg_reload_conf()"] {
        sqlx::raw_sql(statement).execute(&mut connection).await.unwrap();
    }
    for _ in 0..200 {
        let mut another = cluster.connect("postgres").await.unwrap();
        let speaks: String = sqlx::query_scalar("SHOW ssl").fetch_one(&mut another).await.unwrap();
        if speaks == "on" {
            return certified.cert.pem();
        }
        sleep(Duration::from_millis(50)).await;
    }
    panic!("it speaks no TLS: {}", cluster.log());
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
async fn a_database_proves_who_it_is() {
    let cluster = Cluster::start().await;
    let url = |host: &str, mode: &str| {
        let url = cluster.url_by(cluster.port()).replace("127.0.0.1", host);
        format!("{url}?sslmode={mode}")
    };
    let migrate = |url: String, authority: Option<&str>| {
        let run = breeze_api(["migrate"]).envs(KEYS).env("DATABASE_URL", url);
        match authority {
            Some(pem) => run.env("BREEZE_TRUSTED_CA", pem).finish(),
            None => run.finish(),
        }
    };
    let is_refused = |done: Finished| {
        assert_eq!(done.code, Some(1), "{}", done.stderr);
        assert!(done.stderr.contains("does not prove who it is"), "{}", done.stderr);
    };
    is_refused(migrate(url("localhost", "verify-full"), None).await);
    let pem = speaks_tls(&cluster).await;
    let known = migrate(url("localhost", "verify-full"), Some(&pem)).await;
    assert_eq!(known.code, Some(0), "{}", known.stderr);
    is_refused(migrate(url("localhost", "verify-full"), None).await);
    // The certificate is for another name.
    is_refused(migrate(url("127.0.0.1", "verify-full"), Some(&pem)).await);
    let here = migrate(url("localhost", "prefer"), None).await;
    assert_eq!(here.code, Some(0), "nothing is wanted of this machine: {}", here.stderr);
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(redis_tests), ignore = "needs redis-server; tests/run installs it")]
async fn a_redis_server_proves_who_it_is() {
    let redis = Redis::start_with_tls("~breeze:* +@all").await;
    let url = redis.url();
    let pem = redis.certificate().to_owned();
    for (authority, counters) in [(None, 0), (Some(&pem), 1)] {
        let mut variables = vec![("REDIS_URL", url.as_str())];
        variables.extend(authority.map(|pem| ("BREEZE_TRUSTED_CA", pem.as_str())));
        let served = Served::on(Db::on_sqlite(), &variables).await;
        let login = json!({ "email": "a@example.com", "password": "a wrong one" });
        served.anybody.post("/api/v1/auth/login", login).await.expect(401);
        assert_eq!(redis.counters(OLD).await, counters, "{}", served.process.stderr());
        let log = served.process.terminate().await.stderr;
        assert_eq!(log.contains("Redis is away"), authority.is_none(), "{log}");
    }
}
