//! What is due is mailed: once a day, whatever the number of processes, by the mail
//! provider of the API.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::support::{
    breeze_api::{Finished, Process},
    deployment::{Db, Opened},
    free_port,
    smtp::{OLD, Server},
};

/// Nobody makes it.
const ENROLMENT: &str = "an enrolment secret of the tests 0123456789";

const TO: [&str; 2] = ["ann@example.test", "ben@example.test"];

/// A database whose keys have served for long: one is overdue, one due, one soon, and all
/// others are not.
async fn with_old_keys(db: &Db) -> Opened {
    db.migrate().await;
    // Whoever joins makes the keys that nobody has given.
    let first = ["rollover", "JWT_SECRET", "--mode", "hard", "--reason", "a test", "--dry-run"];
    let first = db.run(first).env("AGENT_ENROLLMENT_SECRET", ENROLMENT).finish().await;
    assert_eq!(first.code, Some(0), "{}", first.stderr);
    forget_tasks(db).await;
    let opened = db.open().await;
    let table = match db {
        Db::Sqlite(_) => "rollover_key",
        Db::Postgres(_) => "rollover.key",
    };
    for (secret, days) in
        [("JWT_SECRET", 200_u64), ("SESSION_SECRET", 91), ("AGENT_ENROLLMENT_SECRET", 80)]
    {
        let earlier = days * 24 * 60 * 60 * 1000;
        let sql = format!(
            "UPDATE {table} SET created_at = created_at - {earlier},
                promoted_at = promoted_at - {earlier} WHERE secret = '{secret}'"
        );
        opened.execute(&sql).await;
    }
    opened
}

/// The minute's look at the schedule was taken: it is taken once more.
async fn forget_tasks(db: &Db) {
    let (postgres, sqlite) =
        ("DELETE FROM apalis.jobs WHERE status = 'Done'", "DELETE FROM Jobs WHERE status = 'Done'");
    db.execute(postgres, sqlite).await;
}

/// A process that mails by `server`.
async fn serve(db: &Db, server: &Server) -> Process {
    let port = free_port();
    let mut process = db
        .run(["serve"])
        .env("BREEZE_LISTEN", format!("127.0.0.1:{port}"))
        .env("BREEZE_SCHEDULE_MAIL_TO", TO.join(" , "))
        .env("MAIL_FROM", "Breeze <breeze@example.test>")
        .env("SMTP_HOST", "localhost")
        .env("SMTP_PORT", server.port.to_string())
        .env("SMTP_USER", OLD.0)
        .env("SMTP_PASS", OLD.1)
        .env("BREEZE_TRUSTED_CA", server.certificate())
        .start();
    process.listens_on(port).await;
    process
}

/// What the audit trail says of telling people, once it does.
async fn notices(opened: &Opened) -> Vec<Value> {
    const TOLD: &str = "SELECT CAST(details AS text) FROM audit_logs
        WHERE action = 'schedule.notice' ORDER BY timestamp";
    for _ in 0..600 {
        let told = opened.texts(TOLD).await;
        if !told.is_empty() {
            return told.iter().map(|told| serde_json::from_str(told).unwrap()).collect();
        }
        sleep(Duration::from_millis(100)).await;
    }
    panic!("nobody tells of it");
}

async fn what_is_due_is_mailed_once_a_day_by_many_processes(db: Db) {
    let opened = with_old_keys(&db).await;
    let server = Server::start("starttls").await;
    let processes =
        [serve(&db, &server).await, serve(&db, &server).await, serve(&db, &server).await];
    assert_eq!(notices(&opened).await, [json!({ "told": true })]);
    let mails = server.mails();
    // Everybody looks at the schedule every few seconds, and a process that starts at once.
    let another = serve(&db, &server).await;
    for _ in 0..3 {
        forget_tasks(&db).await;
        sleep(Duration::from_secs(4)).await;
    }
    assert_eq!(server.mails(), mails);
    assert_eq!(notices(&opened).await.len(), 1);

    // Long lines are broken on the way (RFC 2045 section 6.7).
    let mut mails: Vec<_> = mails.iter().map(|mail| mail.replace("=\r\n", "")).collect();
    mails.sort_by_key(|mail| mail.contains("To: ben@example.test"));
    assert_eq!(mails.len(), TO.len(), "{mails:?}");
    for (mail, to) in mails.iter().zip(TO) {
        assert_eq!(mail.matches("@example.test").count(), 2, "one person alone is told: {mail}");
        assert!(mail.contains(&format!("To: {to}")), "{mail}");
        assert!(mail.contains("Subject: Secrets due: 1 overdue, 1 now, 1 soon"), "{mail}");
        let place = |part: &str| mail.find(part).unwrap_or_else(|| panic!("no {part}: {mail}"));
        let lines = [
            "overdue: JWT_SECRET, since ",
            "breeze-api rollover JWT_SECRET --mode graceful --reason 'it is due' --wait",
            "now: SESSION_SECRET, since ",
            "breeze-api rollover SESSION_SECRET --mode graceful --reason 'it is due' --wait",
            "soon: AGENT_ENROLLMENT_SECRET, at ",
            "breeze-api rollover AGENT_ENROLLMENT_SECRET --mode graceful --reason 'it is due' --value-file FILE --wait",
            "openssl rand -hex 32",
        ];
        let places = lines.map(place);
        assert!(places.is_sorted(), "{mail}");
        assert!(!mail.contains("APP_ENCRYPTION_KEY"), "it is not due: {mail}");
    }
    for process in processes.into_iter().chain([another]) {
        let Finished { code, stderr, .. } = process.terminate().await;
        assert_eq!(code, Some(0), "{stderr}");
        assert!(!stderr.contains(OLD.1) && !stderr.contains("was not told"), "{stderr}");
    }
}

async fn a_mail_that_cannot_be_sent_is_told_and_stops_nothing(db: Db) {
    let opened = with_old_keys(&db).await;
    let server = Server::start("starttls").await;
    server.knows(&[]);
    let process = serve(&db, &server).await;
    let told = notices(&opened).await;
    assert_eq!(told[0]["told"], false);
    let why = told[0]["why"].as_str().unwrap();
    assert!(why.contains("2 of 2 mail(s) did not go out") && why.contains("535"), "{why}");
    const HOW: &str = "SELECT action || ' ' || CAST(result AS text) FROM audit_logs
        WHERE action LIKE 'schedule.%' ORDER BY action, timestamp";
    let expected = ["schedule.notice failure", "schedule.review success"];
    let mut entries = opened.texts(HOW).await;
    entries.dedup();
    assert_eq!(entries, expected);

    // What is due stays due: the next day tells. This one is over, also for another process.
    server.knows(&[OLD]);
    let another = serve(&db, &server).await;
    forget_tasks(&db).await;
    sleep(Duration::from_secs(5)).await;
    assert_eq!(server.mails(), Vec::<String>::new());
    assert_eq!(notices(&opened).await.len(), 1);
    let Finished { code, stderr, .. } = process.terminate().await;
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stderr.contains("WARN") && stderr.contains("what is due was not told"), "{stderr}");
    assert!(!stderr.contains(OLD.1), "{stderr}");
    another.terminate().await;
}

/// Each promise on both databases, with a mail server of its own.
macro_rules! on_both_databases_with_mail {
    ($($promise:ident),* $(,)?) => {$(
        mod $promise {
            use super::*;

            #[tokio::test]
            #[cfg_attr(not(smtp_tests), ignore = "needs aiosmtpd; tests/run installs it")]
            async fn on_sqlite() {
                super::$promise(Db::on_sqlite()).await;
            }

            #[tokio::test]
            #[cfg_attr(
                not(all(smtp_tests, postgres_tests)),
                ignore = "needs aiosmtpd and PostgreSQL; tests/run has both"
            )]
            async fn on_postgres() {
                super::$promise(Db::on_postgres().await).await;
            }
        }
    )*};
}
on_both_databases_with_mail!(
    what_is_due_is_mailed_once_a_day_by_many_processes,
    a_mail_that_cannot_be_sent_is_told_and_stops_nothing,
);

#[tokio::test]
async fn mails_of_the_schedule_want_a_way_to_go() {
    let refused =
        Db::on_sqlite().run(["serve"]).env("BREEZE_SCHEDULE_MAIL_TO", TO[0]).finish().await;
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("BREEZE_SCHEDULE_MAIL_TO needs a way"), "{}", refused.stderr);
}
