//! Mails, SMS and relayed sessions of the reference API, while their credentials roll over.

use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use crate::{
    api::Api,
    mailgun, resend,
    site::locked,
    smtp,
    support::{
        deployment::{Db, on_both_databases},
        http::Answer,
    },
    turn, twilio,
};

on_both_databases!(
    mails_go_by_resend_through_a_rollover,
    mails_go_by_mailgun_through_a_rollover,
    sms_go_by_twilio_through_a_rollover,
    a_forgotten_password_is_set_anew_by_mail,
    sessions_are_told_where_to_meet_through_a_rollover,
);

mod by_smtp {
    use super::{mails_go_by_smtp_through_a_rollover, on_both_databases};

    on_both_databases!(
        with smtp_tests, "needs aiosmtpd; tests/run installs it":
        mails_go_by_smtp_through_a_rollover,
    );
}

const TO: &str = "ann@example.test";

fn mail(variables: Vec<(&'static str, String)>, way: &str) -> Vec<(&'static str, String)> {
    let common = [("MAIL_FROM", "breeze@example.test"), ("MAIL_PROVIDER", way)];
    let common = common.map(|(name, text)| (name, text.to_owned()));
    variables.into_iter().chain(common).collect()
}

async fn mails_go_by_resend_through_a_rollover(db: Db) {
    let (site, known) = resend::site().await;
    let variables =
        vec![("RESEND_API_KEY", resend::OLD.to_owned()), ("RESEND_API_URL", site.address.clone())];
    let api = Api::start(db, mail(variables, "resend")).await;
    let traffic = api.traffic("/api/v1/mail/test", json!({ "to": TO }));
    traffic.goes_on_for(5).await;
    let id = api.begin("RESEND_API_KEY", Some(resend::NEW.to_owned())).await;
    api.revoked_by_hand(&id, async || locked(&known.keys).retain(|key| *key != resend::OLD)).await;
    traffic.goes_on_for(5).await;
    traffic.none_failed().await;
    let keys: Vec<_> = locked(&known.taken).iter().map(|(key, ..)| key.clone()).collect();
    assert_eq!((&*keys[0], &**keys.last().unwrap()), (resend::OLD, resend::NEW));
    api.end(&[resend::OLD, resend::NEW]).await;
}

async fn mails_go_by_mailgun_through_a_rollover(db: Db) {
    let (site, known) = mailgun::site().await;
    let variables = vec![
        ("MAILGUN_API_KEY", mailgun::OLD.to_owned()),
        ("MAILGUN_API_URL", site.address.clone()),
        ("MAILGUN_DOMAIN", "mg.example.test".to_owned()),
    ];
    let api = Api::start(db, mail(variables, "mailgun")).await;
    let traffic = api.traffic("/api/v1/mail/test", json!({ "to": TO }));
    traffic.goes_on_for(5).await;
    let id = api.begin("MAILGUN_API_KEY", Some(mailgun::NEW.to_owned())).await;
    api.revoked_by_hand(&id, async || locked(&known.keys).retain(|key| *key != mailgun::OLD)).await;
    traffic.goes_on_for(5).await;
    traffic.none_failed().await;
    let keys: Vec<_> = locked(&known.taken).iter().map(|(key, _)| key.clone()).collect();
    assert_eq!((&*keys[0], &**keys.last().unwrap()), (mailgun::OLD, mailgun::NEW));
    api.end(&[mailgun::OLD, mailgun::NEW]).await;
}

async fn mails_go_by_smtp_through_a_rollover(db: Db) {
    let server = smtp::Server::start("starttls").await;
    let variables = vec![
        ("SMTP_USER", smtp::OLD.0.to_owned()),
        ("SMTP_PASS", smtp::OLD.1.to_owned()),
        ("SMTP_HOST", "localhost".to_owned()),
        ("SMTP_PORT", server.port.to_string()),
        ("BREEZE_TRUSTED_CA", server.certificate()),
    ];
    let api = Api::start(db, mail(variables, "smtp")).await;
    let traffic = api.traffic("/api/v1/mail/test", json!({ "to": TO }));
    traffic.goes_on_for(3).await;
    let id = api.begin("SMTP_PASS", Some(smtp::value(smtp::NEW))).await;
    api.revoked_by_hand(&id, async || server.knows(&[smtp::NEW])).await;
    traffic.goes_on_for(3).await;
    traffic.none_failed().await;
    let mails = server.mails();
    assert!(mails[0].starts_with("breeze\n") && mails[0].contains("To: ann@example.test"));
    assert!(mails.last().unwrap().starts_with("breeze-2\n"), "{:?}", mails.last());
    api.end(&[smtp::OLD.1, smtp::NEW.1]).await;
}

async fn sms_go_by_twilio_through_a_rollover(db: Db) {
    let (site, account) = twilio::site(Some(twilio::NEW)).await;
    let variables = vec![
        ("TWILIO_ACCOUNT_SID", twilio::SID.to_owned()),
        ("TWILIO_AUTH_TOKEN", twilio::OLD.to_owned()),
        ("TWILIO_API_URL", site.address.clone()),
        ("TWILIO_ACCOUNTS_URL", site.address.clone()),
        ("TWILIO_FROM", "+15550000001".to_owned()),
    ];
    let api = Api::start(db, variables).await;
    let traffic = api.traffic("/api/v1/sms/test", json!({ "to": "+15551234567" }));
    traffic.goes_on_for(5).await;
    let id = api.begin("TWILIO_AUTH_TOKEN", Some(twilio::value(twilio::NEW))).await;
    api.is_retired(&id).await;
    traffic.goes_on_for(5).await;
    traffic.none_failed().await;
    let sent = locked(&account.sent).clone();
    assert_eq!((&*sent[0].0, &*sent.last().unwrap().0), (twilio::OLD, twilio::NEW));
    assert_eq!(sent[0].1["To"], "+15551234567");
    assert_eq!(*locked(&account.primary), twilio::NEW, "the old token is dead");
    api.admin.post("/api/v1/sms/test", json!({ "to": "5551234567" })).await.expect(422);
    api.end(&[twilio::OLD, twilio::NEW]).await;
}

async fn a_forgotten_password_is_set_anew_by_mail(db: Db) {
    let (site, known) = resend::site().await;
    let variables = vec![
        ("RESEND_API_KEY", resend::OLD.to_owned()),
        ("RESEND_API_URL", site.address.clone()),
        ("DASHBOARD_URL", "https://breeze.example.test/".to_owned()),
    ];
    let api = Api::start(db, mail(variables, "resend")).await;
    let ann = json!({ "email": TO, "name": "Ann", "password": "correct horse battery",
        "orgId": "0198c5a0-0000-7000-8000-000000000001" });
    api.admin.post("/api/v1/users", ann).await.expect(201);
    let forgot = async |email: &str| -> Answer {
        api.admin.post("/api/v1/auth/forgot-password", json!({ "email": email })).await
    };
    // Of nobody, and twice: one mail.
    forgot("nobody@example.test").await.expect(202);
    forgot(TO).await.expect(202);
    while locked(&known.taken).is_empty() {
        sleep(Duration::from_millis(10)).await;
    }
    forgot(TO).await.expect(202);
    sleep(Duration::from_millis(200)).await;
    let taken = locked(&known.taken).clone();
    let [(_, _, mail)] = &taken[..] else { panic!("{taken:?}") };
    let text = mail["text"].as_str().unwrap();
    let link = "https://breeze.example.test/reset-password#token=";
    let token = text.split(link).nth(1).unwrap().split('\n').next().unwrap().to_owned();
    assert_eq!(mail["to"], json!([TO]));

    let reset = async |token: &str| -> Answer {
        let body = json!({ "token": token, "newPassword": "another horse battery" });
        api.admin.post("/api/v1/auth/reset-password", body).await
    };
    reset("a-token-of-nobody").await.expect(422);
    let (one, other) = tokio::join!(reset(&token), reset(&token));
    let mut statuses = [one.status.as_u16(), other.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [204, 422], "a link counts once, however it is used");
    let log_in = async |password: &str| {
        let login = json!({ "email": TO, "password": password });
        api.admin.post("/api/v1/auth/login", login).await.status.as_u16()
    };
    assert_eq!(log_in("correct horse battery").await, 401);
    assert_eq!(log_in("another horse battery").await, 200);
    api.end(&[resend::OLD, &token, "another horse battery"]).await;
}

async fn sessions_are_told_where_to_meet_through_a_rollover(db: Db) {
    let variables = vec![
        ("TURN_SECRET", turn::OLD.to_owned()),
        ("TURN_HOST", "turn.example.test".to_owned()),
        ("TURN_CREDENTIAL_TTL_SECONDS", "60".to_owned()),
    ];
    let api = Api::start(db, variables).await;
    let path = "/api/v1/remote/ice-servers?session=0198c5a0-1111-7000&device=0198c5a0-2222-7000";
    let told = api.admin.get(path).await.expect(200);
    let relay = &told["iceServers"][1];
    assert_eq!(relay["urls"][1], "turn:turn.example.test:3478?transport=tcp");
    let username = relay["username"].as_str().unwrap();
    assert!(username.contains(".0198c5a0-111.0198c5a0-222."), "{username}");
    assert_eq!(relay["credential"], password(turn::OLD, username));

    let without = json!({ "secret": "TURN_SECRET", "mode": "graceful", "reason": "a test" });
    let refused = api.admin.post("/admin/rollovers", without).await.expect(422);
    assert_eq!(refused["code"], "value_required");
    let id = api.begin("TURN_SECRET", Some(turn::NEW.to_owned())).await;
    let waits = |rollover: &serde_json::Value| {
        rollover["blockedBy"].as_str().is_some_and(|by| by.contains("its grace period is over"))
    };
    api.waits(&id, waits).await;
    let relay = &api.admin.get(path).await.expect(200)["iceServers"][1];
    let username = relay["username"].as_str().unwrap();
    assert_eq!(relay["credential"], password(turn::NEW, username));
    api.admin.get("/api/v1/remote/ice-servers").await.expect(400);
    api.end(&[turn::OLD, turn::NEW, relay["credential"].as_str().unwrap()]).await;
}

/// What the TURN server computes.
fn password(secret: &str, username: &str) -> String {
    use hmac::{Hmac, KeyInit, Mac};
    let mac = Hmac::<sha1::Sha1>::new_from_slice(secret.as_bytes()).unwrap();
    let mac = mac.chain_update(username).finalize().into_bytes();
    base64_simd::STANDARD.encode_to_string(mac)
}
