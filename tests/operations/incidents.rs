//! An emergency: planned, confirmed, carried out across a crash, and reported.

use std::time::Duration;

use http::Request;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    app::{Api, Db, KEYS, text},
    metrics::phase_is_reached,
    on_both_databases, on_either_database,
    support::{breeze_api::breeze_api, http::Client},
};

const ORG: &str = "6a0e21c4-6a3c-4b8e-a5c8-9f4b1b3f7a10";

on_both_databases!(
    an_emergency_is_planned_confirmed_carried_out_and_reported,
    an_emergency_takes_over_from_a_rollover_in_progress,
    a_step_that_stands_still_holds_up_no_other,
    a_plan_is_dropped_and_what_is_wrong_is_refused,
);

async fn states(admin: &Client, path: &str) -> (String, Vec<(String, String)>) {
    let incident = admin.get(path).await.expect(200);
    let steps = incident["steps"].as_array().unwrap().iter();
    let steps = steps.map(|step| (text(&step["secret"]), text(&step["progress"]["state"])));
    (text(&incident["state"]), steps.collect())
}

fn exposed(secrets: &[&str]) -> Value {
    json!({ "secrets": secrets, "exposedSince": 1_700_000_000_000_i64, "reason": "a | leaked <backup>" })
}

async fn an_emergency_is_planned_confirmed_carried_out_and_reported(api: &Api) {
    let admin = api.as_administrator().await;
    let user = api.user(&admin, "user@example.com", "6a0e21c4-6a3c-4b8e-a5c8-9f4b1b3f7a10").await;
    let user = api.client.bearing(&text(&user["tokens"]["accessToken"]));
    user.get("/api/v1/auth/me").await.expect(200);

    let opened =
        admin.post("/admin/incidents", exposed(&["JWT_SECRET", "MFA_ENCRYPTION_KEY"])).await;
    let path = opened.header("location").unwrap().to_owned();
    assert_eq!(opened.expect(201)["state"], "planned");
    let waiting = |secret: &str| (secret.to_owned(), "waiting".to_owned());
    let (state, steps) = states(&admin, &path).await;
    assert_eq!(state, "planned");
    assert_eq!(
        steps,
        ["JWT_SECRET", "SESSION_SECRET", "MFA_ENCRYPTION_KEY", "MFA_RECOVERY_CODE_PEPPER"]
            .map(waiting)
    );
    // Nothing is done before it is confirmed, and no second one is opened.
    let second = admin.post("/admin/incidents", exposed(&["JWT_SECRET"])).await.expect(409);
    assert_eq!(second["code"], "incident_open");
    sleep(Duration::from_secs(3)).await;
    assert_eq!(admin.get("/admin/rollovers").await.expect(200)["rollovers"], json!([]));

    admin.post(&format!("{path}/confirm"), json!({})).await.expect(202);
    // The token of the administrator ends with the key that signed it.
    for _ in 0..300 {
        if user.get("/api/v1/auth/me").await.status == 401 {
            break;
        }
        sleep(Duration::from_millis(100)).await;
    }
    user.get("/api/v1/auth/me").await.expect(401);
    let admin = api.as_administrator().await;
    let mut reached = String::new();
    for _ in 0..600 {
        reached = states(&admin, &path).await.0;
        if reached == "done" {
            break;
        }
        sleep(Duration::from_millis(100)).await;
    }
    let (_, steps) = states(&admin, &path).await;
    assert_eq!(reached, "done", "{steps:?}");
    assert!(steps.iter().all(|(_, state)| state == "done"), "{steps:?}");

    let report = admin.get(&format!("{path}/report")).await.expect(200);
    let invalid = &report["incident"]["steps"][0]["invalidates"]["sessions"];
    assert!(invalid.as_u64().unwrap() >= 1, "{report}");
    let actions: Vec<_> =
        report["timeline"].as_array().unwrap().iter().map(|told| text(&told["action"])).collect();
    assert_eq!(actions[..2], ["incident.open", "incident.confirm"], "{actions:?}");
    assert!(actions.contains(&"incident.done".to_owned()), "{actions:?}");
    let cut_offs = report["cutOffs"].as_array().unwrap();
    assert_eq!(cut_offs.len(), 4, "{report}");
    assert!(cut_offs.iter().all(|cut_off| cut_off["at"].is_i64()), "{cut_offs:?}");
    // One after the other, in the order of the plan.
    let mut moments = vec![];
    for step in report["incident"]["steps"].as_array().unwrap() {
        let id = text(&step["progress"]["rollover"]);
        let rollover = admin.get(&format!("/admin/rollovers/{id}")).await.expect(200);
        assert_eq!(rollover["secret"], step["secret"]);
        let moment = |at: &Value| at.as_i64().unwrap();
        moments.extend([moment(&rollover["createdAt"]), moment(&rollover["cutOff"]["retiredAt"])]);
    }
    assert!(moments.is_sorted(), "{moments:?}");
    assert!(report["window"].as_array().unwrap().len() > actions.len());
    let affected: Vec<_> =
        report["affected"].as_array().unwrap().iter().map(|user| text(&user["email"])).collect();
    assert!(affected.contains(&"user@example.com".to_owned()), "{affected:?}");

    let request = Request::get(format!("{path}/report"))
        .header("accept", "text/markdown")
        .header("authorization", format!("Bearer {}", admin.bearer().unwrap()))
        .body(String::new())
        .unwrap();
    let markdown = admin.send(request).await.unwrap();
    assert_eq!(markdown.header("content-type"), Some("text/markdown; charset=utf-8"));
    let markdown = std::str::from_utf8(&markdown.body).unwrap();
    for part in [
        "a \\| leaked &lt;backup>",
        "`JWT_SECRET` | done",
        "cut off everywhere since",
        "user@example.com",
    ] {
        assert!(markdown.contains(part), "{part}: {markdown}");
    }
}

/// The incident once it is in `state`.
async fn reaches(admin: &Client, path: &str, state: &str) {
    for _ in 0..600 {
        if states(admin, path).await.0 == state {
            return;
        }
        sleep(Duration::from_millis(100)).await;
    }
    panic!("{:?}", states(admin, path).await);
}

async fn an_emergency_takes_over_from_a_rollover_in_progress(api: &Api) {
    let admin = api.as_administrator().await;
    let user = api.user(&admin, "user@example.com", ORG).await;
    let before = api.client.bearing(&text(&user["tokens"]["accessToken"]));
    // It waits for tokens of a week.
    let due = json!({ "secret": "JWT_SECRET", "mode": "graceful", "reason": "it is due" });
    let due = text(&admin.post("/admin/rollovers", due).await.expect(202)["id"]);
    phase_is_reached(&admin, &due, "promoted").await;
    let log_in = json!({ "email": "user@example.com", "password": "correct horse battery staple" });
    let between = api.log_in(log_in).await.expect(200);
    let between = api.client.bearing(&text(&between["tokens"]["accessToken"]));
    for user in [&before, &between] {
        user.get("/api/v1/users/me").await.expect(200);
    }

    // By itself it may not be done gracefully, nor of another secret, nor twice.
    let take_over = |secret: &str, mode: &str, over: &str| json!({ "secret": secret, "mode": mode, "reason": "x", "alongside": true, "supersede": over });
    for (body, says) in [
        (take_over("JWT_SECRET", "graceful", &due), "only a hard rollover takes over"),
        (take_over("SESSION_SECRET", "hard", &due), "of another secret"),
    ] {
        let refused = admin.post("/admin/rollovers", body).await.expect(409);
        assert_eq!(refused["code"], "not_superseded");
        assert!(text(&refused["detail"]).contains(says), "{refused}");
    }
    let busy = json!({ "secret": "JWT_SECRET", "mode": "hard", "reason": "x" });
    let busy = admin.post("/admin/rollovers", busy).await.expect(409);
    assert!(text(&busy["detail"]).contains(&format!("\"supersede\": \"{due}\"")), "{busy}");

    let opened = admin.post("/admin/incidents", exposed(&["JWT_SECRET"])).await;
    let path = opened.header("location").unwrap().to_owned();
    admin.post(&format!("{path}/confirm"), json!({})).await.expect(202);
    for user in [&before, &between] {
        for _ in 0..300 {
            if user.get("/api/v1/users/me").await.status == 401 {
                break;
            }
            sleep(Duration::from_millis(100)).await;
        }
        user.get("/api/v1/users/me").await.expect(401);
    }
    let admin = api.as_administrator().await;
    reaches(&admin, &path, "done").await;
    let incident = admin.get(&path).await.expect(200);
    let step = &incident["steps"][0]["progress"];
    let superseded = admin.get(&format!("/admin/rollovers/{due}")).await.expect(200);
    assert_eq!(superseded["phase"], "retired", "{superseded}");
    assert_eq!(superseded["report"]["supersededBy"], step["rollover"], "{superseded}");
    assert!(superseded["cutOff"]["at"].is_i64(), "{superseded}");
    let secrets = admin.get("/admin/secrets").await.expect(200);
    let keys = secrets["secrets"][0]["keys"].as_array().unwrap();
    let states: Vec<_> =
        keys.iter().map(|key| (text(&key["state"]), !key["compromisedAt"].is_null())).collect();
    let of = |state: &str, is_compromised| (state.to_owned(), is_compromised);
    assert_eq!(states, [of("primary", false), of("retired", true), of("retired", true)]);
    let late = admin.post("/admin/rollovers", take_over("JWT_SECRET", "hard", &due)).await;
    assert!(text(&late.expect(409)["detail"]).contains("not in progress"), "{late:?}");
}

/// A value that no key opens keeps the rollover of its key from ending, and no other step.
async fn a_step_that_stands_still_holds_up_no_other(api: &Api) {
    let admin = api.as_administrator().await;
    for n in 0..3 {
        let variable = json!({ "name": format!("V{n}"), "value": "a value of a tenant" });
        admin.post("/api/v1/tenant-variables", variable).await.expect(201);
    }
    api.db
        .execute(
            "UPDATE tenant_variables SET value = 'enc:v2:gone:AAAA.AAAA.AAAA' WHERE name = 'V0'",
        )
        .await;
    let opened = admin.post("/admin/incidents", exposed(&["APP_ENCRYPTION_KEY"])).await;
    let path = opened.header("location").unwrap().to_owned();
    let step = opened.expect(201)["steps"][0].clone();
    assert_eq!(step["sealed"], json!({ "tenant_variables.value": 3 }), "{step}");
    admin.post(&format!("{path}/confirm"), json!({})).await.expect(202);
    let is_so = async |expected: [&str; 3]| {
        let (_, steps) = states(&admin, &path).await;
        steps.iter().map(|(_, state)| state.as_str()).eq(expected)
    };
    for _ in 0..600 {
        if is_so(["running", "done", "done"]).await {
            break;
        }
        sleep(Duration::from_millis(100)).await;
    }
    assert!(is_so(["running", "done", "done"]).await, "{:?}", states(&admin, &path).await);
    let report = async || admin.get(&format!("{path}/report")).await.expect(200);
    let to_do = report().await["toDo"].to_string();
    for said in
        ["is cut off, and rollover", "quarantined", "issued anew where it is used", "3 tenant"]
    {
        assert!(to_do.contains(said), "{said}: {to_do}");
    }
    let incident = admin.get(&path).await.expect(200);
    let rollover = text(&incident["steps"][0]["progress"]["rollover"]);
    let give_up = json!({ "reason": "nobody has its key", "acceptQuarantined": true });
    admin.post(&format!("/admin/rollovers/{rollover}/retire"), give_up).await.expect(200);
    reaches(&admin, &path, "done").await;
    let report = report().await;
    let cut_off = &report["cutOffs"][0];
    assert_eq!((&cut_off["secret"], &cut_off["rowsRewrapped"]), (&step["secret"], &json!(2)));
    assert!(report["toDo"].to_string().contains("issued anew where it is used"), "{report}");
    // The timeline is whole; the exposure ends with the last cut-off.
    let actions: Vec<_> =
        report["timeline"].as_array().unwrap().iter().map(|told| text(&told["action"])).collect();
    assert_eq!(actions[0], "incident.open");
    assert_eq!(actions.last().unwrap(), "incident.done");
    let last = report["window"].as_array().unwrap().last().unwrap()["at"].as_i64().unwrap();
    assert!(last <= report["windowUntil"].as_i64().unwrap(), "{report}");
}

/// Each with how many of it are issued, and how many of these work no more by then.
async fn what_an_emergency_makes_invalid_is_counted(db: Db) {
    const SECRET: &str = "an enrolment secret of the tests 0123456789";
    let secret = [("AGENT_ENROLLMENT_SECRET", SECRET)];
    let api = Api::on(db, &KEYS.into_iter().chain(secret).collect::<Vec<_>>()).await;
    let admin = api.as_administrator().await;
    let mut ids = vec![];
    for n in 0..4 {
        let key = json!({ "name": format!("service {n}") });
        let key = admin.post("/api/v1/api-keys", key).await.expect(201);
        api.secret(&text(&key["key"]));
        ids.push(text(&key["id"]));
    }
    admin.delete(&format!("/api/v1/api-keys/{}", ids[0])).await.expect(204);

    let mut keys = vec![];
    for (name, more) in [
        ("any", json!({})),
        ("another", json!({})),
        ("expired", json!({})),
        ("spent", json!({ "maxUsage": 1 })),
        ("own", json!({ "secret": "a secret of its own" })),
    ] {
        let mut body = json!({ "name": name, "orgId": ORG });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let key = admin.post("/api/v1/enrollment-keys", body).await.expect(201);
        api.secret(&text(&key["key"]));
        keys.push(key);
    }
    let expire = format!("/api/v1/enrollment-keys/{}/expire", text(&keys[2]["id"]));
    admin.post(&expire, json!({})).await.expect(204);
    for key in [&keys[0], &keys[0], &keys[3]] {
        let agent = json!({
            "enrollmentKey": key["key"], "enrollmentSecret": SECRET, "hostname": "host",
            "osType": "linux", "osVersion": "12", "architecture": "amd64", "agentVersion": "1.0",
        });
        let agent = api.client.post("/api/v1/agents/enroll", agent).await.expect(201);
        api.secret(&text(&agent["authToken"]));
    }

    let expected = [
        ("ENROLLMENT_KEY_PEPPER", json!({ "enrolmentKeys": 3 })),
        ("USER_API_KEYS", json!({ "apiKeys": 3 })),
        ("AGENT_TOKENS", json!({ "agents": 3 })),
        // Those that have no secret of their own.
        ("AGENT_ENROLLMENT_SECRET", json!({ "enrolmentKeysBesideIt": 2 })),
    ];
    for (secret, invalid) in &expected {
        let dry = json!({ "secret": secret, "mode": "hard", "reason": "a test", "dryRun": true });
        let begun = admin.post("/admin/rollovers", dry).await.expect(202);
        let dry = phase_is_reached(&admin, &text(&begun["id"]), "rehearsed").await;
        assert_eq!(&dry["report"]["invalidates"], invalid, "{secret}");
    }
    let dry = json!({ "secret": "USER_API_KEYS", "mode": "graceful", "reason": "a test", "dryRun": true });
    let begun = admin.post("/admin/rollovers", dry).await.expect(202);
    let dry = phase_is_reached(&admin, &text(&begun["id"]), "rehearsed").await;
    assert!(dry["report"]["invalidates"].is_null(), "a graceful one makes nothing invalid");

    let body = exposed(&expected.each_ref().map(|(secret, _)| *secret));
    let opened = admin.post("/admin/incidents", body).await;
    let path = opened.header("location").unwrap().to_owned();
    assert_eq!(counted(&opened.expect(201)), expected, "in the plan");
    admin.delete(&format!("/api/v1/api-keys/{}", ids[1])).await.expect(204);
    let mut expected = expected;
    expected[1].1 = json!({ "apiKeys": 2 });
    admin.post(&format!("{path}/confirm"), json!({})).await.expect(202);
    for _ in 0..600 {
        if states(&admin, &path).await.0 == "done" {
            break;
        }
        sleep(Duration::from_millis(100)).await;
    }
    let report = admin.get(&format!("{path}/report")).await.expect(200);
    assert_eq!(counted(&report["incident"]), expected, "right before each step");
    api.end().await;
}

/// What each step makes invalid.
fn counted(incident: &Value) -> Vec<(&str, Value)> {
    let steps = incident["steps"].as_array().unwrap().iter();
    steps.map(|step| (step["secret"].as_str().unwrap(), step["invalidates"].clone())).collect()
}

on_either_database!(what_an_emergency_makes_invalid_is_counted);

async fn a_plan_is_dropped_and_what_is_wrong_is_refused(api: &Api) {
    let admin = api.as_administrator().await;
    for body in [
        exposed(&[]),
        json!({ "secrets": ["JWT_SECRET"], "exposedSince": 4_000_000_000_000_i64, "reason": "x" }),
        json!({ "secrets": ["JWT_SECRET"], "exposedSince": 0, "reason": " " }),
        json!({ "secrets": ["NO_SECRET"], "exposedSince": 0, "reason": "x" }),
    ] {
        admin.post("/admin/incidents", body).await.expect(422);
    }
    let opened = admin.post("/admin/incidents", exposed(&["JWT_SECRET"])).await;
    let path = opened.header("location").unwrap().to_owned();
    let because = json!({ "reason": "a false alarm" });
    let cancelled = admin.post(&format!("{path}/cancel"), because.clone()).await.expect(200);
    assert_eq!(cancelled["state"], "cancelled");
    let late = admin.post(&format!("{path}/confirm"), json!({})).await.expect(409);
    assert_eq!(late["code"], "not_planned");
    let nobody = "/admin/incidents/6a0e21c4-6a3c-4b8e-a5c8-9f4b1b3f7a10";
    admin.get(nobody).await.expect(404);
    admin.get("/admin/incidents/seven").await.expect(404);
    api.client.post("/admin/incidents", exposed(&["JWT_SECRET"])).await.expect(401);
    sleep(Duration::from_secs(3)).await;
    assert_eq!(admin.get("/admin/rollovers").await.expect(200)["rollovers"], json!([]));
    // Another may be opened, and confirmed twice: it runs once.
    let opened = admin.post("/admin/incidents", exposed(&["SESSION_SECRET"])).await;
    let path = opened.header("location").unwrap().to_owned();
    for _ in 0..2 {
        admin.post(&format!("{path}/confirm"), json!({})).await.expect(202);
    }
    let late = admin.post(&format!("{path}/cancel"), because).await.expect(409);
    assert_eq!(late["code"], "not_planned");
    for _ in 0..300 {
        if states(&admin, &path).await.0 == "done" {
            break;
        }
        sleep(Duration::from_millis(100)).await;
    }
    let rollovers = admin.get("/admin/rollovers").await.expect(200);
    assert_eq!(rollovers["rollovers"].as_array().unwrap().len(), 1, "{rollovers}");
}

/// What the admin endpoint does, by command: the operator whose session the first step ends
/// goes on, also while no server runs.
async fn an_emergency_is_carried_out_by_command(db: Db) {
    let api = Api::on(db, &KEYS).await;
    let user = {
        let admin = api.as_administrator().await;
        api.user(&admin, "user@example.com", ORG).await
    };
    let user = api.client.bearing(&text(&user["tokens"]["accessToken"]));
    user.get("/api/v1/users/me").await.expect(200);
    let run = async |arguments: &[&str]| {
        let command = breeze_api(arguments.iter().copied()).envs(KEYS);
        command.env("DATABASE_URL", api.db.url()).finish().await
    };
    let told = async |arguments: &[&str]| {
        let finished = run(&[arguments, &["--json"]].concat()).await;
        assert_eq!(finished.code, Some(0), "{finished:?}");
        finished.json()
    };
    let due = told(&["secrets"]).await;
    assert_eq!(due["secrets"][0]["due"], "later", "{due}");
    assert_eq!(run(&["schedule", "set", "JWT_SECRET", "30", "--reason", "x"]).await.code, Some(0));
    assert_eq!(told(&["secrets"]).await["secrets"][0]["intervalDays"], 30);
    assert_eq!(told(&["health"]).await["healthy"], true);

    let graceful = ["rollover", "JWT_SECRET", "--mode", "graceful", "--reason", "due"];
    let due = text(&told(&graceful).await["id"]);
    let decide =
        async |what: &str| told(&["rollovers", what, due.as_str(), "--reason", "a decision"]).await;
    assert!(!decide("pause").await["pausedAt"].is_null());
    assert!(decide("resume").await["pausedAt"].is_null());
    let listed = told(&["rollovers", "list"]).await;
    assert_eq!(listed["rollovers"][0]["id"], *due, "{listed}");
    let early = run(&["rollovers", "destroy", &due, "--reason", "x"]).await;
    assert_eq!(early.code, Some(1), "{early:?}");

    let wrong = run(&["incident", "open", "JWT_SECRET", "--exposed-since", "yesterday"]).await;
    assert_eq!(wrong.code, Some(1));
    assert!(wrong.stderr.contains("2026-11-24T17:00:00Z"), "{}", wrong.stderr);
    let open = ["incident", "open", "JWT_SECRET", "--exposed-since", "2026-01-01T00:00:00Z"];
    let opened = told(&[&open[..], &["--reason", "a leak"]].concat()).await;
    assert_eq!(
        (&opened["state"], &opened["exposedSince"]),
        (&json!("planned"), &json!(1_767_225_600_000_i64))
    );
    let id = text(&opened["id"]);
    let done = told(&["incident", "confirm", &id, "--wait"]).await;
    assert_eq!(done["state"], "done", "{done}");
    user.get("/api/v1/users/me").await.expect(401);
    assert_eq!(told(&["incident", "show", &id]).await["state"], "done");
    let report = run(&["incident", "report", &id]).await;
    assert!(report.stdout.contains("`JWT_SECRET` | done"), "{}", report.stdout);
    let superseded = told(&["rollovers", "show", &due]).await;
    assert_eq!(superseded["phase"], "retired", "{superseded}");
    api.end().await;
}

on_either_database!(an_emergency_is_carried_out_by_command);
