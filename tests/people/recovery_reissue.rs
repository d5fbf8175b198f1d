//! Recovery codes that an operator takes back, so that their owners make new ones.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Json, Router, extract::State, http::StatusCode, routing::post};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle, time::sleep};
use totp_rs::Totp;

use crate::{
    person::{CODES, Person, make, session},
    replicas::Replicas,
    support::{
        deployment::{Db, on_both_databases},
        http::Client,
    },
};

on_both_databases!(
    a_reissue_lets_the_rollover_end_and_tells_every_owner_once,
    who_logs_in_by_authenticator_is_told_to_make_new_codes,
    a_reissue_of_some_users_takes_all_of_theirs_and_nobody_elses,
    a_mail_that_could_not_go_out_goes_out_later,
    only_an_operator_sees_whose_codes_are_outdated,
);

const PEPPERS: &str = "MFA_RECOVERY_CODE_PEPPER";
const OUTDATED: &str = "/admin/recovery-codes/outdated";
const REISSUE: &str = "/admin/recovery-codes/reissue";

/// What takes mails in the place of Resend: those that it took, and whether it is well.
#[derive(Clone, Default)]
struct Post {
    mails: Arc<Mutex<Vec<Value>>>,
    is_away: Arc<Mutex<bool>>,
    refused: Arc<AtomicUsize>,
    /// How long it takes to answer.
    pause: Arc<Mutex<Duration>>,
}

async fn take(State(to): State<Post>, Json(mail): Json<Value>) -> Result<Json<Value>, StatusCode> {
    if *to.is_away.lock().unwrap() {
        to.refused.fetch_add(1, Ordering::Relaxed);
        return Err(StatusCode::SERVICE_UNAVAILABLE);
    }
    to.mails.lock().unwrap().push(mail);
    let pause = *to.pause.lock().unwrap();
    sleep(pause).await;
    Ok(Json(json!({ "id": "49a3999c-0ce1-4ea6-ab68-afcd6dc2e794" })))
}

impl Post {
    async fn open() -> (Self, String, JoinHandle<()>) {
        let post_office = Self::default();
        let router = Router::new().route("/emails", post(take)).with_state(post_office.clone());
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        (post_office, address, server)
    }

    fn taken(&self) -> Vec<Value> {
        self.mails.lock().unwrap().clone()
    }

    /// Waits until it has taken so many mails.
    async fn has(&self, mails: usize) {
        for _ in 0..600 {
            if self.taken().len() >= mails {
                return;
            }
            sleep(Duration::from_millis(100)).await;
        }
        panic!("it has only {:?}", self.taken());
    }
}

fn variables(address: &str) -> [(&str, &str); 5] {
    [
        ("RESEND_API_KEY", "re_the_key_of_the_tests_0123456789"),
        ("RESEND_API_URL", address),
        ("MAIL_FROM", "breeze@example.test"),
        ("MAIL_PROVIDER", "resend"),
        ("DASHBOARD_URL", "https://breeze.example.test/"),
    ]
}

fn order() -> Value {
    json!({ "reason": "the pepper is retired" })
}

async fn a_reissue_lets_the_rollover_end_and_tells_every_owner_once(db: Db) {
    let (mail, address, server) = Post::open().await;
    let replicas = Replicas::with(db, &variables(&address)).await;
    let [one, other] = &replicas.clients;
    let mut people = vec![];
    for name in ["ann", "bob", "eve"] {
        people.push(Person::with_codes(&replicas, name).await);
    }
    let unknown = Person::of_breeze(&replicas, "unknown", &["ABCD-1234"]).await;
    let path = replicas.begin(PEPPERS, "graceful").await;
    replicas.waits_for(&path, "3 row(s) need the old key, and 1 do not tell").await;
    // Eve has made new ones, and Bob has some upgraded.
    let of_eve = make(&people[2].1).await;
    let (bob, of_bob, codes_of_bob) = &people[1];
    let check = json!({ "codes": codes_of_bob[..2] });
    of_bob.post(&format!("{CODES}/check"), check).await.expect(200);

    // Beforehand it is told whose codes would stop working, page by page.
    let page = replicas.operator.get(&format!("{OUTDATED}?limit=2")).await.expect(200);
    let after = page["next"].as_str().unwrap();
    let rest = replicas.operator.get(&format!("{OUTDATED}?limit=2&after={after}")).await;
    let rest = rest.expect(200);
    let listed = [&page, &rest].map(|page| page["data"].as_array().unwrap().clone()).concat();
    let of = |person: &Person| {
        let found = listed.iter().find(|view| view["id"] == person.id.to_string());
        found.cloned().unwrap_or_default()
    };
    assert_eq!((listed.len(), of(&people[2].0)), (3, Value::Null));
    assert_eq!((&of(bob)["current"], &of(bob)["older"]), (&json!(2), &json!(8)));
    assert_eq!(
        (&of(&unknown)["unknown"], &of(&unknown)["email"]),
        (&json!(1), &json!(unknown.email))
    );

    // Of two who order it at once, neither takes anything twice.
    let orders = join_all([one, other].map(|client| {
        let operator = client.bearing(replicas.operator.bearer().unwrap());
        async move { operator.post(REISSUE, order()).await.expect(200) }
    }));
    let orders = orders.await;
    let taken: u64 = orders.iter().map(|order| order["users"].as_u64().unwrap()).sum();
    assert_eq!((taken, &orders[0]["toldByMail"]), (3, &json!(true)));
    let trail = replicas.operator.get("/admin/audit?limit=500").await.expect(200);
    assert_eq!(replicas.operator.get(OUTDATED).await.expect(200)["data"], json!([]));
    let again = replicas.operator.post(REISSUE, order()).await.expect(200);
    assert_eq!(again["users"], 0);
    replicas.ends(&path, "retired").await;
    // Who makes new ones before is not told any more.
    mail.has(3).await;

    let (ann, of_ann, codes_of_ann) = &people[0];
    ann.is_refused(one, &codes_of_ann[0]).await;
    unknown.is_refused(other, "ABCD-1234").await;
    bob.is_refused(one, &codes_of_bob[2]).await;
    let login = bob.log_in(one, &codes_of_bob[0]).await.expect(200);
    assert_eq!(login["recoveryCodesOutdated"], true, "what was upgraded stays, and he is told");
    let login = people[2].0.log_in(other, &of_eve[0]).await.expect(200);
    assert_eq!(login["recoveryCodesOutdated"], Value::Null, "hers were not touched");
    assert_eq!(of_ann.get(CODES).await.expect(200)["outdated"], true);
    let anew = make(of_ann).await;
    let login = ann.log_in(one, &anew[0]).await.expect(200);
    assert_eq!(login["recoveryCodesOutdated"], Value::Null);

    sleep(Duration::from_secs(6)).await;
    let mails = mail.taken();
    let mut to: Vec<_> = mails.iter().map(|mail| mail["to"][0].as_str().unwrap()).collect();
    to.sort_unstable();
    assert_eq!(to, ["ann@example.test", "bob@example.test", "unknown@example.test"]);
    let text = mails[0]["text"].as_str().unwrap();
    assert!(text.contains("https://breeze.example.test\n"), "{text}");

    let told = trail["entries"].as_array().unwrap();
    let told = told.iter().find(|entry| entry["action"] == "recovery_codes.reissue").unwrap();
    assert_eq!(told["details"]["reason"], "the pepper is retired");
    assert!(told["details"]["users"].to_string().contains(&ann.id.to_string()));
    let secrets: Vec<String> =
        people.iter().flat_map(|(.., codes)| codes.clone()).chain(anew).chain(of_eve).collect();
    let shown = format!("{trail} {mails:?} {listed:?}");
    assert!(secrets.iter().all(|code| !shown.contains(code)));
    replicas.end(&secrets).await;
    server.abort();
}

async fn who_logs_in_by_authenticator_is_told_to_make_new_codes(db: Db) {
    let replicas = Replicas::start(db).await;
    let [one, other] = &replicas.clients;
    let ann = Person::join(&replicas, "ann").await;
    let mine = session(one, &ann.log_in_by(one, json!({})).await.expect(200));
    let password = json!({ "password": "correct horse battery" });
    let seed = mine.post("/api/v1/auth/mfa/setup", password).await.expect(200);
    let totp = Totp::from_url(seed["otpauthUrl"].as_str().unwrap()).unwrap();
    let code = || json!({ "code": totp.generate_current().to_string() });
    mine.post("/api/v1/auth/mfa/enable", code()).await.expect(200);
    let database = replicas.database().await;
    // Each code of the authenticator counts once; the test has no half minute to wait.
    let log_in = async |client: &Client| {
        database.execute("UPDATE users SET mfa_last_step = 0").await;
        let code = json!({ "mfaCode": totp.generate_current().to_string() });
        ann.log_in_by(client, code).await.expect(200)
    };
    let login = log_in(one).await;
    assert_eq!(login["recoveryCodesOutdated"], Value::Null, "she has none, and may go without");
    let mine = session(one, &login);
    make(&mine).await;
    let path = replicas.begin(PEPPERS, "graceful").await;
    replicas.waits_for(&path, "1 row(s) need the old key").await;
    assert_eq!(log_in(other).await["recoveryCodesOutdated"], true);
    let reissued = replicas.operator.post(REISSUE, order()).await.expect(200);
    assert_eq!(reissued, json!({ "users": 1, "toldByMail": false }));
    replicas.ends(&path, "retired").await;
    for client in [one, other] {
        assert_eq!(log_in(client).await["recoveryCodesOutdated"], true);
    }
    let codes = make(&mine).await;
    assert_eq!(log_in(one).await["recoveryCodesOutdated"], Value::Null);
    ann.passes(other, &codes[0]).await;
}

async fn a_reissue_of_some_users_takes_all_of_theirs_and_nobody_elses(db: Db) {
    let replicas = Replicas::start(db).await;
    let client = &replicas.clients[0];
    let (ann, of_ann, codes_of_ann) = Person::with_codes(&replicas, "ann").await;
    let (bob, _, codes_of_bob) = Person::with_codes(&replicas, "bob").await;
    let nobody = uuid::Uuid::from_u128(9);
    let some = json!({ "reason": "hers were on a lost laptop", "users": [ann.id, nobody] });
    assert_eq!(replicas.operator.post(REISSUE, some.clone()).await.expect(200)["users"], 1);
    assert_eq!(replicas.operator.post(REISSUE, some).await.expect(200)["users"], 0);
    ann.is_refused(client, &codes_of_ann[0]).await;
    bob.passes(client, &codes_of_bob[0]).await;
    assert_eq!(of_ann.get(CODES).await.expect(200)["outdated"], true);
    for wrong in [json!({}), json!({ "reason": " " }), json!({ "reason": "x", "users": ["y"] })] {
        replicas.operator.post(REISSUE, wrong).await.expect(422);
    }
}

async fn a_mail_that_could_not_go_out_goes_out_later(db: Db) {
    let (mail, address, server) = Post::open().await;
    *mail.is_away.lock().unwrap() = true;
    let replicas = Replicas::with(db, &variables(&address)).await;
    Person::with_codes(&replicas, "ann").await;
    let bob = Person::of_breeze(&replicas, "bob", &["ABCD-1234"]).await;
    assert_eq!(replicas.operator.post(REISSUE, order()).await.expect(200)["users"], 1);
    let database = replicas.database().await;
    // One process has tried it, three times, and leaves it for later.
    while mail.refused.load(Ordering::Relaxed) < 3 {
        sleep(Duration::from_millis(100)).await;
    }
    sleep(Duration::from_millis(500)).await;
    // While one process is at it, the other one looks, too.
    *mail.pause.lock().unwrap() = Duration::from_secs(7);
    *mail.is_away.lock().unwrap() = false;
    const LATER: &str = "SELECT count(*) FROM users
        WHERE mfa_recovery_notice_at > mfa_recovery_codes_due_at";
    assert_eq!(database.number(LATER).await, 1);
    database.execute("UPDATE users SET mfa_recovery_notice_at = 1 WHERE name = 'bob'").await;
    mail.has(1).await;
    assert_eq!(mail.taken()[0]["to"], json!([bob.email]));
    const WAITING: &str = "SELECT count(*) FROM users WHERE mfa_recovery_notice_at IS NOT NULL";
    while database.number(WAITING).await > 0 {
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(mail.taken().len(), 1);
    server.abort();
}

async fn only_an_operator_sees_whose_codes_are_outdated(db: Db) {
    let replicas = Replicas::start(db).await;
    let client = &replicas.clients[0];
    let (_, mine, _) = Person::with_codes(&replicas, "ann").await;
    for (caller, status) in [(client, 401), (&mine, 403)] {
        caller.get(OUTDATED).await.expect(status);
        caller.post(REISSUE, order()).await.expect(status);
    }
    let nowhere = replicas.operator.get("/admin/recovery-codes").await.expect(404);
    assert!(nowhere["detail"].as_str().unwrap().contains("no such admin endpoint"));
    replicas.operator.delete(REISSUE).await.expect(405);
    let trail = replicas.operator.get("/admin/audit").await.expect(200);
    let calls = trail["entries"].as_array().unwrap().iter();
    let calls: Vec<_> = calls.filter(|entry| entry["action"] == "admin.call").collect();
    let told = |status: u64| {
        calls.iter().any(|entry| {
            entry["details"]["status"] == status
                && entry["resourceName"].as_str().is_some_and(|name| name.contains("recovery"))
        })
    };
    assert!(told(401) && told(403), "{calls:?}");
}
