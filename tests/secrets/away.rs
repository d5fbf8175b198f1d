//! A replica that was away while the credential of the database rolled over; and one that
//! listens with a login of its own.

use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use crate::{
    database_role::{OnOwnRole, user_info},
    proxy::{Link, Proxy},
    served::{Served, serve},
    support::{free_port, http::Client, postgres::Role},
};

/// `url` by way of `proxy`.
pub(crate) fn by(proxy: &Proxy, url: &str) -> String {
    let (user, rest) = url.split_once('@').unwrap();
    let path = rest.split_once('/').unwrap().1;
    format!("{user}@127.0.0.1:{}/{path}", proxy.port())
}

pub(crate) async fn proxy_to(role: &Role) -> Proxy {
    let rest = role.url.split_once('@').unwrap().1;
    let port = rest.split(['/', ':']).nth(1).unwrap();
    Proxy::to(port.parse().unwrap()).await
}

/// Rolls over to `second` while a replica that `started` began is away, and ends the old
/// role.
async fn rolls_over_without(on: &OnOwnRole, second: &Role, proxy: &Proxy) {
    proxy.set(Link::Cut);
    let value = user_info(second);
    let rollover = on.served.begin("DATABASE_URL", "graceful", Some(&value)).await;
    on.served.reaches(&rollover, "retired").await;
    assert_eq!(on.connections(&on.role.name).await, 0);
    proxy.set(Link::Passes);
}

const LEASE: (&str, &str) = ("BREEZE_LEASE_SECONDS", "5");

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
async fn a_replica_whose_login_is_gone_ends_with_a_sentence() {
    let on = OnOwnRole::start().await;
    let (second, proxy) = (on.second_role().await, proxy_to(&on.role).await);
    let (port, url) = (free_port(), by(&proxy, &on.role.url));
    let mut another = serve(port, &[("DATABASE_URL", &url), LEASE]);
    another.listens_on(port).await;
    rolls_over_without(&on, &second, &proxy).await;
    let ended = another.finish().await;
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    for told in ["ends to be started anew", "put the credential in use into DATABASE_URL"] {
        assert!(ended.stderr.contains(told), "{told}: {}", ended.stderr);
    }
    on.served.admin.get("/api/v1/users/me").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
async fn a_replica_whose_file_has_the_new_login_recovers_by_itself() {
    let on = OnOwnRole::start().await;
    let (second, proxy) = (on.second_role().await, proxy_to(&on.role).await);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("url");
    std::fs::write(&file, by(&proxy, &on.role.url)).unwrap();
    let port = free_port();
    let mut another = serve(port, &[("DATABASE_URL_FILE", file.to_str().unwrap()), LEASE]);
    another.listens_on(port).await;
    let ready = async || Client::on(port).get("/ready").await.status.as_u16();
    std::fs::write(&file, by(&proxy, &second.url)).unwrap();
    rolls_over_without(&on, &second, &proxy).await;
    for _ in 0..600 {
        if ready().await == 200 {
            return;
        }
        sleep(Duration::from_millis(100)).await;
    }
    panic!("it is away for good: {}", another.stderr());
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
async fn a_url_to_listen_on_has_its_own_login() {
    let (db, role) = OnOwnRole::migrated().await;
    let hears = {
        let crate::support::deployment::Db::Postgres(database) = &db else { unreachable!() };
        database.role().await
    };
    let served = Served::at(db, &role.url, &[("DATABASE_LISTEN_URL", &hears.url)]).await;
    let on = OnOwnRole { served, role };
    for _ in 0..100 {
        if on.connections(&hears.name).await > 0 {
            break;
        }
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(on.connections(&hears.name).await, 1, "{}", on.served.process.stderr());
    // And keeps it when that of the pool rolls over.
    let second = on.second_role().await;
    let value = user_info(&second);
    let rollover = on.served.begin("DATABASE_URL", "graceful", Some(&value)).await;
    on.served.reaches(&rollover, "retired").await;
    assert_eq!(on.connections(&hears.name).await, 1);
    let found = on.served.admin.get("/admin/rollovers").await.expect(200);
    assert_eq!(found["rollovers"].as_array().map(Vec::len), Some(1), "{}", json!(found));
}
