//! Credentials roll over while requests use them, and none fails; nor does one that takes
//! long keep other rollovers waiting.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use http::Request;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
    task::JoinHandle,
    time::sleep,
};

use crate::{
    anthropic,
    api::Api,
    cloudflare::{self, Account, CSR, EVERYTHING, ZONE},
    s3,
    site::{Site, locked},
    support::deployment::{Db, on_both_databases},
};

on_both_databases!(
    certificates_are_signed_through_a_rollover,
    the_assistant_speaks_through_a_rollover,
    a_reply_that_takes_its_time_is_asked_for_once,
    killed_between_the_deletion_and_its_record,
    what_is_not_set_up_says_so,
);

mod with_moto {
    use super::{
        a_client_that_reads_slowly_has_as_long_as_a_transfer,
        a_client_that_stops_reading_keeps_only_its_own_rollover_waiting,
        files_come_and_go_through_a_rollover, on_both_databases,
    };

    on_both_databases!(
        with managers_tests, "needs moto; tests/run installs it":
        files_come_and_go_through_a_rollover,
        a_client_that_stops_reading_keeps_only_its_own_rollover_waiting,
        a_client_that_reads_slowly_has_as_long_as_a_transfer,
    );
}

async fn zone(db: Db, account: &Arc<Account>) -> (Api, Site) {
    let site = cloudflare::site(account).await;
    let variables = vec![
        ("CLOUDFLARE_API_TOKEN", cloudflare::OLD.to_owned()),
        ("CLOUDFLARE_API_URL", site.address.clone()),
        ("CLOUDFLARE_ZONE_ID", ZONE.to_owned()),
    ];
    (Api::start(db, variables).await, site)
}

async fn certificates_are_signed_through_a_rollover(db: Db) {
    let account = Account::with(&[(cloudflare::OLD, EVERYTHING)]);
    let (api, _site) = zone(db, &account).await;
    let traffic = api.traffic("/api/v1/client-certificates", json!({ "csr": CSR, "days": 30 }));
    traffic.goes_on_for(5).await;
    let id = api.begin("CLOUDFLARE_API_TOKEN", None).await;
    api.is_retired(&id).await;
    traffic.goes_on_for(5).await;
    traffic.none_failed().await;
    let used = locked(&account.signed_with).clone();
    let left: Vec<_> = locked(&account.tokens).keys().cloned().collect();
    assert_eq!(left.len(), 1);
    assert_eq!(used.last(), left.first(), "the new token signs");
    assert_ne!(used.first(), left.first(), "the old one did");
    let refused = json!({ "csr": "hello" });
    api.admin.post("/api/v1/client-certificates", refused).await.expect(422);
    api.end(&[cloudflare::OLD, "a-made-token"]).await;
}

async fn the_assistant_speaks_through_a_rollover(db: Db) {
    let (site, known) = anthropic::site().await;
    let variables = vec![
        ("ANTHROPIC_API_KEY", anthropic::OLD.to_owned()),
        ("ANTHROPIC_API_URL", site.address.clone()),
    ];
    let api = Api::start(db, variables).await;
    let traffic = api.traffic("/api/v1/assistant/messages", json!({ "content": "hello" }));
    traffic.goes_on_for(5).await;
    let id = api.begin("ANTHROPIC_API_KEY", Some(anthropic::NEW.to_owned())).await;
    api.revoked_by_hand(&id, async || locked(&known.keys).retain(|key| *key != anthropic::OLD))
        .await;
    traffic.goes_on_for(5).await;
    traffic.none_failed().await;
    assert_eq!(locked(&known.used).last().unwrap(), anthropic::NEW);
    api.end(&[anthropic::OLD, anthropic::NEW]).await;
}

/// Longer than any other answer may take: it is billed, and so not asked for again.
async fn a_reply_that_takes_its_time_is_asked_for_once(db: Db) {
    let (site, known) = anthropic::site().await;
    let variables = vec![
        ("ANTHROPIC_API_KEY", anthropic::OLD.to_owned()),
        ("ANTHROPIC_API_URL", site.address.clone()),
    ];
    let api = Api::start(db, variables).await;
    site.gate.shut_for("/v1/messages");
    let say = json!({ "content": "hello" });
    let said = api.admin.post("/api/v1/assistant/messages", say);
    let (said, ()) = tokio::join!(said, async {
        site.gate.reached().await;
        sleep(Duration::from_secs(12)).await;
        site.gate.open();
    });
    assert_eq!(said.expect(200)["text"], "you said hello");
    assert_eq!(locked(&known.used).len(), 1);
    api.end(&[anthropic::OLD]).await;
}

/// Sends a file, and answers where it is.
async fn sent(api: &Api, content: String) -> String {
    let request = Request::post("/api/v1/files")
        .header("authorization", format!("Bearer {}", api.admin.bearer().unwrap()))
        .header("content-type", "text/plain");
    let sent = api.admin.send(request.body(content).unwrap()).await.unwrap().expect(201);
    format!("/api/v1/files/{}", sent["id"].as_str().unwrap())
}

/// More than what is under way between all processes.
const LARGE: usize = 24 << 20;

/// A client that reads a large file slowly, and then not at all.
struct Reader {
    reading: JoinHandle<usize>,
    stop: Arc<AtomicBool>,
    go_on: Arc<Notify>,
}

impl Reader {
    async fn of_a_large_file(api: &Api) -> Self {
        let large = sent(api, "x".repeat(LARGE)).await;
        let mut stream = TcpStream::connect(("127.0.0.1", api.admin.port())).await.unwrap();
        let get = format!(
            "GET {large} HTTP/1.1\r\nHost: breeze\r\nConnection: close\r\n\
             Authorization: Bearer {}\r\n\r\n",
            api.admin.bearer().unwrap()
        );
        stream.write_all(get.as_bytes()).await.unwrap();
        let (stop, go_on) = (Arc::<AtomicBool>::default(), Arc::<Notify>::default());
        let (stopping, going_on) = (Arc::clone(&stop), Arc::clone(&go_on));
        let reading = tokio::spawn(async move {
            let (mut part, mut all) = (vec![0; 4096], 0);
            while !stopping.load(Ordering::Relaxed) {
                match stream.read(&mut part).await {
                    Ok(read @ 1..) => all += read,
                    _ => return all,
                }
                sleep(Duration::from_millis(50)).await;
            }
            going_on.notified().await;
            let mut rest = vec![];
            // The connection ends before the file does.
            stream.read_to_end(&mut rest).await.ok();
            all + rest.len()
        });
        Self { reading, stop, go_on }
    }

    fn stops(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// How much of the file has come through.
    async fn came_through(self) -> usize {
        self.go_on.notify_one();
        self.reading.await.unwrap()
    }
}

fn asks_for_an_operator(rollover: &Value) -> bool {
    rollover["blockedBy"].as_str().is_some_and(|by| by.contains("/revoked"))
}

async fn a_client_that_stops_reading_keeps_only_its_own_rollover_waiting(db: Db) {
    let server = s3::Server::start().await;
    let short = ["JWT_ACCESS_TTL_SECONDS", "JWT_REFRESH_TTL_SECONDS", "JWT_VIEWER_TTL_SECONDS"];
    let short = short.map(|name| (name, "2".to_owned()));
    let mut api = Api::start(db, server.variables().into_iter().chain(short).collect()).await;
    api.bears_an_operators_token().await;
    let reader = Reader::of_a_large_file(&api).await;

    let other = api.begin("JWT_SECRET", None).await;
    api.is_retired_at_the_database(&other).await;
    api.bears_an_operators_token().await;

    let id = api.begin("S3_SECRET_KEY", Some(s3::value(&server.new))).await;
    let waits = |rollover: &Value| {
        let blocked = rollover["blockedBy"].as_str().unwrap_or_default();
        rollover["phase"] == "promoted" && blocked.contains("in flight")
    };
    api.waits(&id, waits).await;
    reader.stops();
    api.revoked_by_hand(&id, async || server.revoke(&server.old).await).await;
    let through = reader.came_through().await;
    assert!(through < LARGE, "it broke off, and was not taken for a whole one: {through}");
    api.end(&[&server.old.secret, &server.new.secret]).await;
}

async fn a_client_that_reads_slowly_has_as_long_as_a_transfer(db: Db) {
    let (server, longest) = (s3::Server::start().await, Duration::from_secs(8));
    let mut variables = server.variables();
    variables.push(("S3_TRANSFER_SECONDS", longest.as_secs().to_string()));
    let api = Api::start(db, variables).await;
    let (begun, reader) = (Instant::now(), Reader::of_a_large_file(&api).await);
    let id = api.begin("S3_SECRET_KEY", Some(s3::value(&server.new))).await;
    api.waits(&id, asks_for_an_operator).await;
    assert!(begun.elapsed() >= longest, "it waited for the file");
    reader.stops();
    assert!(reader.came_through().await < LARGE);
    api.end(&[&server.old.secret, &server.new.secret]).await;
}

async fn files_come_and_go_through_a_rollover(db: Db) {
    let server = s3::Server::start().await;
    let api = Api::start(db, server.variables()).await;
    let kept = sent(&api, "kept".to_owned()).await;
    let traffic = api.traffic("/api/v1/files", json!({ "any": "content" }));
    traffic.goes_on_for(5).await;
    let id = api.begin("S3_SECRET_KEY", Some(s3::value(&server.new))).await;
    api.revoked_by_hand(&id, async || server.revoke(&server.old).await).await;
    traffic.goes_on_for(5).await;
    traffic.none_failed().await;
    assert_eq!(server.seen.last(), server.new.id);

    let read = api.admin.get(&kept).await;
    assert_eq!((read.status.as_u16(), &*read.body), (200, &b"kept"[..]));
    assert_eq!(read.header("content-type"), Some("text/plain"));
    assert_eq!(read.header("content-disposition"), Some("attachment"));
    let another = json!({ "email": "a@example.test", "name": "A", "password": "correct horse battery",
        "orgId": "0198c5a0-0000-7000-8000-000000000001" });
    api.admin.post("/api/v1/users", another).await.expect(201);
    let login = json!({ "email": "a@example.test", "password": "correct horse battery" });
    let session = api.admin.post("/api/v1/auth/login", login).await.expect(200);
    let other = api.admin.bearing(session["tokens"]["accessToken"].as_str().unwrap());
    other.get(&kept).await.expect(404);
    api.admin.delete(&kept).await.expect(204);
    api.admin.get(&kept).await.expect(404);
    api.end(&[&server.old.secret, &server.new.secret]).await;
}

/// Whoever wants the old token back then is refused: it is dead, though nobody has noted it.
async fn killed_between_the_deletion_and_its_record(db: Db) {
    let account = Account::with(&[(cloudflare::OLD, EVERYTHING), (cloudflare::NEW, EVERYTHING)]);
    let (api, site) = zone(db, &account).await;
    site.gate.shut_for("DELETE /user/tokens");
    let id = api.begin("CLOUDFLARE_API_TOKEN", Some(cloudflare::NEW.to_owned())).await;
    site.gate.reached().await;
    site.gate.shut_for("/user/tokens/verify");
    let api = api.kill_and_start_again().await;
    assert_eq!(locked(&account.tokens).len(), 1);
    let back = json!({ "reason": "the new one is no good" });
    let back = api.admin.post(&format!("/admin/rollovers/{id}/roll-back"), back).await;
    let refused = back.expect(409);
    assert_eq!(refused["code"], "wrong_phase");
    assert!(refused["detail"].as_str().unwrap().contains("may have done so"), "{refused}");
    site.gate.open();
    api.is_retired(&id).await;
    api.admin.post("/api/v1/client-certificates", json!({ "csr": CSR })).await.expect(201);
    api.end(&[cloudflare::OLD, cloudflare::NEW]).await;
}

async fn what_is_not_set_up_says_so(db: Db) {
    let api = Api::start(db, vec![]).await;
    for (path, body) in [
        ("/api/v1/assistant/messages", json!({ "content": "hello" })),
        ("/api/v1/client-certificates", json!({ "csr": CSR })),
        ("/api/v1/files", json!({})),
    ] {
        let problem = api.admin.post(path, body).await.expect(503);
        assert_eq!(problem["code"], "not_configured", "{path}");
    }
    api.end(&[]).await;
}
