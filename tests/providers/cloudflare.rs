//! Cloudflare, as `https://developers.cloudflare.com/api` documents it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use breeze_rollover::{
    catalog::Secret,
    embed::Database,
    operator::{Check, Refusal, Request},
    provider::{
        Current, Held, Limits, Trust,
        cloudflare::{Cloudflare, Zone},
    },
    rollover::{Mode, Phase},
    store::Actor,
};
use serde_json::{Value, json};

use crate::{
    promises::{rollover, start},
    site::{Mood, OF_HTTP, Site, World, limits, locked},
    support::app::{on_both_databases, request},
};

pub const OLD: &str = "the-old-token-of-the-tests-0123456789-abcdefgh";
pub const NEW: &str = "the-new-token-of-the-tests-0123456789-abcdefgh";
pub const ZONE: &str = "023e105f4ecef8ad9ca31a8372d0c353";
pub const CSR: &str =
    "-----BEGIN CERTIFICATE REQUEST-----\nMIIB\n-----END CERTIFICATE REQUEST-----\n";

/// A token, by its id.
#[derive(Debug, Clone)]
pub struct Token {
    pub value: String,
    pub name: String,
    pub policies: Value,
}

#[derive(Debug, Default)]
pub struct Account {
    pub tokens: Mutex<BTreeMap<String, Token>>,
    pub signed_with: Mutex<Vec<String>>,
    made: Mutex<u32>,
}

/// What a token may do here.
fn policies(rights: &[&str]) -> Value {
    let groups: Vec<_> = rights.iter().map(|right| json!({ "id": right })).collect();
    json!([{ "effect": "allow", "permission_groups": groups, "resources": { "*": "*" } }])
}

pub const EVERYTHING: &[&str] = &["ssl", "tokens"];

impl Account {
    pub fn with(values: &[(&str, &[&str])]) -> Arc<Self> {
        let account = Self::default();
        for (value, rights) in values {
            account.add(format!("token of {value:.8}"), (*value).to_owned(), policies(rights));
        }
        Arc::new(account)
    }

    fn add(&self, name: String, value: String, policies: Value) -> String {
        let mut made = locked(&self.made);
        *made += 1;
        let id = format!("ed17574386854bf78a67040be0a77{:03}", *made);
        locked(&self.tokens).insert(id.clone(), Token { value, name, policies });
        id
    }

    fn new_value(&self) -> String {
        let mut made = locked(&self.made);
        *made += 1;
        format!("a-made-token-of-the-tests-0123456789-abc-{:04}", *made)
    }

    /// The id of the caller's token, which must have `right`.
    fn caller(&self, headers: &HeaderMap, right: Option<&str>) -> Result<String, Response> {
        let bearer = headers.get("authorization").map_or("", |value| value.to_str().unwrap());
        let value = bearer.strip_prefix("Bearer ").unwrap_or_default();
        let tokens = locked(&self.tokens);
        let Some((id, token)) = tokens.iter().find(|(_, token)| token.value == value) else {
            return Err(error(StatusCode::UNAUTHORIZED, 1000, "Invalid API Token"));
        };
        let has = |right: &str| token.policies.to_string().contains(&format!("\"{right}\""));
        match right {
            Some(right) if !has(right) => {
                Err(error(StatusCode::FORBIDDEN, 10000, "Authentication error"))
            }
            _ => Ok(id.clone()),
        }
    }
}

fn error(status: StatusCode, code: u32, message: &str) -> Response {
    let errors = json!([{ "code": code, "message": message }]);
    let body = json!({ "success": false, "errors": errors, "messages": [], "result": null });
    (status, Json(body)).into_response()
}

fn success(result: &Value) -> Response {
    let body = json!({ "success": true, "errors": [], "messages": [], "result": result });
    Json(body).into_response()
}

pub async fn site(account: &Arc<Account>) -> Site {
    let router = Router::new()
        .route("/user/tokens/verify", get(verify))
        .route("/user/tokens", get(list).post(create))
        .route("/user/tokens/{id}", get(read).delete(delete))
        .route("/user/tokens/{id}/value", put(roll))
        .route("/zones/{zone}/client_certificates", post(sign).get(certificates))
        .with_state(Arc::clone(account));
    Site::start(router).await
}

type Known = State<Arc<Account>>;

async fn verify(State(account): Known, headers: HeaderMap) -> Response {
    account
        .caller(&headers, None)
        .map_or_else(|refused| refused, |id| success(&json!({ "id": id, "status": "active" })))
}

async fn list(State(account): Known, headers: HeaderMap) -> Response {
    if let Err(refused) = account.caller(&headers, Some("tokens")) {
        return refused;
    }
    let tokens = locked(&account.tokens);
    let view = |(id, token): (&String, &Token)| json!({ "id": id, "name": token.name });
    success(&tokens.iter().map(view).collect())
}

async fn create(State(account): Known, headers: HeaderMap, Json(asked): Json<Value>) -> Response {
    if let Err(refused) = account.caller(&headers, Some("tokens")) {
        return refused;
    }
    let (name, value) = (asked["name"].as_str().unwrap().to_owned(), account.new_value());
    let id = account.add(name, value.clone(), asked["policies"].clone());
    success(&json!({ "id": id, "value": value }))
}

async fn read(State(account): Known, headers: HeaderMap, Path(id): Path<String>) -> Response {
    if let Err(refused) = account.caller(&headers, Some("tokens")) {
        return refused;
    }
    let tokens = locked(&account.tokens);
    let Some(token) = tokens.get(&id) else { return error(StatusCode::NOT_FOUND, 1001, "none") };
    success(
        &json!({ "id": id, "name": token.name, "status": "active", "policies": token.policies }),
    )
}

async fn delete(State(account): Known, headers: HeaderMap, Path(id): Path<String>) -> Response {
    if let Err(refused) = account.caller(&headers, Some("tokens")) {
        return refused;
    }
    match locked(&account.tokens).remove(&id) {
        Some(_) => success(&json!({ "id": id })),
        None => error(StatusCode::NOT_FOUND, 1001, "none"),
    }
}

async fn roll(State(account): Known, headers: HeaderMap, Path(id): Path<String>) -> Response {
    if let Err(refused) = account.caller(&headers, Some("tokens")) {
        return refused;
    }
    let value = account.new_value();
    match locked(&account.tokens).get_mut(&id) {
        Some(token) => token.value.clone_from(&value),
        None => return error(StatusCode::NOT_FOUND, 1001, "none"),
    }
    success(&value.into())
}

async fn certificates(
    State(account): Known,
    headers: HeaderMap,
    Path(zone): Path<String>,
) -> Response {
    match account.caller(&headers, Some("ssl")) {
        Ok(_) if zone == ZONE => success(&json!([])),
        Ok(_) => error(StatusCode::NOT_FOUND, 7003, "no such zone"),
        Err(refused) => refused,
    }
}

async fn sign(State(account): Known, headers: HeaderMap, Json(asked): Json<Value>) -> Response {
    let id = match account.caller(&headers, Some("ssl")) {
        Ok(id) => id,
        Err(refused) => return refused,
    };
    assert_eq!(asked["csr"], CSR);
    assert!(asked["validity_days"].is_u64(), "{asked}");
    locked(&account.signed_with).push(id);
    let certificate = "-----BEGIN CERTIFICATE-----\nMIIC\n-----END CERTIFICATE-----\n";
    success(&json!({ "id": "7f1a", "certificate": certificate, "status": "active" }))
}

async fn world_of(account: Arc<Account>) -> (World, Arc<Cloudflare>) {
    world_within(limits(), account).await
}

async fn world_within(limits: Limits, account: Arc<Account>) -> (World, Arc<Cloudflare>) {
    let site = site(&account).await;
    let address = site.address.parse().unwrap();
    let provider = Arc::new(Cloudflare::new(address, &Trust::public(), limits, ZONE));
    let world = World {
        provider: provider.clone(),
        site: Arc::new(site),
        moods: OF_HTTP,
        variables: vec![("CLOUDFLARE_API_TOKEN", OLD.to_owned())],
        new: NEW.to_owned(),
        unknown: |number| format!("an-unknown-token-of-the-tests-0123456789-{number}"),
        malformed: "c2547eb745079dac9320b638f5e225cf483cc", // a global key, which may do all
        secrets: ["the-old-token", "the-new-token", "an-unknown-token", "a-made-token"]
            .map(str::to_owned)
            .into(),
        revokes: true,
        kept: Box::new(account),
    };
    (world, provider)
}

pub async fn world() -> World {
    world_of(Account::with(&[(OLD, EVERYTHING), (NEW, EVERYTHING)])).await.0
}

on_both_databases!(
    a_token_is_made_used_and_the_old_one_deleted,
    a_token_that_lacks_the_zone_is_refused_before_anything_depends_on_it,
    what_a_token_may_not_do_is_left_to_an_operator,
    a_copy_that_was_lost_on_the_way_is_not_left_over,
    a_provider_that_hangs_holds_up_nobody_else,
    nothing_goes_back_to_a_token_that_may_be_deleted,
    a_token_that_is_not_deleted_after_all_may_come_back,
);

async fn a_token_is_made_used_and_the_old_one_deleted(database: Database) {
    let account = Account::with(&[(OLD, EVERYTHING)]);
    let (world, provider) = world_of(Arc::clone(&account)).await;
    let app = start(database, &world).await;
    let zone = Current::new(provider, app.rollovers.replica().keychain());
    let sign = |zone: Held<Zone>| async move { zone.sign(CSR, 30).await };
    zone.run(sign).await.unwrap();
    let old = locked(&account.tokens).keys().next().unwrap().clone();

    let without_value = request(world.provider.secret(), Mode::Graceful);
    let begun = app.begin(without_value).await.unwrap();
    app.reaches(begun.id, Phase::Retired).await;
    zone.run(sign).await.unwrap();
    let tokens = locked(&account.tokens).clone();
    let [(new, token)] = tokens.iter().collect::<Vec<_>>()[..] else { panic!("{tokens:?}") };
    assert_eq!(token.policies, policies(EVERYTHING), "a copy has the same rights");
    assert_eq!(*locked(&account.signed_with), [old, new.clone()]);
}

async fn a_token_that_lacks_the_zone_is_refused_before_anything_depends_on_it(database: Database) {
    let account = Account::with(&[(OLD, EVERYTHING), (NEW, &["tokens"])]);
    let (world, _) = world_of(account).await;
    let app = start(database, &world).await;
    let begun = app.begin(rollover(&world, NEW)).await.unwrap();
    let given_up = app.reaches(begun.id, Phase::Abandoned).await;
    let told = given_up.blocked_by.unwrap();
    assert!(told.contains("lacks a right") && told.contains("Authentication error"), "{told}");
}

async fn what_a_token_may_not_do_is_left_to_an_operator(database: Database) {
    let account = Account::with(&[(OLD, &["ssl"]), (NEW, &["ssl"])]);
    let (world, _) = world_of(Arc::clone(&account)).await;
    let app = start(database, &world).await;
    let without_value = Request { value: None, ..rollover(&world, NEW) };
    let begun = app.begin(without_value).await.unwrap();
    let refused = app.reaches(begun.id, Phase::Refused).await;
    assert!(refused.blocked_by.unwrap().contains("may not make tokens"));

    let begun = app.begin(rollover(&world, NEW)).await.unwrap();
    app.blocked(begun.id, "delete the old one at Cloudflare").await;
    assert_eq!(locked(&account.tokens).len(), 2, "nothing is deleted behind anyone's back");

    // It is asked once a minute, however often the rollover is looked at.
    let (site, operator) = (&world.site, app.rollovers.operator());
    let calls = site.calls();
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert_eq!(site.calls(), calls);

    // Deleted by hand, and not said so: nothing goes back to it.
    locked(&account.tokens).retain(|_, token| token.value != OLD);
    let refused = operator.roll_back(begun.id, Actor::System, "a test").await.unwrap_err();
    assert!(matches!(refused, Refusal::Dead(_)), "{refused:?}");
    assert!(refused.to_string().contains("Invalid API Token"), "{refused}");
    operator.resume(begun.id, Actor::System, "see for yourself").await.unwrap();
    let retired = app.reaches(begun.id, Phase::Retired).await;
    let shown = retired.report.unwrap()["revocation"]["shown"].to_string();
    assert!(shown.contains("Cloudflare knows the old token no more"), "{shown}");
}

/// The process died when the provider had made a token, and before it was stored.
async fn a_copy_that_was_lost_on_the_way_is_not_left_over(database: Database) {
    let account = Account::with(&[(OLD, EVERYTHING)]);
    let (world, _) = world_of(Arc::clone(&account)).await;
    let present = breeze_rollover::material::Material::new(OLD).unwrap();
    let lost = world.provider.make(&present).await.unwrap();
    assert_eq!(locked(&account.tokens).len(), 2);

    let app = start(database, &world).await;
    let without_value = Request { value: None, ..rollover(&world, NEW) };
    let begun = app.begin(without_value).await.unwrap();
    app.reaches(begun.id, Phase::Retired).await;
    let tokens = locked(&account.tokens).clone();
    assert_eq!(tokens.len(), 1, "{tokens:?}");
    let refused = world.provider.probe(&lost).await.unwrap_err();
    assert!(refused.to_string().contains("Invalid API Token"), "the lost value is dead: {refused}");
}

/// With the limits of production, on two replicas, for longer than a task may wait.
async fn a_provider_that_hangs_holds_up_nobody_else(database: Database) {
    let account = Account::with(&[(OLD, EVERYTHING), (NEW, EVERYTHING)]);
    let (world, provider) = world_within(Limits::default(), Arc::clone(&account)).await;
    let app = start(database.clone(), &world).await;
    let _another = start(database, &world).await;
    let (site, operator) = (&world.site, app.rollovers.operator());
    let zone = Current::new(provider, app.rollovers.replica().keychain());
    let held = zone.client().unwrap();
    let begun = app.begin(rollover(&world, NEW)).await.unwrap();
    app.blocked(begun.id, "in flight").await;
    site.is(Mood::Hanging);
    let calls = site.calls();
    drop(held);
    app.reaches(begun.id, Phase::Promoted).await;

    let hangs = Instant::now();
    let mut others = 0;
    while hangs.elapsed() < Duration::from_secs(50) {
        let signing = Request { alongside: true, ..request(Secret::JwtSecret, Mode::Graceful) };
        let other = app.begin(signing).await.unwrap();
        let asked = Instant::now();
        app.reaches(other.id, Phase::Retired).await;
        assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
        // A replica may lag for a moment behind what has just ended; tasks are taken.
        let mut ailments = operator.ailments().await.unwrap();
        while !ailments.is_empty() {
            assert!(ailments.iter().all(|it| it.check == Check::Replicas), "{ailments:?}");
            assert!(asked.elapsed() < Duration::from_secs(30), "{ailments:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
            ailments = operator.ailments().await.unwrap();
        }
        others += 1;
    }
    assert!(others > 2, "{others}");
    // Three tries of ten seconds each, five seconds, and three more.
    let calls = site.calls() - calls;
    assert!((4..=6).contains(&calls), "{calls}");
    assert_eq!(locked(&account.tokens).len(), 2, "the old token has its power still");

    // It is asked at this moment, and whoever deletes the token by hand waits for nothing.
    let said = Instant::now();
    operator.revoked(begun.id, Actor::System, "deleted in the console").await.unwrap();
    app.reaches(begun.id, Phase::Retired).await;
    assert!(said.elapsed() < Duration::from_secs(8), "{:?}", said.elapsed());
}

async fn nothing_goes_back_to_a_token_that_may_be_deleted(database: Database) {
    let account = Account::with(&[(OLD, EVERYTHING), (NEW, EVERYTHING)]);
    let (world, _) = world_of(Arc::clone(&account)).await;
    let app = start(database, &world).await;
    let (site, operator) = (&world.site, app.rollovers.operator());
    site.gate.shut_for("DELETE /user/tokens");
    let begun = app.begin(rollover(&world, NEW)).await.unwrap();
    // Deleted, and not yet told.
    site.gate.reached().await;
    site.is(Mood::Hanging);
    assert_eq!(locked(&account.tokens).len(), 1);
    let refused = operator.roll_back(begun.id, Actor::System, "a test").await.unwrap_err();
    assert!(matches!(refused, Refusal::Revoking(_)), "{refused:?}");
    // Nor once the answer is lost, nor while nobody asks.
    app.blocked(begun.id, "no answer in time").await;
    operator.pause(begun.id, Actor::System, "a test").await.unwrap();
    let refused = operator.roll_back(begun.id, Actor::System, "a test").await.unwrap_err();
    assert!(matches!(refused, Refusal::Revoking(_)), "{refused:?}");
    assert!(refused.to_string().contains("wait until it has answered"), "{refused}");

    site.is(Mood::Well);
    operator.resume(begun.id, Actor::System, "a test").await.unwrap();
    let retired = app.reaches(begun.id, Phase::Retired).await;
    assert_eq!((retired.revoking_at, retired.asked_by), (None, None));
    let primary = app.key_state(world.provider.secret(), retired.to_key.as_ref().unwrap()).await;
    assert_eq!(primary, breeze_rollover::keyring::KeyState::Primary);
}

/// The provider does not answer at first, and then that it does not do it.
async fn a_token_that_is_not_deleted_after_all_may_come_back(database: Database) {
    let account = Account::with(&[(OLD, EVERYTHING), (NEW, &["ssl"])]);
    let (world, _) = world_of(Arc::clone(&account)).await;
    let app = start(database, &world).await;
    let (site, operator) = (&world.site, app.rollovers.operator());
    site.gate.shut_for("DELETE /user/tokens");
    let begun = app.begin(rollover(&world, NEW)).await.unwrap();
    site.gate.reached().await;
    let refused = operator.roll_back(begun.id, Actor::System, "a test").await.unwrap_err();
    assert!(matches!(refused, Refusal::Revoking(_)), "{refused:?}");
    site.gate.open();
    let waits = app.blocked(begun.id, "delete the old one at Cloudflare").await;
    assert_eq!(waits.revoking_at, None, "it has not done it");
    operator.roll_back(begun.id, Actor::System, "a test").await.unwrap();
    app.reaches(begun.id, Phase::RolledBack).await;
    assert_eq!(locked(&account.tokens).len(), 2);
}
