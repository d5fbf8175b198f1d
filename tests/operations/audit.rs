//! Whoever meddles with the audit trail is found out, and every admin call is in it.

use std::time::{Duration, Instant};

use breeze_rollover::{
    clock::{Clock, SystemClock},
    embed::Database,
    store::{Actor, AuditEntry, Outcome},
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    app::{Api, Db, KEYS, text},
    on_both_databases, on_either_database,
    support::breeze_api::{Finished, breeze_api},
};

on_both_databases!(
    a_whole_trail_is_told_to_be_whole,
    each_kind_of_tampering_is_named,
    an_end_that_was_cut_off_shows_against_an_earlier_check,
    every_admin_call_has_its_entry_and_none_has_a_secret,
);

on_either_database!(a_call_that_is_given_up_is_told_too);

const ORG: &str = "6a0e21c4-6a3c-4b8e-a5c8-9f4b1b3f7a10";

/// Runs statements past every trigger, as only the owner of the database can.
pub(crate) async fn tamper(db: &Db, sql: &str) {
    match db {
        Db::Sqlite(file) => {
            let triggers = file_triggers(db).await;
            let drops: String =
                triggers.iter().map(|(name, _)| format!("DROP TRIGGER {name};")).collect();
            let makes: String = triggers.iter().map(|(_, sql)| format!("{sql};")).collect();
            let sql = sql.replace("public.", "");
            file.execute(&format!("PRAGMA foreign_keys = OFF; {drops} {sql}; {makes}")).await;
        }
        Db::Postgres(database) => {
            database.execute(&format!("SET session_replication_role = replica; {sql}")).await;
        }
    }
}

async fn file_triggers(db: &Db) -> Vec<(String, String)> {
    let of = "FROM sqlite_master WHERE type = 'trigger' AND tbl_name LIKE 'audit%' ORDER BY name";
    let Db::Sqlite(file) = db else { return vec![] };
    let pool = file.pool().await;
    let sql = sqlx::AssertSqlSafe(format!("SELECT name, sql {of}"));
    let found = sqlx::query_as(sql).fetch_all(&pool).await.unwrap();
    pool.close().await;
    found
}

/// Entries of an organisation of an application, and of none.
async fn write_entries(api: &Api, org: Option<Uuid>, count: usize) {
    let store = Database::connect(&api.db.url(), 2).await.unwrap().store();
    for n in 0..count {
        let entry = AuditEntry {
            at: SystemClock.now(),
            actor: Actor::System,
            action: format!("test.{n}"),
            resource_type: "test",
            resource_id: Some(Uuid::now_v7()),
            resource_name: None,
            details: json!({ "n": n, "text": "é | \"quoted\"", "rate": 1.10 }),
            outcome: Outcome::Success,
        };
        store.record_for(org, &entry).await.unwrap();
    }
}

async fn verify(api: &Api, more: &[&str]) -> Finished {
    let arguments = ["audit", "verify", "--json"].iter().chain(more).copied();
    breeze_api(arguments).env("DATABASE_URL", api.db.url()).finish().await
}

/// What is broken, as kind and place.
fn breaks(report: &Value) -> Vec<(String, i64)> {
    let breaks = report["breaks"].as_array().unwrap().iter();
    breaks
        .map(|found| (text(&found["fault"]["kind"]), found["chainSeq"].as_i64().unwrap_or(-1)))
        .collect()
}

async fn a_whole_trail_is_told_to_be_whole(api: &Api) {
    write_entries(api, None, 5).await;
    write_entries(api, Some(ORG.parse().unwrap()), 2500).await;
    let verified = verify(api, &[]).await;
    let report = verified.json();
    assert_eq!((verified.code, &report["breaks"]), (Some(0), &json!([])), "{verified:?}");
    assert!(report["links"].as_u64().unwrap() >= 2505, "{report}");
    let orgs: Vec<_> =
        report["heads"].as_array().unwrap().iter().map(|head| &head["org"]).collect();
    assert_eq!(orgs, [&Value::Null, &json!(ORG)]);
    let admin = api.as_administrator().await;
    let same = admin.get("/admin/audit/verify").await.expect(200);
    assert_eq!(same["breaks"], json!([]));
}

async fn each_kind_of_tampering_is_named(api: &Api) {
    let org = Some(ORG.parse().unwrap());
    write_entries(api, org, 20).await;
    let first: i64 = api
        .db
        .texts("SELECT CAST(min(chain_seq) AS text) FROM audit_log_chain WHERE org_id IS NOT NULL")
        .await[0]
        .parse()
        .unwrap();
    let entry_at = |seq: i64| {
        format!("id = (SELECT audit_id FROM public.audit_log_chain WHERE chain_seq = {seq})")
    };
    let statements = [
        format!("UPDATE public.audit_logs SET action = 'harmless' WHERE {}", entry_at(first + 1)),
        format!("DELETE FROM public.audit_logs WHERE {}", entry_at(first + 3)),
        // Entry and link, without a trace.
        format!("DELETE FROM public.audit_logs WHERE {}", entry_at(first + 5)),
        format!("DELETE FROM public.audit_log_chain WHERE chain_seq = {}", first + 5),
        // Two change places.
        format!("UPDATE public.audit_log_chain SET chain_seq = -1 WHERE chain_seq = {}", first + 8),
        format!(
            "UPDATE public.audit_log_chain SET chain_seq = {} WHERE chain_seq = {}",
            first + 8,
            first + 9
        ),
        format!("UPDATE public.audit_log_chain SET chain_seq = {} WHERE chain_seq = -1", first + 9),
        // One is written past the chain.
        format!("DELETE FROM public.audit_log_chain WHERE chain_seq = {}", first + 13),
        format!("UPDATE public.audit_logs SET org_id = NULL WHERE {}", entry_at(first + 16)),
    ];
    let entry =
        api.db.texts("SELECT CAST(id AS text) FROM audit_logs WHERE action = 'test.1'").await;
    tamper(&api.db, &statements.join(";")).await;

    let verified = verify(api, &[]).await;
    assert_eq!(verified.code, Some(2), "{verified:?}");
    let report = verified.json();
    let expected = [
        ("altered", first + 1),
        ("missing", first + 3),
        ("gap", first + 6),
        ("reordered", first + 8),
        ("reordered", first + 9),
        ("reordered", first + 10),
        ("gap", first + 14),
        ("moved", first + 16),
        ("unchained", -1),
    ];
    let expected: Vec<_> = expected.map(|(kind, seq)| (kind.to_owned(), seq)).into();
    assert_eq!(breaks(&report), expected, "{report}");
    let altered = &report["breaks"][0];
    assert_eq!((&altered["entry"], &altered["org"]), (&json!(entry[0]), &json!(ORG)));
    let told = breeze_api(["audit", "verify"]).env("DATABASE_URL", api.db.url()).finish().await;
    assert_eq!(told.code, Some(2));
    let sentence = format!(
        "entry {} of organisation {ORG} (chain_seq {}) was altered: it is not what was sealed",
        entry[0],
        first + 1
    );
    assert!(told.stdout.contains(&sentence), "{}", told.stdout);

    let admin = api.as_administrator().await;
    let same = admin.get("/admin/audit/verify").await.expect(200);
    assert_eq!(breaks(&same), expected);
}

async fn an_end_that_was_cut_off_shows_against_an_earlier_check(api: &Api) {
    write_entries(api, Some(ORG.parse().unwrap()), 4).await;
    let earlier = verify(api, &[]).await.stdout;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &earlier).unwrap();
    let since = ["--since", file.path().to_str().unwrap()];
    write_entries(api, None, 1).await;
    assert_eq!(verify(api, &since).await.code, Some(0), "a trail that grew is whole");
    let last = "SELECT max(chain_seq) FROM public.audit_log_chain WHERE org_id IS NOT NULL";
    tamper(
        &api.db,
        &format!(
            "DELETE FROM public.audit_logs WHERE id = (SELECT audit_id FROM public.audit_log_chain WHERE chain_seq = ({last}));
             DELETE FROM public.audit_log_chain WHERE chain_seq = ({last})"
        ),
    )
    .await;
    assert_eq!(verify(api, &[]).await.code, Some(0), "the chain alone cannot tell");
    let cut = verify(api, &since).await;
    assert_eq!(cut.code, Some(2), "{cut:?}");
    let report = cut.json();
    assert_eq!(report["breaks"][0]["fault"]["kind"], "end");
    assert_eq!(report["breaks"][0]["org"], ORG);
}

async fn every_admin_call_has_its_entry_and_none_has_a_secret(api: &Api) {
    let admin = api.as_administrator().await;
    let value = api.secret("a-value-that-nobody-may-see-0123456789abcdef").to_owned();
    admin.get("/admin/secrets").await.expect(200);
    let body = json!({ "secret": "JWT_SECRET", "reason": "a test", "value": "short" });
    admin.post("/admin/rollovers", body).await.expect(422);
    let body = json!({ "secret": "JWT_SECRET", "reason": "a test", "value": value });
    let begun = admin.post("/admin/rollovers", body).await.expect(202);
    let path = format!("/admin/rollovers/{}", text(&begun["id"]));
    admin.get(&path).await.expect(200);
    admin.get(&format!("/admin/rollovers/{value}")).await.expect(404);
    admin.get(&format!("/admin/{value}?token={value}")).await.expect(404);
    let user = api.user(&admin, "user@example.com", ORG).await;
    let user = api.client.bearing(&text(&user["tokens"]["accessToken"]));
    user.get("/admin/census").await.expect(403);
    api.client.get("/admin/secrets").await.expect(401);
    api.client.bearing("no.such.token").post("/admin/rollovers", json!({})).await.expect(401);

    let told = api
        .db
        .texts(
            "SELECT CAST(result AS text) || ' ' || CAST(actor_type AS text) || ' ' || resource_name
             FROM audit_logs WHERE action = 'admin.call' ORDER BY timestamp, id",
        )
        .await;
    assert_eq!(
        told,
        [
            "success user /admin/secrets",
            "denied user /admin/rollovers",
            "success user /admin/rollovers",
            &format!("success user {path}"),
            "denied user /admin/rollovers/{id}",
            "denied user no such endpoint",
            "denied user /admin/census",
            "denied system /admin/secrets",
            "denied system /admin/rollovers",
        ]
    );
    let refused = "SELECT actor_email FROM audit_logs
        WHERE action = 'admin.call' AND resource_name = '/admin/census'";
    assert_eq!(api.db.texts(refused).await, ["user@example.com"]);
    let all = api
        .db
        .texts("SELECT coalesce(resource_name, '') || coalesce(CAST(details AS text), '') FROM audit_logs")
        .await
        .join("\n");
    assert!(!all.contains(&value) && !all.contains("no.such.token"), "{all}");
    assert!(all.contains("anonymous"));
}

/// A dry run tries its credential: here at a provider that takes the connection, and hangs.
async fn a_call_that_is_given_up_is_told_too(db: Db) {
    let provider = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = format!("http://{}", provider.local_addr().unwrap());
    let key = ("ANTHROPIC_API_KEY", "sk-ant-api03-the-key-in-use-0123456789");
    let keys: Vec<_> = KEYS.into_iter().chain([key]).collect();
    let api = Api::with(db, &keys, &[("ANTHROPIC_API_URL", &address)]).await;
    let admin = api.as_administrator().await;
    let value = api.secret("sk-ant-api03-another-key-0123456789").to_owned();
    let body = json!({ "secret": key.0, "reason": "a test", "value": value, "dryRun": true });
    let told = async |count: usize| {
        for _ in 0..200 {
            let told = api
                .db
                .texts(
                    "SELECT CAST(result AS text) || ' ' || CAST(actor_type AS text) || ' '
                        || CAST(details AS text)
                     FROM audit_logs WHERE resource_name = '/admin/rollovers'
                     ORDER BY timestamp, id",
                )
                .await;
            if told.len() >= count {
                return told;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("there are no {count} entries");
    };

    // The client goes away.
    let call = admin.post("/admin/rollovers", body.clone());
    assert!(tokio::time::timeout(Duration::from_secs(2), call).await.is_err());
    let given_up = told(1).await;
    assert!(given_up[0].starts_with("failure user ") && given_up[0].contains("givenUp"));
    // It waits: one try is over before the request is.
    let began = Instant::now();
    let refused = admin.post("/admin/rollovers", body).await.expect(422);
    assert_eq!(refused["code"], "probe_failed", "{refused}");
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    let refused = told(2).await;
    assert!(refused[1].starts_with("denied user ") && !refused[1].contains("givenUp"));
    drop(provider);
}
