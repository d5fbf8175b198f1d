//! Recovery codes while `MFA_RECOVERY_CODE_PEPPER` rolls over.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::{
    person::{CODES, Person, make, session},
    replicas::{PEPPER, Replicas},
    support::{
        deployment::{Db, on_both_databases},
        http::Client,
    },
};

on_both_databases!(
    logins_by_recovery_code_go_on_through_a_graceful_rollover,
    a_dry_run_changes_nothing_and_tells_how_many_codes_would_stop_working,
    what_is_given_up_stops_working_and_is_told,
    a_hard_rollover_ends_the_codes_of_before,
    codes_of_the_new_pepper_are_accepted_while_it_is_rolled_back,
    an_incident_tells_how_many_codes_it_made_invalid,
);

const PEPPERS: &str = "MFA_RECOVERY_CODE_PEPPER";

/// A user who logs in by recovery code all the time, at one process and at the other, and
/// makes new ones when few are left, or when told to.
struct Traffic {
    stop: Arc<AtomicBool>,
    task: JoinHandle<usize>,
}

impl Traffic {
    fn of(person: &Person, codes: Vec<String>, clients: &[Client; 2]) -> Self {
        let (person, mut codes, clients) = (person.clone(), codes, clients.clone());
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let mut logins = 0;
            while !stopped.load(Ordering::Relaxed) {
                let client = &clients[logins % 2];
                let login = person.log_in(client, &codes.pop().unwrap()).await.expect(200);
                if codes.len() < 2 || login["recoveryCodesOutdated"] == true {
                    codes = make(&session(client, &login)).await;
                }
                logins += 1;
            }
            logins
        });
        Self { stop, task }
    }

    /// Ends it. No login failed.
    async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        let logins = self.task.await.expect("a login failed");
        assert!(logins > 10, "only {logins} logins");
    }
}

async fn logins_by_recovery_code_go_on_through_a_graceful_rollover(db: Db) {
    let replicas = Replicas::start(db).await;
    let [one, other] = &replicas.clients;
    let (busy, _, codes) = Person::with_codes(&replicas, "busy").await;
    let (idle, his, old) = Person::with_codes(&replicas, "idle").await;
    let unknown = Person::of_breeze(&replicas, "unknown", &["ABCD-1234", "WXYZ-0000"]).await;
    let traffic = Traffic::of(&busy, codes, &replicas.clients);

    let path = replicas.begin(PEPPERS, "graceful").await;
    replicas.waits_for(&path, "1 row(s) need the old key, and 1 do not tell").await;
    let refused = replicas.tell(&path, "retire", json!({ "reason": "a test" })).await.expect(409);
    let detail = refused["detail"].as_str().unwrap();
    assert!(detail.contains("1 row(s) need the old key, and 1 do not tell"), "{detail}");
    assert!(detail.contains("GET /admin/recovery-codes/outdated lists whose"), "{detail}");

    // An older code is accepted, and its owner told; one that is checked is upgraded.
    let login = idle.log_in(other, &old[0]).await.expect(200);
    assert_eq!(login["recoveryCodesOutdated"], true);
    let check = json!({ "codes": old[1..3] });
    let checked = his.post(&format!("{CODES}/check"), check).await.expect(200);
    assert_eq!(checked, json!({ "work": [true, true], "left": 9, "outdated": true }));
    let shown = his.get(CODES).await.expect(200);
    assert_eq!((&shown["current"], &shown["older"]), (&json!(2), &json!(7)));
    let rest = json!({ "codes": old[3..] });
    let checked = his.post(&format!("{CODES}/check"), rest).await.expect(200);
    assert_eq!((&checked["left"], &checked["outdated"]), (&json!(9), &json!(false)));
    replicas.waits_for(&path, "0 row(s) need the old key, and 1 do not tell").await;

    let login = unknown.log_in(one, "ABCD-1234").await.expect(200);
    assert_eq!(login["recoveryCodesOutdated"], true);
    let anew = make(&session(one, &login)).await;
    replicas.ends(&path, "retired").await;
    unknown.passes(other, &anew[0]).await;
    // What was upgraded is no worse than new.
    for code in [&old[1], &old[9]] {
        idle.passes(one, code).await;
    }
    traffic.end().await;
}

async fn a_dry_run_changes_nothing_and_tells_how_many_codes_would_stop_working(db: Db) {
    let replicas = Replicas::start(db).await;
    let (ann, _, codes) = Person::with_codes(&replicas, "ann").await;
    Person::of_breeze(&replicas, "unknown", &["ABCD-1234"]).await;
    let body = json!({ "secret": PEPPERS, "mode": "hard", "reason": "a test", "dryRun": true });
    let path = replicas.begin_as(body).await;
    let rehearsed = replicas.until(&path, |rollover| rollover["phase"] == "rehearsed").await;
    let report = &rehearsed["report"];
    assert_eq!(
        (&report["rowsThatNeedTheOldKey"], &report["rowsThatDoNotTell"]),
        (&json!(1), &json!(1)),
        "{report}"
    );
    assert_eq!(report["listedAt"], "/admin/recovery-codes/outdated");
    // The command counts as the servers do.
    let command = ["rollover", PEPPERS, "--mode", "hard", "--reason", "x", "--dry-run", "--json"];
    let told = replicas.db.run(command).env(PEPPERS, PEPPER).finish().await.json();
    assert_eq!(told["report"]["rowsThatNeedTheOldKey"], 1, "{told}");
    let login = ann.log_in(&replicas.clients[1], &codes[0]).await.expect(200);
    assert_eq!(login["recoveryCodesOutdated"], Value::Null);
}

async fn what_is_given_up_stops_working_and_is_told(db: Db) {
    let replicas = Replicas::start(db).await;
    let client = &replicas.clients[0];
    let (ann, mine, codes) = Person::with_codes(&replicas, "ann").await;
    let unknown = Person::of_breeze(&replicas, "unknown", &["ABCD-1234"]).await;
    let path = replicas.begin(PEPPERS, "graceful").await;
    replicas.waits_for(&path, "1 row(s) need the old key, and 1 do not tell").await;
    ann.passes(client, &codes[0]).await;
    let give_up = json!({ "reason": "a test", "acceptLoss": true });
    replicas.tell(&path, "retire", give_up).await.expect(200);
    replicas.ends(&path, "retired").await;
    for client in &replicas.clients {
        ann.is_refused(client, &codes[1]).await;
        unknown.is_refused(client, "ABCD-1234").await;
    }
    let shown = mine.get(CODES).await.expect(200);
    assert_eq!(
        (&shown["left"], &shown["ended"], &shown["outdated"]),
        (&json!(0), &json!(9), &json!(true))
    );
    // What has stopped working does not keep the next rollover waiting.
    let database = replicas.database().await;
    database.execute("UPDATE users SET mfa_recovery_codes = NULL WHERE name = 'unknown'").await;
    let next = replicas.begin(PEPPERS, "graceful").await;
    replicas.ends(&next, "retired").await;
}

async fn a_hard_rollover_ends_the_codes_of_before(db: Db) {
    let replicas = Replicas::start(db).await;
    let client = &replicas.clients[1];
    let (ann, mine, codes) = Person::with_codes(&replicas, "ann").await;
    let path = replicas.begin(PEPPERS, "hard").await;
    replicas.ends(&path, "retired").await;
    ann.is_refused(client, &codes[0]).await;
    let checked = mine.post(&format!("{CODES}/check"), json!({ "codes": [codes[1]] })).await;
    assert_eq!(checked.expect(200)["work"], json!([false]), "nor is it upgraded");
    let anew = make(&mine).await;
    ann.passes(client, &anew[0]).await;
}

async fn codes_of_the_new_pepper_are_accepted_while_it_is_rolled_back(db: Db) {
    let replicas = Replicas::start(db).await;
    let [one, other] = &replicas.clients;
    let (ann, mine, _) = Person::with_codes(&replicas, "ann").await;
    let (idle, _, old) = Person::with_codes(&replicas, "idle").await;
    let path = replicas.begin(PEPPERS, "graceful").await;
    replicas.waits_for(&path, "2 row(s) need the old key").await;
    let new = make(&mine).await;
    replicas.waits_for(&path, "1 row(s) need the old key").await;
    let back = json!({ "reason": "a test" });
    replicas.tell(&path, "roll-back", back).await.expect(200);
    let login = ann.log_in(other, &new[0]).await;
    login.expect(200);
    // Now hers are the ones that need the key which is given up.
    let shown = async || mine.get(CODES).await.expect(200);
    while shown().await["older"] != 9 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    replicas.waits_for(&path, "1 row(s) need the old key, and 0 do not tell").await;
    let login = ann.log_in(one, &new[1]).await.expect(200);
    assert_eq!(login["recoveryCodesOutdated"], true);
    let anew = make(&mine).await;
    replicas.ends(&path, "rolled_back").await;
    ann.passes(one, &anew[0]).await;
    idle.passes(other, &old[0]).await;
}

async fn an_incident_tells_how_many_codes_it_made_invalid(db: Db) {
    let replicas = Replicas::start(db).await;
    Person::with_codes(&replicas, "ann").await;
    Person::of_breeze(&replicas, "bob", &["ABCD-1234", "WXYZ-0000"]).await;
    let exposed = json!({
        "secrets": [PEPPERS], "exposedSince": 1_700_000_000_000_i64, "reason": "a test",
    });
    let opened = replicas.operator.post("/admin/incidents", exposed).await;
    let path = opened.header("location").unwrap().to_owned();
    replicas.operator.post(&format!("{path}/confirm"), json!({})).await.expect(202);
    let done = replicas.until(&path, |incident| incident["state"] == "done").await;
    assert_eq!(
        done["steps"][0]["invalidates"],
        json!({ "recoveryCodes": 12, "usersWithRecoveryCodes": 2 })
    );
}
