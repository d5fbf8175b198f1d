//! What each class waits for, and what an operator may give up.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use breeze_rollover::{
    catalog::Secret,
    embed::{Database, Setup},
    ids::KeyId,
    keyring::{KeyState, sources::Environment},
    material::Material,
    operator::{Accept, Refusal, Request},
    provider::{Provider, ProviderError},
    rollover::{Mode, Phase, Reliance, Rollover},
    store::{Actor, StoreError},
    worker::Counting,
};

use crate::support::app::{TestApp, on_both_databases, request, setup, variables};

/// The application's count: whatever a test says.
#[derive(Debug, Default)]
struct Rows(AtomicU64);

#[async_trait]
impl Counting for Rows {
    async fn what_needs(&self, secret: Secret, keys: &[KeyId]) -> Result<Reliance, StoreError> {
        assert!(!keys.is_empty());
        Ok(match secret {
            Secret::MfaRecoveryCodePepper => Reliance::Uncounted,
            _ => Reliance::Counted { rows: self.0.load(Ordering::Relaxed), unknown: 0 },
        })
    }
}

/// A provider that answers what a test says, in order, and well when nothing is left.
#[derive(Debug, Default)]
struct Script {
    probes: Mutex<VecDeque<ProviderError>>,
    uses: Mutex<VecDeque<String>>,
    revocations: Mutex<VecDeque<ProviderError>>,
    revoked: Mutex<Vec<String>>,
}

fn next<T>(answers: &Mutex<VecDeque<T>>) -> Option<T> {
    answers.lock().unwrap().pop_front()
}

#[async_trait]
impl Provider for Script {
    fn secret(&self) -> Secret {
        Secret::AnthropicApiKey
    }

    fn check(&self, credential: &Material) -> Result<(), &'static str> {
        if credential.expose_source().starts_with("sk-") {
            Ok(())
        } else {
            Err("it begins with sk-")
        }
    }

    async fn probe(&self, _: &Material) -> Result<String, ProviderError> {
        next(&self.probes).map_or_else(|| Ok("it answers".to_owned()), Err)
    }

    async fn in_use(&self, _: &Material, _: &Material) -> Result<Option<String>, ProviderError> {
        Ok(next(&self.uses))
    }

    async fn revoke(&self, old: &Material, _: &Material) -> Result<String, ProviderError> {
        if let Some(error) = next(&self.revocations) {
            return Err(error);
        }
        self.revoked.lock().unwrap().push(old.expose_source().to_owned());
        Ok("it is gone".to_owned())
    }
}

const OLD: &str = "sk-old-0123456789";
const NEW: &str = "sk-new-0123456789";

fn at_provider(database: &Database, script: &Arc<Script>) -> Setup {
    let mut variables = variables();
    variables.insert("ANTHROPIC_API_KEY", OLD);
    let environment = Environment::given(variables);
    setup(database).environment(environment).provider(script.clone())
}

fn credential(value: Option<&str>) -> Request {
    Request { value: value.map(Into::into), ..request(Secret::AnthropicApiKey, Mode::Graceful) }
}

/// A rollover to a value that others have been given.
fn supplied(secret: Secret, mode: Mode) -> Request {
    let value = Some("the next value, which others have 0123456789".into());
    Request { value, ..request(secret, mode) }
}

/// The value in use.
fn present(app: &TestApp, secret: Secret) -> String {
    let keys = app.rollovers.replica().keychain().load_full();
    let ring = keys.verbatim(secret).unwrap();
    ring.primary().prepared().expose().expose_source().to_owned()
}

/// Whether a value that is presented is accepted; it counts as presented then.
fn is_accepted(app: &TestApp, secret: Secret, value: &str) -> bool {
    let now = app.rollovers.replica().clock().now();
    let keys = app.rollovers.replica().keychain().load_full();
    keys.verbatim(secret).unwrap().accept(value, now).is_some()
}

/// Waits until the key that was retired is said to be accepted nowhere.
async fn is_cut_off(app: &TestApp, rollover: &Rollover) {
    app.reaches(rollover.id, Phase::Retired).await;
    while app.rollover(rollover.id).await.cut_off.is_none_or(|cut_off| cut_off.at.is_none()) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn a_shared_secret_is_accepted_for_its_grace_and_while_it_is_presented(database: Database) {
    const SECRET: Secret = Secret::AgentEnrollmentSecret;
    let grace = Duration::from_millis(1500);
    let app = TestApp::join(setup(&database).grace(SECRET, grace), database).await;
    let old = present(&app, SECRET);
    let rollover = app.begin(supplied(SECRET, Mode::Graceful)).await.unwrap();
    let promoted = app.blocked(rollover.id, "grace period").await;
    assert_eq!(promoted.phase, Phase::Promoted);
    let new = present(&app, SECRET);
    assert_ne!(old, new);
    assert!(is_accepted(&app, SECRET, &new));
    for _ in 0..30 {
        assert!(is_accepted(&app, SECRET, &old), "somebody presents it still");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let told = app.blocked(rollover.id, "was presented at").await;
    assert_eq!(told.phase, Phase::Promoted);
    is_cut_off(&app, &rollover).await;
    assert!(!is_accepted(&app, SECRET, &old));
    assert!(is_accepted(&app, SECRET, &new));
    let custody = app.database.store().custody().await.unwrap();
    let key = custody.keys.iter().find(|key| key.secret == SECRET && key.id == rollover.from_key);
    assert_eq!(key.unwrap().presented, 30);
}

async fn a_hard_rollover_of_a_shared_secret_ends_the_old_one_at_once(database: Database) {
    const SECRET: Secret = Secret::AgentEnrollmentSecret;
    let app = TestApp::join(setup(&database), database).await;
    let old = present(&app, SECRET);
    let rollover = app.begin(supplied(SECRET, Mode::Hard)).await.unwrap();
    is_cut_off(&app, &rollover).await;
    assert!(!is_accepted(&app, SECRET, &old));
}

async fn a_pepper_is_accepted_until_no_hash_needs_it(database: Database) {
    const SECRET: Secret = Secret::EnrollmentKeyPepper;
    let rows = Arc::new(Rows(AtomicU64::new(2)));
    let app = TestApp::join(setup(&database).counting(rows.clone()), database).await;
    let rollover = app.begin(request(SECRET, Mode::Graceful)).await.unwrap();
    app.blocked(rollover.id, "2 row(s) need the old key").await;
    let operator = app.rollovers.operator();
    let retire = |accept| operator.retire(rollover.id, Actor::System, "a test", accept);
    let refused = retire(Accept::default()).await.unwrap_err().to_string();
    assert!(refused.contains("2 row(s)") && refused.contains("acceptLoss"), "{refused}");
    assert_eq!(app.key_state(SECRET, &rollover.from_key).await, KeyState::Retiring);

    rows.0.store(0, Ordering::Relaxed);
    let retired = retire(Accept::default()).await.unwrap();
    assert_eq!((retired.phase, retired.accept_loss), (Phase::Retired, false));
}

async fn what_needs_the_old_pepper_may_be_given_up_by_name(database: Database) {
    const SECRET: Secret = Secret::UserApiKeys;
    let rows = Arc::new(Rows(AtomicU64::new(7)));
    let app = TestApp::join(setup(&database).counting(rows), database).await;
    let dry = Request { dry_run: true, ..request(SECRET, Mode::Graceful) };
    let dry = app.begin(dry).await.unwrap();
    let dry = app.reaches(dry.id, Phase::Rehearsed).await.report.unwrap();
    assert_eq!(dry["rowsThatNeedTheOldKey"], 7, "{dry}");
    let rollover = app.begin(request(SECRET, Mode::Graceful)).await.unwrap();
    app.blocked(rollover.id, "7 row(s)").await;
    let accept = Accept { loss: true, ..Accept::default() };
    let operator = app.rollovers.operator();
    let retired = operator.retire(rollover.id, Actor::System, "a test", accept).await.unwrap();
    assert_eq!((retired.phase, retired.accept_loss), (Phase::Retired, true));
}

async fn what_nobody_counts_is_not_proven(database: Database) {
    const SECRET: Secret = Secret::MfaRecoveryCodePepper;
    let app = TestApp::join(setup(&database).counting(Arc::<Rows>::default()), database).await;
    let rollover = app.begin(request(SECRET, Mode::Graceful)).await.unwrap();
    app.blocked(rollover.id, "nothing here counts").await;
    let operator = app.rollovers.operator();
    operator.roll_back(rollover.id, Actor::System, "a test").await.unwrap();
    app.blocked(rollover.id, "nothing here counts").await;
    assert_eq!(app.key_state(SECRET, &rollover.from_key).await, KeyState::Primary);
}

async fn a_credential_is_probed_used_and_revoked(database: Database) {
    let script = Arc::new(Script::default());
    script.probes.lock().unwrap().extend([ProviderError::Unreachable("busy".to_owned())]);
    script.uses.lock().unwrap().extend(["a long upload".to_owned()]);
    script.revocations.lock().unwrap().extend([
        ProviderError::Unreachable("down".to_owned()),
        ProviderError::Unreachable("down".to_owned()),
        ProviderError::Unreachable("down".to_owned()),
    ]);
    let app = TestApp::join(at_provider(&database, &script), database).await;
    assert_eq!(present(&app, Secret::AnthropicApiKey), OLD);
    let rollover = app.begin(credential(Some(NEW))).await.unwrap();
    app.blocked(rollover.id, "a long upload").await;
    assert_eq!(present(&app, Secret::AnthropicApiKey), NEW);
    app.blocked(rollover.id, "cannot be reached").await;
    let retired = app.reaches(rollover.id, Phase::Retired).await;
    assert!(retired.probed_at.is_some() && retired.revoked_at > retired.probed_at);
    assert_eq!(*script.revoked.lock().unwrap(), [OLD]);
}

async fn a_probe_that_fails_leaves_everything_as_it_was(database: Database) {
    let script = Arc::new(Script::default());
    let app = TestApp::join(at_provider(&database, &script), database).await;
    let malformed = app.begin(credential(Some("no such key at all"))).await;
    assert!(matches!(malformed, Err(Refusal::Form("it begins with sk-"))), "{malformed:?}");

    script
        .probes
        .lock()
        .unwrap()
        .extend([ProviderError::Refused("401 invalid x-api-key".to_owned())]);
    let rollover = app.begin(credential(Some(NEW))).await.unwrap();
    let abandoned = app.reaches(rollover.id, Phase::Abandoned).await;
    assert!(abandoned.blocked_by.unwrap().contains("401 invalid x-api-key"));
    assert_eq!(present(&app, Secret::AnthropicApiKey), OLD);
    let new = abandoned.to_key.unwrap();
    assert_eq!(app.key_state(Secret::AnthropicApiKey, &new).await, KeyState::Retired);

    let by_hand = app.begin(credential(None)).await.unwrap();
    let refused = app.reaches(by_hand.id, Phase::Refused).await;
    assert!(refused.blocked_by.unwrap().contains("hand it in as `value`"));
}

async fn an_operator_says_that_the_old_credential_is_revoked(database: Database) {
    let script = Arc::new(Script::default());
    let by_hand = || ProviderError::ByHand("revoke it in the console");
    script.revocations.lock().unwrap().extend(std::iter::repeat_with(by_hand).take(100));
    let app = TestApp::join(at_provider(&database, &script), database).await;
    let operator = app.rollovers.operator();
    let rollover = app.begin(credential(Some(NEW))).await.unwrap();
    let waits = app.blocked(rollover.id, "revoke it in the console").await;
    assert!(waits.blocked_by.unwrap().contains(&format!("{}/revoked", rollover.id)));
    operator.revoked(rollover.id, Actor::System, "in the console").await.unwrap();
    app.reaches(rollover.id, Phase::Retired).await;
    let twice = operator.revoked(rollover.id, Actor::System, "again").await;
    assert!(matches!(twice, Err(Refusal::NoCredential(Phase::Retired))), "{twice:?}");
}

async fn a_revoked_credential_does_not_come_back(database: Database) {
    let script = Arc::new(Script::default());
    script.uses.lock().unwrap().extend(std::iter::repeat_n("an upload".to_owned(), 100));
    let app = TestApp::join(at_provider(&database, &script), database).await;
    let operator = app.rollovers.operator();
    let roll_back =
        async |rollover: &Rollover| operator.roll_back(rollover.id, Actor::System, "a test").await;
    let rollover = app.begin(credential(Some(NEW))).await.unwrap();
    app.blocked(rollover.id, "an upload").await;
    roll_back(&rollover).await.unwrap();
    app.reaches(rollover.id, Phase::RolledBack).await;
    assert_eq!(present(&app, Secret::AnthropicApiKey), OLD);

    let again = app.begin(credential(Some("sk-newer-0123456789"))).await.unwrap();
    app.blocked(again.id, "an upload").await;
    operator.pause(again.id, Actor::System, "a test").await.unwrap();
    operator.revoked(again.id, Actor::System, "in the console").await.unwrap();
    let refused = roll_back(&again).await;
    assert!(matches!(refused, Err(Refusal::Revoked(_))), "{refused:?}");
    operator.resume(again.id, Actor::System, "a test").await.unwrap();
    app.reaches(again.id, Phase::Retired).await;
}

on_both_databases!(
    a_shared_secret_is_accepted_for_its_grace_and_while_it_is_presented,
    a_hard_rollover_of_a_shared_secret_ends_the_old_one_at_once,
    a_pepper_is_accepted_until_no_hash_needs_it,
    what_needs_the_old_pepper_may_be_given_up_by_name,
    what_nobody_counts_is_not_proven,
    a_credential_is_probed_used_and_revoked,
    a_probe_that_fails_leaves_everything_as_it_was,
    an_operator_says_that_the_old_credential_is_revoked,
    a_revoked_credential_does_not_come_back,
);
