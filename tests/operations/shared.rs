//! A secret that others present has a value that a person makes: nobody could read one
//! that is made here.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    app::{Api, Db, KEYS, text},
    on_either_database,
    support::breeze_api::breeze_api,
};

const SHARED: [(&str, &str); 2] = [
    ("AGENT_ENROLLMENT_SECRET", "an-enrolment-secret-of-the-tests-0123456789"),
    ("METRICS_SCRAPE_TOKEN", "a-token-of-metrics-of-the-tests-0123456789"),
];

async fn start(db: Db) -> Api {
    let variables: Vec<_> = KEYS.into_iter().chain(SHARED).collect();
    Api::on(db, &variables).await
}

fn graceful(secret: &str) -> Value {
    json!({ "secret": secret, "mode": "graceful", "reason": "a test" })
}

async fn without_a_value_it_is_refused_and_says_what_to_do(db: Db) {
    let api = start(db).await;
    let admin = api.as_administrator().await;
    let secrets = admin.get("/admin/secrets").await.expect(200);
    for (secret, _) in SHARED {
        let refused = admin.post("/admin/rollovers", graceful(secret)).await.expect(422);
        assert_eq!(refused["code"], "value_required");
        let detail = text(&refused["detail"]);
        assert!(detail.contains("`elsewhere`") && detail.contains("--value-file"), "{detail}");
        let mut views = secrets["secrets"].as_array().unwrap().iter();
        let view = views.find(|view| view["secret"] == secret).unwrap();
        assert!(view["elsewhere"][0].to_string().contains("openssl rand"), "{view}");

        let by_command = ["rollover", secret, "--mode", "graceful", "--reason", "a test"];
        let by_command = breeze_api(by_command).envs(KEYS).env("DATABASE_URL", api.db.url());
        let by_command = by_command.finish().await;
        assert_eq!(by_command.code, Some(1));
        assert!(by_command.stderr.contains("hand it in as `value`"), "{}", by_command.stderr);

        // A dry run needs none.
        let mut dry = graceful(secret);
        dry["dryRun"] = true.into();
        admin.post("/admin/rollovers", dry).await.expect(202);
    }
    let rollovers = admin.get("/admin/rollovers").await.expect(200);
    let rollovers = rollovers["rollovers"].as_array().unwrap().clone();
    assert!(rollovers.iter().all(|rollover| rollover["dryRun"] == true), "{rollovers:?}");
    api.end().await;
}

async fn an_emergency_cuts_it_off_and_a_person_hands_in_the_next(db: Db) {
    let api = start(db).await;
    let admin = api.as_administrator().await;
    let body =
        json!({ "secrets": ["METRICS_SCRAPE_TOKEN"], "exposedSince": 0, "reason": "a leak" });
    let opened = admin.post("/admin/incidents", body).await;
    let path = opened.header("location").unwrap().to_owned();
    let step = opened.expect(201)["steps"][0].clone();
    let then = text(&step["afterwards"]);
    assert!(then.contains("send one of your own"), "{then}");

    let scrape =
        async |token: &str| api.client.bearing(token).get("/metrics/scrape").await.status.as_u16();
    let (_, old) = SHARED[1];
    assert_eq!(scrape(old).await, 200);
    admin.post(&format!("{path}/confirm"), json!({})).await.expect(202);
    let done = async || admin.get(&path).await.expect(200)["state"] == "done";
    for _ in 0..300 {
        if done().await {
            break;
        }
        sleep(Duration::from_millis(100)).await;
    }
    assert!(done().await);
    assert_eq!(scrape(old).await, 401);
    let report = admin.get(&format!("{path}/report")).await.expect(200);
    assert_eq!(report["toDo"], json!([then]));

    let new = api.secret("a-token-that-a-person-has-made-0123456789").to_owned();
    let hand_in = json!({ "secret": "METRICS_SCRAPE_TOKEN", "mode": "hard", "reason": "as the report says", "value": new });
    admin.post("/admin/rollovers", hand_in).await.expect(202);
    for _ in 0..300 {
        if scrape(&new).await == 200 {
            break;
        }
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(scrape(&new).await, 200);
    // What a person has done is not left to do.
    for _ in 0..300 {
        let report = admin.get(&format!("{path}/report")).await.expect(200);
        if report["toDo"] == json!([]) {
            break;
        }
        sleep(Duration::from_millis(100)).await;
    }
    let report = admin.get(&format!("{path}/report")).await.expect(200);
    assert_eq!(report["toDo"], json!([]));
    api.end().await;
}

on_either_database!(
    without_a_value_it_is_refused_and_says_what_to_do,
    an_emergency_cuts_it_off_and_a_person_hands_in_the_next,
);
