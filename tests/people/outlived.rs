//! Requests that outlive the lease of their process: what they have done is told, what they
//! have not done is as before, and nothing is refused for what only others know.

use std::time::Duration;

use breeze_rollover::ids::RolloverId;
use futures_util::future::join_all;
use http::Method;
use serde_json::{Value, json};
use tokio::{
    sync::oneshot,
    time::{sleep, timeout},
};

use crate::{
    person::{CODES, PASSWORD, Person, make, session},
    replicas::Replicas,
    support::{
        deployment::{Db, Opened, on_both_databases},
        halt::{halt, held_up, is_fenced, lease_is_over},
        http::{Answer, Client},
    },
};

on_both_databases!(
    a_recovery_code_counts_still_where_its_login_has_come_to_nothing,
    what_was_written_is_told_without_what_cannot_be_read,
    what_was_made_is_shown_only_if_it_counts,
    an_agent_is_shown_a_token_only_if_it_counts,
    a_call_that_an_old_key_let_in_ends_before_that_key_is_cut_off,
    who_accepts_without_a_lease_refuses_nothing_that_others_may_know,
);

const SHORT: (&str, &str) = ("BREEZE_LEASE_SECONDS", "8");
const LOGIN: &str = "/api/v1/auth/login";
const VARIABLES: &str = "/api/v1/tenant-variables";

async fn a_recovery_code_counts_still_where_its_login_has_come_to_nothing(db: Db) {
    let replicas = Replicas::with(db, &[SHORT]).await;
    let ([sound, slow], database) = (&replicas.clients, replicas.database().await);
    let (ann, _, codes) = Person::with_codes(&replicas, "ann").await;
    let body = json!({ "email": ann.email, "password": PASSWORD, "recoveryCode": codes[0] });
    let login = slow.begin(LOGIN, body).await;
    halt(&replicas.processes[1], &database).await;
    lease_is_over(&database, slow.port()).await;
    replicas.processes[1].signal("CONT").await;
    assert!(is_fenced(&login.finish().await));
    ann.passes(sound, &codes[0]).await;
}

/// One call of a client.
struct Call<'a>(&'a Client, Method, &'a str, Value);

/// How the second process answers `calls`, if it is stopped past its lease when each of them
/// writes. As few as its connections to a SQLite file are.
async fn stopped_as_they_write<const N: usize>(
    replicas: &Replicas,
    calls: [Call<'_>; N],
) -> [Answer; N] {
    const TABLES: &str = "users, enrollment_keys, api_keys, devices, tenant_variables";
    let (database, process) = (replicas.database().await, &replicas.processes[1]);
    let before = written(&database).await;
    let asked = calls.map(|Call(client, method, path, body)| client.ask(method, path, Some(body)));
    let (held, is_held) = oneshot::channel();
    let asked = async {
        is_held.await.unwrap();
        join_all(asked).await
    };
    let stops = async {
        held.send(()).unwrap();
        sleep(Duration::from_secs(2)).await;
        process.signal("STOP").await;
    };
    let goes_on = async {
        held_up(&database, TABLES, stops).await;
        lease_is_over(&database, replicas.clients[1].port()).await;
        process.signal("CONT").await;
    };
    let (answers, ()) = tokio::join!(asked, goes_on);
    let after = written(&database).await;
    let changed = before.iter().zip(&after).filter(|(before, after)| before != after).count();
    assert_eq!(changed, N, "each has written: {before:?} {after:?}");
    let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
    answers.try_into().unwrap()
}

/// What there is of everything that is written here.
async fn written(database: &Opened) -> Vec<String> {
    const ALL: &str = "
        SELECT 'variables ' || count(*) FROM tenant_variables
        UNION ALL SELECT 'edits ' || coalesce(sum(version - 1), 0) FROM tenant_variables
        UNION ALL SELECT 'keys ' || count(*) FROM enrollment_keys
        UNION ALL SELECT 'API keys ' || count(*) FROM api_keys
        UNION ALL SELECT 'devices ' || count(*) FROM devices
        UNION ALL SELECT 'pending ' || coalesce(max(pending_token_hash), '') FROM devices
        UNION ALL SELECT 'codes ' || coalesce(max(CAST(mfa_recovery_codes AS text)), '') FROM users";
    database.texts(ALL).await
}

async fn what_was_written_is_told_without_what_cannot_be_read(db: Db) {
    let replicas = Replicas::with(db, &[SHORT]).await;
    let [sound, slow] = &replicas.clients;
    let ann = Person::join(&replicas, "ann").await;
    let me = session(sound, &ann.log_in_by(sound, json!({})).await.expect(200));
    let there = slow.bearing(me.bearer().unwrap());
    let body = json!({ "name": "a variable", "value": "of before" });
    let variable = me.post(VARIABLES, body).await.header("location").unwrap().to_owned();
    let edit = Call(&there, Method::PATCH, &variable, json!({ "value": "edited" }));
    let create = Call(&there, Method::POST, VARIABLES, json!({ "name": "new", "value": "new" }));
    let [edited, created] = stopped_as_they_write(&replicas, [edit, create]).await;

    assert_eq!(edited.header("etag"), Some("\"2\""));
    let variables = [
        (variable.as_str(), edited.expect(200), "a variable", "edited"),
        (created.header("location").unwrap(), created.expect(201), "new", "new"),
    ];
    for (path, told, name, value) in variables {
        assert_eq!((&told["name"], &told["value"]), (&json!(name), &Value::Null));
        assert_eq!(told["unread"], json!(["value"]));
        assert_eq!(told.get("unreadable"), None, "nobody is asked to set it again");
        let read = me.get(path).await.expect(200);
        assert_eq!((&read["value"], read.get("unread")), (&json!(value), None));
    }
}

async fn what_was_made_is_shown_only_if_it_counts(db: Db) {
    let replicas = Replicas::with(db, &[SHORT]).await;
    let [sound, slow] = &replicas.clients;
    let (ann, mine, _) = Person::with_codes(&replicas, "ann").await;
    let me = slow.bearing(mine.bearer().unwrap());
    let name = json!({ "name": "new" });
    let made = stopped_as_they_write(
        &replicas,
        [
            Call(&me, Method::POST, CODES, json!({})),
            Call(&me, Method::POST, "/api/v1/enrollment-keys", name.clone()),
            Call(&me, Method::POST, "/api/v1/api-keys", name),
        ],
    )
    .await;
    for made in made {
        assert!(is_fenced(&made), "{made:?}");
    }
    let codes = make(&mine).await;
    ann.passes(sound, &codes[0]).await;
}

async fn an_agent_is_shown_a_token_only_if_it_counts(db: Db) {
    let secret = "a secret of the tests for agents that enrol";
    let replicas = Replicas::with(db, &[SHORT, ("AGENT_ENROLLMENT_SECRET", secret)]).await;
    let [sound, slow] = &replicas.clients;
    let (_, mine, codes) = Person::with_codes(&replicas, "ann").await;
    let key = mine.post("/api/v1/enrollment-keys", json!({ "name": "a key" })).await.expect(201);
    let body = json!({
        "enrollmentKey": key["key"], "enrollmentSecret": secret, "hostname": "a host", "osType": "linux", "osVersion": "1",
        "architecture": "x86_64", "agentVersion": "1",
    });
    const ENROL: &str = "/api/v1/agents/enroll";
    let enrolled = sound.post(ENROL, body.clone()).await.expect(201);
    let path = format!("/api/v1/agents/{}", enrolled["agentId"].as_str().unwrap());
    let (rotate, heartbeat) = (format!("{path}/rotate-token"), format!("{path}/heartbeat"));
    let token = enrolled["authToken"].as_str().unwrap();
    let (agent, there) = (slow.bearing(token), slow.bearing(mine.bearer().unwrap()));
    // Nor is anybody told of their codes by who may not know every pepper.
    let (check, one) = (format!("{CODES}/check"), json!({ "codes": [codes[0]] }));
    let made = stopped_as_they_write(
        &replicas,
        [
            Call(slow, Method::POST, ENROL, body),
            Call(&agent, Method::POST, &rotate, json!({})),
            Call(&there, Method::POST, &check, one),
        ],
    )
    .await;
    for made in made {
        assert!(is_fenced(&made), "{made:?}");
    }
    sound.bearing(token).post(&heartbeat, json!({})).await.expect(200);
    let checked = mine.post(&check, json!({ "codes": codes })).await.expect(200);
    assert_eq!(checked["left"], 10);
}

async fn a_call_that_an_old_key_let_in_ends_before_that_key_is_cut_off(db: Db) {
    let replicas = Replicas::start(db).await;
    let database = replicas.database().await;
    let slow = replicas.clients[1].bearing(replicas.operator.bearer().unwrap());
    let exposed = json!({
        "secrets": ["SESSION_SECRET"], "exposedSince": 1_700_000_000_000_i64, "reason": "a test",
    });
    let call = slow.begin("/admin/incidents", exposed).await;
    let path = replicas.begin("JWT_SECRET", "hard").await;
    let id: RolloverId = path.rsplit('/').next().unwrap().parse().unwrap();
    let cut_off = async || database.store().rollover(id).await.unwrap().unwrap().cut_off;
    let is_retired = async {
        while cut_off().await.is_none() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(20), is_retired).await.expect("a hard rollover waits for none");
    // Each process has reported that it has the keys of now, over and over.
    for _ in 0..30 {
        assert_eq!(cut_off().await.unwrap().at, None, "it may act still");
        sleep(Duration::from_millis(100)).await;
    }
    call.finish().await.expect(201);
    let is_told = async {
        while cut_off().await.unwrap().at.is_none() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(20), is_told).await.expect("nobody is waited for any more");
    slow.get("/admin/secrets").await.expect(401);
}

/// Keeps the process on `port` from renewing its lease, and nobody else from anything.
async fn renews_no_more(db: &Db, port: u16) {
    let name = format!("breeze-api 127.0.0.1:{port}");
    db.execute(
        &format!(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql
                AS $$ BEGIN RAISE EXCEPTION 'no renewal'; END $$;
             CREATE TRIGGER refuses BEFORE INSERT ON rollover.replica
                FOR EACH ROW WHEN (NEW.name = '{name}') EXECUTE FUNCTION refuse()"
        ),
        &format!(
            "CREATE TRIGGER refuses BEFORE INSERT ON rollover_replica
                WHEN NEW.name = '{name}' BEGIN SELECT RAISE(ABORT, 'no renewal'); END"
        ),
    )
    .await;
}

async fn who_accepts_without_a_lease_refuses_nothing_that_others_may_know(db: Db) {
    let token = "a token of the tests for the metrics, 0123456789abcdef";
    let accepts = ("BREEZE_ACCEPT_WHILE_FENCED", "1");
    let replicas = Replicas::with(db, &[SHORT, accepts, ("METRICS_SCRAPE_TOKEN", token)]).await;
    let ([sound, fenced], database) = (&replicas.clients, replicas.database().await);
    let ann = Person::join(&replicas, "ann").await;
    let login = async || ann.log_in_by(sound, json!({})).await.expect(200);
    let old = login().await;
    fenced.get("/ready").await.expect(200);
    renews_no_more(&replicas.db, fenced.port()).await;
    lease_is_over(&database, fenced.port()).await;
    knows_who_serves(&replicas).await;

    // The database is there, and others have a key that it does not know.
    let rollover = json!({
        "secret": "JWT_SECRET", "mode": "graceful", "reason": "a test", "force": ["replicas"],
    });
    let path = replicas.begin_as(rollover).await;
    replicas.until(&path, |rollover| rollover["phase"] == "promoted").await;
    let new = login().await;
    let watch = json!({ "sessionId": "s" });
    let watch = session(sound, &new).post("/api/v1/remote/viewer-tokens", watch).await.expect(201);
    let refresh = async |login: &Value| {
        let body = json!({ "refreshToken": login["tokens"]["refreshToken"] });
        fenced.post("/api/v1/auth/refresh", body).await
    };
    session(fenced, &old).get("/api/v1/users/me").await.expect(200);
    // Where changes are pushed, it may have heard of the key.
    for answer in [
        session(fenced, &new).get("/api/v1/users/me").await,
        fenced.bearing(watch["token"].as_str().unwrap()).get("/api/v1/remote/viewer").await,
    ] {
        assert!(answer.status == 200 || is_fenced(&answer), "{answer:?}");
    }
    for answer in [
        fenced.get("/ready").await,
        session(fenced, &new).post(VARIABLES, json!({ "name": "n", "value": "v" })).await,
        refresh(&new).await,
        refresh(&old).await,
        fenced.bearing("a token that others may know").get("/metrics/scrape").await,
    ] {
        assert!(is_fenced(&answer), "{answer:?}");
    }
    assert_eq!(fenced.bearing(token).get("/metrics/scrape").await.status, 200);
    fenced.get("/health").await.expect(200);

    replicas.db.execute("DROP TRIGGER refuses ON rollover.replica", "DROP TRIGGER refuses").await;
    let recovers = async {
        while fenced.get("/ready").await.status != 200 {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(Duration::from_secs(30), recovers).await.expect("it recovers by itself");
    session(fenced, &new).get("/api/v1/users/me").await.expect(200);
    refresh(&new).await.expect(200);
}

/// `GET /admin/replicas` tells of both processes what the README says.
async fn knows_who_serves(replicas: &Replicas) {
    let told = replicas.operator.get("/admin/replicas").await.expect(200);
    let epoch = told["epoch"].as_u64().unwrap();
    for (client, live) in replicas.clients.iter().zip([true, false]) {
        let name = format!("breeze-api 127.0.0.1:{}", client.port());
        let all = told["replicas"].as_array().unwrap();
        let replica = all.iter().find(|replica| replica["name"] == name).unwrap();
        let mut members = vec![
            "id",
            "name",
            "version",
            "applied",
            "settled",
            "rootKeys",
            "live",
            "leaseUntil",
            "registeredAt",
            "renewedAt",
            "appliedAt",
            "settledAt",
            "acceptsWhileFenced",
            "leftAt",
            "asOf",
            "awaited",
        ];
        members.push(if live { "leaseSecondsLeft" } else { "leaseOverForSeconds" });
        members.sort_unstable();
        let mut known: Vec<_> = replica.as_object().unwrap().keys().map(String::as_str).collect();
        known.sort_unstable();
        assert_eq!(known, members);
        assert_eq!(replica["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(
            (&replica["live"], &replica["acceptsWhileFenced"]),
            (&json!(live), &json!(true))
        );
        assert_eq!((&replica["applied"], &replica["settled"]), (&json!(epoch), &json!(epoch)));
        assert_eq!(replica["rootKeys"].as_array().unwrap().len(), 1);
        assert_eq!((&replica["awaited"], &replica["leftAt"]), (&json!([]), &Value::Null));
    }
}
