//! What holds of every provider, on both databases.

use std::time::{Duration, Instant};

use breeze_rollover::{
    catalog::Secret,
    embed::Database,
    keyring::{KeyState, sources::Environment},
    operator::{Refusal, Request},
    rollover::{Blocker, Mode, Phase, Rollover},
    store::{Actor, step::Step},
    worker::Next,
};

use crate::{
    site::{Mood, World},
    support::app::{TestApp, on_both_databases, request, setup, variables},
};

macro_rules! promises_of {
    ($($provider:ident $([$($with:tt)*])?),*) => {$(
        mod $provider {
            use crate::support::app::on_both_databases;

            promises_of!(@ $provider [$($($with)*)?]
                a_value_of_another_form_is_refused_at_once,
                a_value_that_the_provider_refuses_changes_nothing,
                a_provider_that_gives_no_good_answer_changes_nothing,
                a_dry_run_tries_the_value_and_changes_nothing,
                a_new_credential_takes_over_and_the_old_one_is_revoked,
                a_hard_rollover_goes_to_its_end,
                after_promotion_the_old_credential_comes_back,
                a_provider_that_is_gone_before_the_end_keeps_its_own_rollover_and_no_other,
            );
        }
    )*};
    (@ $provider:ident [$($with:tt)*] $($promise:ident),* $(,)?) => {
        $(async fn $promise(database: breeze_rollover::embed::Database) {
            crate::promises::$promise(database, crate::$provider::world().await).await;
        })*
        on_both_databases!($($with)* $($promise),*);
    };
}
promises_of!(
    anthropic, cloudflare, resend, mailgun, twilio,
    s3 [with managers_tests, "needs moto; tests/run installs it":],
    smtp [with smtp_tests, "needs aiosmtpd; tests/run installs it":]
);

pub async fn start(database: Database, world: &World) -> TestApp {
    let known = variables().into_iter().map(|(name, value)| (name, value.to_owned()));
    let environment = Environment::given(known.chain(world.variables.clone()));
    let setup = setup(&database).environment(environment).provider(world.provider.clone());
    TestApp::join(setup, database).await
}

pub fn rollover(world: &World, value: &str) -> Request {
    Request {
        value: Some(value.to_owned().into()),
        ..request(world.provider.secret(), Mode::Graceful)
    }
}

async fn a_value_of_another_form_is_refused_at_once(database: Database, world: World) {
    let app = start(database, &world).await;
    let refused = app.begin(rollover(&world, world.malformed)).await;
    assert!(matches!(refused, Err(Refusal::Form(_))), "{refused:?}");
    nothing_has_changed(&app, &world, None).await;
}

async fn a_value_that_the_provider_refuses_changes_nothing(database: Database, world: World) {
    let app = start(database, &world).await;
    let begun = app.begin(rollover(&world, &(world.unknown)(0))).await.unwrap();
    let given_up = app.reaches(begun.id, Phase::Abandoned).await;
    let told = given_up.blocked_by.clone().unwrap();
    assert!(told.starts_with("the provider refused the credential: "), "{told}");
    assert_left_behind(&given_up);
    let entries = app.database.store().audit(None, 200).await.unwrap();
    let mut entries = entries.iter().filter(|entry| entry.action == "rollover.probe");
    let (tried, other) = (entries.next().unwrap(), entries.next());
    assert_eq!((tried.resource_id, &*tried.result), (Some(given_up.id.0), "failure"));
    assert!(other.is_none(), "it is told once: {other:?}");
    nothing_has_changed(&app, &world, Some(given_up)).await;
}

async fn a_provider_that_gives_no_good_answer_changes_nothing(database: Database, world: World) {
    let app = start(database, &world).await;
    for &(mood, words) in world.moods {
        world.site.is(mood);
        let begun = app.begin(rollover(&world, &world.new)).await.unwrap();
        let given_up = app.reaches(begun.id, Phase::Abandoned).await;
        let told = given_up.blocked_by.clone().unwrap();
        assert!(told.contains(words), "{mood:?}: {told}");
        nothing_has_changed(&app, &world, Some(given_up)).await;
    }
    // The very value that was tried in vain is as good as before.
    world.site.is(Mood::Well);
    let begun = app.begin(rollover(&world, &world.new)).await.unwrap();
    while app.rollover(begun.id).await.probed_at.is_none() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn a_dry_run_tries_the_value_and_changes_nothing(database: Database, world: World) {
    let app = start(database, &world).await;
    let dry = |value: &str| Request { dry_run: true, ..rollover(&world, value) };
    let refused = app.begin(dry(&(world.unknown)(0))).await.unwrap_err();
    assert!(matches!(refused, Refusal::Probe(_)), "{refused:?}");
    assert_tells_no_secret(&world, &refused.to_string());
    let begun = app.begin(dry(&world.new)).await.unwrap();
    let rehearsed = app.reaches(begun.id, Phase::Rehearsed).await;
    nothing_has_changed(&app, &world, Some(rehearsed)).await;
}

async fn a_new_credential_takes_over_and_the_old_one_is_revoked(database: Database, world: World) {
    goes_to_its_end(database, &world, Mode::Graceful).await;
}

async fn a_hard_rollover_goes_to_its_end(database: Database, world: World) {
    goes_to_its_end(database, &world, Mode::Hard).await;
}

async fn goes_to_its_end(database: Database, world: &World, mode: Mode) {
    let app = start(database, world).await;
    let secret = world.provider.secret();
    let begun = app.begin(Request { mode, ..rollover(world, &world.new) }).await.unwrap();
    if !world.revokes {
        app.blocked(begun.id, "/revoked").await;
        let old = match mode {
            Mode::Graceful => KeyState::Retiring,
            Mode::Hard => KeyState::Retired,
        };
        assert_eq!(app.key_state(secret, &begun.from_key).await, old);
        let operator = app.rollovers.operator();
        let said = Instant::now();
        operator.revoked(begun.id, Actor::System, "deleted in the console").await.unwrap();
        app.reaches(begun.id, Phase::Retired).await;
        assert!(said.elapsed() < Duration::from_secs(10), "it is looked at at once");
    }
    let retired = app.reaches(begun.id, Phase::Retired).await;
    let new = retired.to_key.clone().unwrap();
    assert_eq!(app.key_state(secret, &new).await, KeyState::Primary);
    assert_eq!(app.key_state(secret, &retired.from_key).await, KeyState::Retired);
    // The report has what was shown on the way.
    let report = retired.report.clone().unwrap();
    let (trial, revocation) = (&report["trial"], &report["revocation"]);
    assert!(trial["at"].is_number() && !trial["shown"].as_str().unwrap().is_empty(), "{report}");
    assert!(revocation["at"].is_number() && revocation["by"] == "system", "{report}");
    let shown = revocation["shown"].as_str().unwrap();
    assert_eq!(shown == "deleted in the console", !world.revokes, "{report}");
    assert!(report["leftBehind"].is_null() && report["seconds"].is_number(), "{report}");
    assert_tells_no_secret(world, &format!("{retired:?} {}", trail(&app).await));
}

async fn after_promotion_the_old_credential_comes_back(database: Database, world: World) {
    let app = start(database, &world).await;
    let secret = world.provider.secret();
    let gate = world.revokes.then(|| &world.site.gate);
    if let Some(gate) = gate {
        gate.shut_for("");
    }
    let begun = app.begin(rollover(&world, &world.new)).await.unwrap();
    // Whoever holds a keychain from before the promotion keeps the old one from being revoked.
    let held = match gate {
        Some(gate) => {
            gate.reached().await;
            let held = app.rollovers.replica().keychain().load_full();
            gate.open();
            app.reaches(begun.id, Phase::Promoted).await;
            Some(held)
        }
        None => {
            app.blocked(begun.id, "/revoked").await;
            None
        }
    };
    let operator = app.rollovers.operator();
    operator.roll_back(begun.id, Actor::System, "a test").await.unwrap();
    drop(held);
    let rolled_back = app.reaches(begun.id, Phase::RolledBack).await;
    assert_left_behind(&rolled_back);
    nothing_has_changed(&app, &world, Some(rolled_back)).await;
    let custody = app.database.store().custody().await.unwrap();
    let primary = custody.keys.iter().find(|k| k.secret == secret && k.id == begun.from_key);
    assert_eq!(primary.unwrap().state, KeyState::Primary);
}

/// A new credential that was not kept has its power at the provider, and the report says
/// how to take it away.
#[track_caller]
fn assert_left_behind(ended: &Rollover) {
    let report = ended.report.as_ref().unwrap();
    let left = &report["leftBehind"];
    assert_eq!(left["key"], ended.to_key.as_ref().unwrap().as_str(), "{report}");
    let by_hand = ended.secret.entry().revoked_by_hand;
    assert!(left["told"].as_str().unwrap().ends_with(by_hand), "{report}");
}

async fn a_provider_that_is_gone_before_the_end_keeps_its_own_rollover_and_no_other(
    database: Database,
    world: World,
) {
    let app = start(database, &world).await;
    let operator = app.rollovers.operator();
    // A request that goes on keeps it from being promoted, once it is proven.
    let in_flight = app.rollovers.replica().keychain().load_full();
    let begun = app.begin(rollover(&world, &world.new)).await.unwrap();
    app.blocked(begun.id, "in flight").await;
    assert!(app.rollover(begun.id).await.probed_at.is_some());
    world.site.is(Mood::Hanging);
    drop(in_flight);
    app.blocked(begun.id, if world.revokes { "no answer in time" } else { "/revoked" }).await;
    let secret = world.provider.secret();
    assert_eq!(app.key_state(secret, &begun.from_key).await, KeyState::Retiring);

    let other = Request { alongside: true, ..request(Secret::JwtSecret, Mode::Graceful) };
    let other = app.begin(other).await.unwrap();
    app.reaches(other.id, Phase::Retired).await;
    assert_eq!(app.key_state(secret, &begun.from_key).await, KeyState::Retiring);

    world.site.is(Mood::Well);
    if !world.revokes {
        operator.revoked(begun.id, Actor::System, "deleted in the console").await.unwrap();
    }
    let retired = app.reaches(begun.id, Phase::Retired).await;
    assert_tells_no_secret(&world, &format!("{retired:?} {}", trail(&app).await));
}

/// The old credential is primary as before, and nobody tells a secret.
async fn nothing_has_changed(app: &TestApp, world: &World, rollover: Option<Rollover>) {
    let custody = app.database.store().custody().await.unwrap();
    let of_it = || custody.keys.iter().filter(|key| key.secret == world.provider.secret());
    assert_eq!(of_it().filter(|key| key.state == KeyState::Primary).count(), 1);
    assert_eq!(of_it().filter(|key| key.state.accepts()).count(), 1, "the old one alone");
    let chain = app.rollovers.replica().keychain().load_full();
    let primary = chain.verbatim(world.provider.secret()).unwrap().primary();
    assert_eq!(Some(primary.id()), of_it().find(|k| k.state == KeyState::Primary).map(|k| &k.id));
    assert_tells_no_secret(world, &format!("{rollover:?} {}", trail(app).await));
}

#[track_caller]
pub fn assert_tells_no_secret(world: &World, told: &str) {
    for secret in &world.secrets {
        assert!(!told.contains(secret), "`{secret}` is told: {told}");
        let base64 = base64_simd::STANDARD.encode_to_string(secret);
        assert!(!told.contains(base64.trim_end_matches('=')), "`{secret}` is told: {told}");
    }
}

/// Everything that the audit trail says.
async fn trail(app: &TestApp) -> String {
    let entries = app.database.store().audit(None, 200).await.unwrap();
    assert!(!entries.is_empty());
    format!("{entries:?}")
}

on_both_databases!(a_process_that_does_not_know_the_provider_spoils_nothing);

async fn a_process_that_does_not_know_the_provider_spoils_nothing(database: Database) {
    let world = crate::anthropic::world().await;
    let known = variables().into_iter().map(|(name, value)| (name, value.to_owned()));
    let environment = Environment::given(known.chain(world.variables.clone()));
    let unaware = setup(&database).environment(environment);
    let unaware = TestApp::join(unaware, database.clone()).await;
    let begun = unaware.begin(rollover(&world, &world.new)).await.unwrap();
    unaware.blocked(begun.id, "not set up with the provider").await;

    let aware = start(database, &world).await;
    aware.rollovers.operator().worker().drive(begun.id).await.unwrap();
    aware.blocked(begun.id, "/revoked").await;

    // Nor does it talk over what the provider has said.
    aware.rollovers.stop_work().await;
    let asked = aware.rollover(begun.id).await;
    let step = Step {
        rollover: &asked,
        from_state: KeyState::Retiring,
        actor: Actor::System,
        because: "a test",
        now: asked.updated_at,
    };
    aware.database.store().commit(&step.ask_again()).await.unwrap();
    let next = unaware.rollovers.operator().worker().drive(begun.id).await.unwrap();
    assert!(matches!(next, Next::After(_, Blocker::NotSetUp)), "{next:?}");
    assert_eq!(unaware.rollover(begun.id).await.blocked_by, asked.blocked_by);
}
