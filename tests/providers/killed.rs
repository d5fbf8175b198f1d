//! A process is killed in each phase of a rollover of a credential: another goes on in its
//! place, the rollover ends by itself, and the old credential works until the new one is
//! proven.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::{
    anthropic,
    api::Api,
    cloudflare::{self, CSR, EVERYTHING, ZONE},
    mailgun, resend, s3,
    site::{Site, locked},
    smtp,
    support::deployment::{Db, on_both_databases},
    twilio,
};

on_both_databases!(
    through_a_rollover_at_anthropic,
    through_a_rollover_at_cloudflare,
    through_a_rollover_at_resend,
    through_a_rollover_at_mailgun,
    through_a_rollover_at_twilio,
    while_a_request_keeps_it_from_being_promoted,
    while_a_request_keeps_it_from_being_settled,
    while_cloudflare_makes_a_token,
    while_twilio_makes_a_token,
);

mod with_moto {
    use super::{on_both_databases, through_a_rollover_at_s3};

    on_both_databases!(
        with managers_tests, "needs moto; tests/run installs it":
        through_a_rollover_at_s3,
    );
}

mod with_aiosmtpd {
    use super::{on_both_databases, through_a_rollover_at_a_mail_server};

    on_both_databases!(
        with smtp_tests, "needs aiosmtpd; tests/run installs it":
        through_a_rollover_at_a_mail_server,
    );
}

/// A provider, and how the API uses it.
struct Scene {
    secret: &'static str,
    variables: Vec<(&'static str, String)>,
    new: String,
    site: Arc<Site>,
    /// The call by which a credential is tried.
    trial: &'static str,
    /// Whether the API's own call is another, so that it is answered meanwhile.
    is_apart: bool,
    /// The call that revokes the old credential; an operator does, where there is none.
    ends_by: Option<&'static str>,
    path: &'static str,
    body: Value,
}

impl Scene {
    async fn works(&self, api: &Api) {
        let answer = api.admin.post(self.path, self.body.clone()).await;
        assert!(answer.status.is_success(), "{}", answer.body.escape_ascii());
    }
}

/// Kills the process in every phase of one rollover, one after the other; `used` tells
/// which credential was used last, the old one or the new one.
async fn killed_in_every_phase(
    db: Db,
    scene: Scene,
    [old, new]: [&str; 2],
    used: impl AsyncFn() -> String,
    revoke: impl AsyncFnOnce(),
) {
    let api = Api::start(db, scene.variables.clone()).await;
    // Staged, and being tried.
    scene.site.gate.shut_for(scene.trial);
    let id = api.begin(scene.secret, Some(scene.new.clone())).await;
    scene.site.gate.reached().await;
    let api = api.kill_and_start_again().await;
    assert_eq!(api.rollover(&id).await["phase"], "staged");
    if scene.is_apart {
        scene.works(&api).await;
        assert_eq!(used().await, old, "the new one is not proven");
    }
    // Promoted, and being revoked.
    if let Some(call) = scene.ends_by {
        scene.site.gate.open();
        scene.site.gate.shut_for(call);
        scene.site.gate.reached().await;
    } else {
        scene.site.gate.open();
        api.waits(&id, asks_for_an_operator).await;
    }
    let api = api.kill_and_start_again().await;
    scene.works(&api).await;
    assert_eq!(used().await, new);
    if scene.ends_by.is_none() {
        assert_eq!(api.rollover(&id).await["phase"], "promoted");
        // Revoked, and on its way to its end.
        revoke().await;
        let path = format!("/admin/rollovers/{id}/revoked");
        api.admin.post(&path, json!({ "reason": "deleted in the console" })).await.expect(200);
    }
    let api = api.kill_and_start_again().await;
    scene.site.gate.open();
    api.is_retired(&id).await;
    // Retired.
    let api = api.kill_and_start_again().await;
    api.is_retired(&id).await;
    scene.works(&api).await;
    assert_eq!(used().await, new);
    api.end(&[]).await;
}

fn asks_for_an_operator(rollover: &Value) -> bool {
    rollover["blockedBy"].as_str().is_some_and(|by| by.contains("/revoked"))
}

fn at_anthropic(site: Site) -> Scene {
    Scene {
        secret: "ANTHROPIC_API_KEY",
        variables: vec![
            ("ANTHROPIC_API_KEY", anthropic::OLD.to_owned()),
            ("ANTHROPIC_API_URL", site.address.clone()),
        ],
        new: anthropic::NEW.to_owned(),
        site: Arc::new(site),
        trial: "GET /v1/models",
        is_apart: true,
        ends_by: None,
        path: "/api/v1/assistant/messages",
        body: json!({ "content": "hello" }),
    }
}

async fn through_a_rollover_at_anthropic(db: Db) {
    let (site, known) = anthropic::site().await;
    let used = async || locked(&known.used).last().unwrap().clone();
    let revoke = async || locked(&known.keys).retain(|key| *key != anthropic::OLD);
    let keys = [anthropic::OLD, anthropic::NEW];
    killed_in_every_phase(db, at_anthropic(site), keys, used, revoke).await;
}

fn at_cloudflare(site: Site) -> Scene {
    Scene {
        secret: "CLOUDFLARE_API_TOKEN",
        variables: vec![
            ("CLOUDFLARE_API_TOKEN", cloudflare::OLD.to_owned()),
            ("CLOUDFLARE_API_URL", site.address.clone()),
            ("CLOUDFLARE_ZONE_ID", ZONE.to_owned()),
        ],
        new: cloudflare::NEW.to_owned(),
        site: Arc::new(site),
        trial: "GET /zones",
        is_apart: true,
        ends_by: Some("DELETE /user/tokens"),
        path: "/api/v1/client-certificates",
        body: json!({ "csr": CSR }),
    }
}

async fn through_a_rollover_at_cloudflare(db: Db) {
    let account =
        cloudflare::Account::with(&[(cloudflare::OLD, EVERYTHING), (cloudflare::NEW, EVERYTHING)]);
    let ids: Vec<_> = locked(&account.tokens).keys().cloned().collect();
    let scene = at_cloudflare(cloudflare::site(&account).await);
    let used = async || locked(&account.signed_with).last().unwrap().clone();
    killed_in_every_phase(db, scene, [&ids[0], &ids[1]], used, async || ()).await;
    assert_eq!(locked(&account.tokens).keys().collect::<Vec<_>>(), [&ids[1]]);
}

fn mail(
    secret: &'static str,
    [old, new]: [String; 2],
    settings: &[(&'static str, String)],
    way: &str,
    site: Site,
) -> Scene {
    let common = [("MAIL_FROM", "breeze@example.test"), ("MAIL_PROVIDER", way)];
    let common = common.map(|(name, text)| (name, text.to_owned()));
    Scene {
        secret,
        variables: [(secret, old)]
            .into_iter()
            .chain(settings.iter().cloned())
            .chain(common)
            .collect(),
        new,
        site: Arc::new(site),
        trial: "",
        is_apart: false,
        ends_by: None,
        path: "/api/v1/mail/test",
        body: json!({ "to": "ann@example.test" }),
    }
}

async fn through_a_rollover_at_resend(db: Db) {
    let (site, known) = resend::site().await;
    let (keys, settings) = ([resend::OLD, resend::NEW], [("RESEND_API_URL", site.address.clone())]);
    let scene = mail("RESEND_API_KEY", keys.map(str::to_owned), &settings, "resend", site);
    let scene = Scene { trial: "GET /domains", is_apart: true, ..scene };
    let used = async || locked(&known.taken).last().unwrap().0.clone();
    let revoke = async || locked(&known.keys).retain(|key| *key != resend::OLD);
    killed_in_every_phase(db, scene, keys, used, revoke).await;
}

async fn through_a_rollover_at_mailgun(db: Db) {
    let (site, known) = mailgun::site().await;
    let keys = [mailgun::OLD, mailgun::NEW];
    let settings = [
        ("MAILGUN_API_URL", site.address.clone()),
        ("MAILGUN_DOMAIN", "mg.example.test".to_owned()),
    ];
    let scene = mail("MAILGUN_API_KEY", keys.map(str::to_owned), &settings, "mailgun", site);
    let scene = Scene { trial: "POST /v3/", ..scene };
    let used = async || locked(&known.taken).last().unwrap().0.clone();
    let revoke = async || locked(&known.keys).retain(|key| *key != mailgun::OLD);
    killed_in_every_phase(db, scene, keys, used, revoke).await;
}

async fn through_a_rollover_at_a_mail_server(db: Db) {
    let server = smtp::Server::start("starttls").await;
    let site = smtp::site(&server).await;
    let settings = [
        ("SMTP_USER", smtp::OLD.0.to_owned()),
        ("SMTP_HOST", "localhost".to_owned()),
        ("SMTP_PORT", site.address.clone()),
        ("BREEZE_TRUSTED_CA", server.certificate()),
    ];
    let pair = [smtp::OLD.1.to_owned(), smtp::value(smtp::NEW)];
    let scene = mail("SMTP_PASS", pair, &settings, "smtp", site);
    let scene = Scene { trial: "connection", ..scene };
    let used = async || server.mails().last().unwrap().lines().next().unwrap().to_owned();
    let revoke = async || server.knows(&[smtp::NEW]);
    killed_in_every_phase(db, scene, [smtp::OLD.0, smtp::NEW.0], used, revoke).await;
}

async fn through_a_rollover_at_s3(db: Db) {
    let server = s3::Server::start().await;
    let scene = Scene {
        secret: "S3_SECRET_KEY",
        variables: server.variables(),
        new: s3::value(&server.new),
        site: Arc::clone(&server.site),
        trial: "PUT /breeze/breeze-probe",
        is_apart: true,
        ends_by: None,
        path: "/api/v1/files",
        body: json!({ "any": "content" }),
    };
    let used = async || server.seen.last();
    let revoke = async || server.revoke(&server.old).await;
    killed_in_every_phase(db, scene, [&server.old.id, &server.new.id], used, revoke).await;
}

fn at_twilio(site: Site) -> Scene {
    Scene {
        secret: "TWILIO_AUTH_TOKEN",
        variables: vec![
            ("TWILIO_ACCOUNT_SID", twilio::SID.to_owned()),
            ("TWILIO_AUTH_TOKEN", twilio::OLD.to_owned()),
            ("TWILIO_API_URL", site.address.clone()),
            ("TWILIO_ACCOUNTS_URL", site.address.clone()),
            ("TWILIO_FROM", "+15550000001".to_owned()),
        ],
        new: twilio::value(twilio::NEW),
        site: Arc::new(site),
        trial: "GET /2010-04-01/Accounts",
        is_apart: true,
        // It ends the old token as it makes the new one the primary: the worst time to die.
        ends_by: Some("POST /v1/AuthTokens/Promote"),
        path: "/api/v1/sms/test",
        body: json!({ "to": "+15551234567" }),
    }
}

async fn through_a_rollover_at_twilio(db: Db) {
    let (site, account) = twilio::site(Some(twilio::NEW)).await;
    let used = async || locked(&account.sent).last().unwrap().0.clone();
    let tokens = [twilio::OLD, twilio::NEW];
    killed_in_every_phase(db, at_twilio(site), tokens, used, async || ()).await;
    assert_eq!(*locked(&account.primary), twilio::NEW);
}

/// A reply that the assistant is still thinking about.
async fn thinking(api: &Api, scene: &Scene) -> tokio::task::JoinHandle<()> {
    scene.site.gate.shut_for("/v1/messages");
    let (client, path, body) = (api.admin.clone(), scene.path, scene.body.clone());
    let asked = tokio::spawn(async move {
        let unanswered = client.ask(http::Method::POST, path, Some(body)).await;
        assert!(unanswered.is_err(), "its process was killed");
    });
    scene.site.gate.reached().await;
    asked
}

fn waits_for_a_request(rollover: &Value) -> bool {
    rollover["blockedBy"].as_str().is_some_and(|by| by.contains("in flight"))
}

async fn while_a_request_keeps_it_from_being_promoted(db: Db) {
    let (site, known) = anthropic::site().await;
    let scene = at_anthropic(site);
    let api = Api::start(db, scene.variables.clone()).await;
    let asked = thinking(&api, &scene).await;
    let id = api.begin(scene.secret, Some(scene.new.clone())).await;
    assert_eq!(api.waits(&id, waits_for_a_request).await["phase"], "staged");
    let api = api.kill_and_start_again().await;
    asked.await.unwrap();
    scene.site.gate.open();
    scene.works(&api).await;
    api.revoked_by_hand(&id, async || locked(&known.keys).retain(|key| *key != anthropic::OLD))
        .await;
    scene.works(&api).await;
    api.end(&[anthropic::OLD, anthropic::NEW]).await;
}

/// A hard rollover promotes at once; it is not at its end before the last request of the
/// old key.
async fn while_a_request_keeps_it_from_being_settled(db: Db) {
    let (site, known) = anthropic::site().await;
    let scene = at_anthropic(site);
    let api = Api::start(db, scene.variables.clone()).await;
    let asked = thinking(&api, &scene).await;
    let hard =
        json!({ "secret": scene.secret, "mode": "hard", "reason": "a leak", "value": scene.new });
    let begun = api.admin.post("/admin/rollovers", hard).await.expect(202);
    let id = begun["id"].as_str().unwrap();
    let promoted =
        |rollover: &Value| rollover["phase"] == "promoted" && waits_for_a_request(rollover);
    api.waits(id, promoted).await;
    let api = api.kill_and_start_again().await;
    asked.await.unwrap();
    scene.site.gate.open();
    scene.works(&api).await;
    assert_eq!(locked(&known.used).last().unwrap(), anthropic::NEW);
    api.revoked_by_hand(id, async || locked(&known.keys).retain(|key| *key != anthropic::OLD))
        .await;
    scene.works(&api).await;
    api.end(&[anthropic::OLD, anthropic::NEW]).await;
}

/// The answer with the token is lost: its copy is found by its name.
async fn while_cloudflare_makes_a_token(db: Db) {
    let account = cloudflare::Account::with(&[(cloudflare::OLD, EVERYTHING)]);
    let scene = at_cloudflare(cloudflare::site(&account).await);
    let api = Api::start(db, scene.variables.clone()).await;
    scene.site.gate.shut_for("POST /user/tokens");
    let id = api.begin(scene.secret, None).await;
    scene.site.gate.reached().await;
    let api = api.kill_and_start_again().await;
    scene.works(&api).await;
    scene.site.gate.open();
    api.is_retired(&id).await;
    scene.works(&api).await;
    let tokens = locked(&account.tokens).clone();
    assert_eq!(tokens.len(), 1, "{tokens:?}");
    assert!(!tokens.values().any(|token| token.value == cloudflare::OLD), "{tokens:?}");
    api.end(&[cloudflare::OLD, "a-made-token"]).await;
}

/// The answer with the token is lost: nobody knows it, and the account has no other. The
/// rollover says so, and the next one goes through once it is deleted.
async fn while_twilio_makes_a_token(db: Db) {
    let (site, account) = twilio::site(None).await;
    let scene = at_twilio(site);
    let api = Api::start(db, scene.variables.clone()).await;
    scene.site.gate.shut_for("POST /v1/AuthTokens/Secondary");
    let id = api.begin(scene.secret, None).await;
    scene.site.gate.reached().await;
    let api = api.kill_and_start_again().await;
    scene.works(&api).await;
    scene.site.gate.open();
    let refused = api.waits(&id, |rollover| rollover["phase"] == "refused").await;
    let told = refused["blockedBy"].as_str().unwrap();
    assert!(told.contains("DELETE /v1/AuthTokens/Secondary"), "{told}");
    scene.works(&api).await;
    *locked(&account.secondary) = None;
    let id = api.begin(scene.secret, None).await;
    api.is_retired(&id).await;
    scene.works(&api).await;
    assert_eq!(locked(&account.sent).last().unwrap().0, *locked(&account.primary));
    api.end(&[twilio::OLD, twilio::MADE]).await;
}
