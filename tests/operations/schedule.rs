//! What is due is told once a day, and rolls over by itself where it needs nobody.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use breeze_rollover::{
    catalog::Secret,
    clock::{Clock, ManualClock, SystemClock, Timestamp},
    embed::Database,
    keyring::{KeychainHandle, sources::Environment},
    material::Material,
    operator::{Notice, Notify, NotifyError, Request},
    provider::{Provider, ProviderError},
    rollover::{Mode, Phase},
    schedule::Due,
    store::AuditRecord,
    token::Lifetimes,
};
use serde_json::json;

use crate::support::app::{TestApp, on_both_databases, request, setup, variables};

/// Keeps what it is told; the first time in vain.
#[derive(Debug, Default)]
struct Told(Mutex<Vec<Option<Notice>>>);

#[async_trait]
impl Notify for Told {
    async fn tell(&self, notice: &Notice, _: &KeychainHandle) -> Result<(), NotifyError> {
        let mut told = self.0.lock().unwrap();
        if told.is_empty() {
            told.push(None);
            return Err(NotifyError("the mail server is away".to_owned()));
        }
        told.push(Some(notice.clone()));
        Ok(())
    }
}

async fn entries(database: &Database, action: &str) -> Vec<AuditRecord> {
    let entries = database.store().audit(None, 500).await.unwrap();
    entries.into_iter().filter(|entry| entry.action == action).collect()
}

/// The entries once there are as many.
async fn awaited(database: &Database, action: &str, count: usize) -> Vec<AuditRecord> {
    for _ in 0..400 {
        let found = entries(database, action).await;
        if found.len() >= count {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{action} is not told {count} times");
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

async fn of_many_replicas_one_looks_at_the_schedule_each_day(database: Database) {
    let clock = Arc::new(ManualClock::at(SystemClock.now()));
    let told = Arc::new(Told::default());
    let join = || setup(&database).clock(clock.clone()).notify(told.clone());
    let apps = [
        TestApp::join(join(), database.clone()).await,
        TestApp::join(join(), database.clone()).await,
        TestApp::join(join(), database.clone()).await,
    ];
    let first = awaited(&database, "schedule.review", 1).await;
    assert_eq!(first[0].details.as_ref().unwrap()["now"], json!([]));
    // Nothing is due: nobody is told.
    let quiet = awaited(&database, "schedule.notice", 1).await;
    assert_eq!(quiet[0].details, Some(json!({ "told": false })));
    assert!(told.0.lock().unwrap().is_empty());

    clock.advance(91 * DAY);
    let second = awaited(&database, "schedule.review", 2).await;
    let due = second[0].details.as_ref().unwrap()["now"].as_array().unwrap().clone();
    assert!(due.contains(&json!("JWT_SECRET")), "{due:?}");
    let view = apps[0].rollovers.operator().secrets().await.unwrap();
    let due = |secret| view.iter().find(|view| view.secret == secret).unwrap().due;
    assert_eq!(due(Secret::JwtSecret), Some(Due::Now));
    assert_eq!(due(Secret::AppEncryptionKey), Some(Due::Later));
    // It was told in vain, which is told, and it is told again the next day.
    let in_vain = awaited(&database, "schedule.notice", 2).await;
    assert_eq!(*told.0.lock().unwrap(), [None]);
    assert_eq!(in_vain[0].result, "failure");
    let why = in_vain[0].details.as_ref().unwrap()["why"].as_str().unwrap().to_owned();
    assert!(why.contains("the mail server is away"), "{why}");
    clock.advance(DAY);
    awaited(&database, "schedule.notice", 3).await;
    let notices = told.0.lock().unwrap().clone();
    let [None, Some(notice)] = &notices[..] else { panic!("{notices:?}") };
    assert!(notice.subject.contains("0 overdue"), "{notice:?}");
    assert!(notice.body.contains("breeze-api rollover JWT_SECRET "), "{notice:?}");
    // Two more looks of everybody, some minutes later: it stays at that.
    for _ in 0..2 {
        clock.advance(Duration::from_secs(120));
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
    assert_eq!(entries(&database, "schedule.review").await.len(), 3);
    assert_eq!(told.0.lock().unwrap().len(), 2);
    for app in apps {
        app.rollovers.leave().await;
    }
}

async fn what_is_due_rolls_over_by_itself_one_at_a_time_within_the_window(database: Database) {
    let noon = |days: u64| {
        let now = SystemClock.now();
        let today = now.as_seconds() - now.as_seconds().rem_euclid(86_400);
        breeze_rollover::clock::Timestamp::from_seconds(today + 12 * 3600).plus(DAY * days as u32)
    };
    let clock = Arc::new(ManualClock::at(noon(0)));
    // Long enough for the next one to have its turn before the first is over.
    let (second, long) = (Duration::from_secs(1), Duration::from_secs(600));
    let lifetimes = Lifetimes { access: second, refresh: long, viewer: second };
    let join = setup(&database).clock(clock.clone()).lifetimes(lifetimes);
    let join = join.automatic("02:00-03:00".parse().unwrap());
    let app = TestApp::join(join, database.clone()).await;
    awaited(&database, "schedule.review", 1).await;
    clock.advance(120 * DAY);
    awaited(&database, "schedule.review", 2).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(entries(&database, "schedule.begin").await.len(), 0, "it is noon");

    // 02:30 of the next day.
    clock.advance(Duration::from_secs(14 * 3600 + 1800));
    let began = awaited(&database, "schedule.begin", 1).await;
    assert_eq!(began[0].result, "success", "{began:?}");
    for _ in 0..100 {
        clock.advance(Duration::from_secs(17));
        let all = database.store().rollovers(None, 50).await.unwrap();
        let active = all.iter().filter(|rollover| rollover.phase.is_active()).count();
        assert!(active <= 1, "{all:?}");
        if all.len() >= 2 && active == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let all = database.store().rollovers(None, 50).await.unwrap();
    let done: Vec<_> = all.iter().map(|rollover| (rollover.secret, rollover.phase)).collect();
    assert!(done.contains(&(Secret::JwtSecret, Phase::Retired)), "{done:?}");
    assert!(done.iter().all(|(secret, _)| breeze_rollover::schedule::rolls_by_itself(*secret)));
    app.rollovers.leave().await;
}

/// A provider whose credentials an operator revokes, and says so.
#[derive(Debug)]
struct Outside;

#[async_trait]
impl Provider for Outside {
    fn secret(&self) -> Secret {
        Secret::AnthropicApiKey
    }

    async fn probe(&self, _: &Material) -> Result<String, ProviderError> {
        Ok("it answers".to_owned())
    }
}

async fn a_credential_that_nobody_revokes_keeps_nothing_from_rolling_over(database: Database) {
    let now = SystemClock.now().as_seconds();
    let midnight = Timestamp::from_seconds(now - now.rem_euclid(86_400));
    let clock = Arc::new(ManualClock::at(midnight.plus(Duration::from_secs(12 * 3600))));
    let values = [("ANTHROPIC_API_KEY", "sk-ant-of-before-0123456789")];
    let environment = Environment::given(variables().into_iter().chain(values));
    let join = setup(&database).clock(clock.clone()).environment(environment);
    let join = join.provider(Arc::new(Outside)).automatic("02:00-03:00".parse().unwrap());
    let app = TestApp::join(join, database.clone()).await;
    let value = Some("sk-ant-of-now-0123456789".into());
    let ask = Request { value, ..request(Secret::AnthropicApiKey, Mode::Graceful) };
    let forgotten = app.begin(ask).await.unwrap();
    app.blocked(forgotten.id, "/revoked").await;

    // 02:30 of a day on which signing secrets are due.
    clock.advance(120 * DAY + Duration::from_secs(14 * 3600 + 1800));
    let began = awaited(&database, "schedule.begin", 1).await;
    assert_eq!(began[0].result, "success", "{began:?}");
    assert_eq!(began[0].resource_name.as_deref(), Some("JWT_SECRET"), "{began:?}");
    assert_eq!(app.rollover(forgotten.id).await.phase, Phase::Promoted);
    app.rollovers.leave().await;
}

on_both_databases!(
    a_credential_that_nobody_revokes_keeps_nothing_from_rolling_over,
    of_many_replicas_one_looks_at_the_schedule_each_day,
    what_is_due_rolls_over_by_itself_one_at_a_time_within_the_window,
);
