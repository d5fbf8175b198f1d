//! Twilio, as `https://www.twilio.com/docs` documents it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use axum::{
    Form, Json, Router,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use breeze_rollover::{
    embed::Database,
    operator::Request,
    provider::{Trust, twilio::Twilio},
    rollover::Phase,
    store::Actor,
};
use serde_json::json;

use crate::{
    promises::{rollover, start},
    site::{OF_HTTP, Site, World, limits, locked},
    support::app::on_both_databases,
};

pub const SID: &str = "AC0123456789abcdef0123456789abcdef";
pub const OLD: &str = "0000000001dc0dec0dec0dec0dec0dec";
pub const NEW: &str = "0000000002dc0dec0dec0dec0dec0dec";
pub const MADE: &str = "0000000003dc0dec0dec0dec0dec0dec";

pub fn value(token: &str) -> String {
    json!({ "TWILIO_ACCOUNT_SID": SID, "TWILIO_AUTH_TOKEN": token }).to_string()
}

/// The account's tokens, and with which of them each SMS was sent.
#[derive(Debug, Default)]
pub struct Account {
    pub primary: Mutex<String>,
    pub secondary: Mutex<Option<String>>,
    pub sent: Mutex<Vec<(String, BTreeMap<String, String>)>>,
    made: AtomicU32,
}

fn error(status: u16, code: u32, message: &str) -> Response {
    let body = json!({ "code": code, "message": message, "status": status });
    (StatusCode::from_u16(status).unwrap(), Json(body)).into_response()
}

impl Account {
    fn caller(&self, headers: &HeaderMap) -> Result<String, Response> {
        let sent = headers.get("authorization").map_or("", |value| value.to_str().unwrap());
        let tokens = [Some(locked(&self.primary).clone()), locked(&self.secondary).clone()];
        let basic = |token: &str| {
            let pair = base64_simd::STANDARD.encode_to_string(format!("{SID}:{token}"));
            format!("Basic {pair}")
        };
        let known = tokens.into_iter().flatten().find(|token| sent == basic(token));
        known.ok_or_else(|| error(401, 20003, "Authenticate"))
    }
}

pub async fn site(secondary: Option<&str>) -> (Site, Arc<Account>) {
    let account = Arc::new(Account {
        primary: Mutex::new(OLD.to_owned()),
        secondary: Mutex::new(secondary.map(str::to_owned)),
        sent: Mutex::default(),
        made: AtomicU32::default(),
    });
    let router = Router::new()
        .route("/2010-04-01/Accounts/{file}", get(read))
        .route("/2010-04-01/Accounts/{sid}/Messages.json", post(message))
        .route("/v1/AuthTokens/Secondary", post(secondary_token))
        .route("/v1/AuthTokens/Promote", post(promote))
        .with_state(Arc::clone(&account));
    (Site::start(router).await, account)
}

type Known = State<Arc<Account>>;

async fn read(State(account): Known, headers: HeaderMap, Path(file): Path<String>) -> Response {
    match account.caller(&headers) {
        Ok(_) if file == format!("{SID}.json") => {
            Json(json!({ "sid": SID, "status": "active" })).into_response()
        }
        Ok(_) => error(404, 20404, "no such account"),
        Err(refused) => refused,
    }
}

async fn message(
    State(account): Known,
    headers: HeaderMap,
    Form(fields): Form<BTreeMap<String, String>>,
) -> Response {
    match account.caller(&headers) {
        Ok(token) => {
            locked(&account.sent).push((token, fields));
            let body = json!({ "sid": "SM0123", "status": "queued" });
            (StatusCode::CREATED, Json(body)).into_response()
        }
        Err(refused) => refused,
    }
}

async fn secondary_token(State(account): Known, headers: HeaderMap) -> Response {
    if let Err(refused) = account.caller(&headers) {
        return refused;
    }
    let mut secondary = locked(&account.secondary);
    if secondary.is_some() {
        return error(400, 20001, "there is a secondary token already");
    }
    // The first is `MADE`, and no two are the same.
    let number = account.made.fetch_add(1, Ordering::Relaxed);
    let made = format!("{:010}{}", number + 3, &MADE[10..]);
    let body = json!({ "account_sid": SID, "secondary_auth_token": made });
    *secondary = Some(made);
    (StatusCode::CREATED, Json(body)).into_response()
}

async fn promote(State(account): Known, headers: HeaderMap) -> Response {
    if let Err(refused) = account.caller(&headers) {
        return refused;
    }
    let Some(promoted) = locked(&account.secondary).take() else {
        return error(400, 20001, "there is no secondary token");
    };
    locked(&account.primary).clone_from(&promoted);
    Json(json!({ "account_sid": SID, "auth_token": promoted })).into_response()
}

fn world_on(site: Site, account: Arc<Account>) -> World {
    let address = || site.address.parse().unwrap();
    let from = "+15550000001";
    let provider = Twilio::new(address(), address(), &Trust::public(), limits(), from);
    World {
        provider: Arc::new(provider),
        variables: [("TWILIO_ACCOUNT_SID", SID), ("TWILIO_AUTH_TOKEN", OLD)]
            .map(|(name, text)| (name, text.to_owned()))
            .into(),
        new: value(NEW),
        unknown: |number| value(&format!("{number:08x}ffffffffffffffffffffffff")),
        malformed: "0123456789abcdef0123456789abcdef",
        secrets: [OLD, NEW, MADE, "ffffffffffffffffffffffff"].map(str::to_owned).into(),
        revokes: true,
        site: Arc::new(site),
        moods: OF_HTTP,
        kept: Box::new(account),
    }
}

pub async fn world() -> World {
    let (site, account) = site(Some(NEW)).await;
    world_on(site, account)
}

on_both_databases!(
    a_secondary_token_is_made_and_promoting_it_ends_the_old_one,
    a_secondary_token_of_somebody_else_is_left_alone,
    a_token_that_a_rollover_has_left_is_told_of_and_gone_once_it_is_deleted,
);

async fn a_secondary_token_is_made_and_promoting_it_ends_the_old_one(database: Database) {
    let (site, account) = site(None).await;
    let world = world_on(site, Arc::clone(&account));
    let app = start(database, &world).await;
    let begun = app.begin(Request { value: None, ..rollover(&world, NEW) }).await.unwrap();
    app.reaches(begun.id, Phase::Retired).await;
    assert_eq!(*locked(&account.primary), MADE);
    assert_eq!(*locked(&account.secondary), None);
}

async fn a_secondary_token_of_somebody_else_is_left_alone(database: Database) {
    let (site, account) = site(Some(NEW)).await;
    let world = world_on(site, Arc::clone(&account));
    let app = start(database, &world).await;
    let begun = app.begin(Request { value: None, ..rollover(&world, NEW) }).await.unwrap();
    let refused = app.reaches(begun.id, Phase::Refused).await;
    assert!(refused.blocked_by.unwrap().contains("hand that in as `value`"));
    assert_eq!(locked(&account.secondary).as_deref(), Some(NEW));
}

async fn a_token_that_a_rollover_has_left_is_told_of_and_gone_once_it_is_deleted(
    database: Database,
) {
    let (site, account) = site(None).await;
    let world = world_on(site, Arc::clone(&account));
    let app = start(database, &world).await;
    let without_value = || Request { value: None, ..rollover(&world, NEW) };
    // Made, and not promoted for as long as this request goes on.
    let in_flight = app.rollovers.replica().keychain().load_full();
    let begun = app.begin(without_value()).await.unwrap();
    app.blocked(begun.id, "in flight").await;
    let operator = app.rollovers.operator();
    operator.roll_back(begun.id, Actor::System, "not today").await.unwrap();
    drop(in_flight);
    app.reaches(begun.id, Phase::Abandoned).await;
    assert_eq!(locked(&account.secondary).as_deref(), Some(MADE));

    let begun = app.begin(without_value()).await.unwrap();
    let refused = app.reaches(begun.id, Phase::Refused).await;
    let told = refused.blocked_by.unwrap();
    assert!(told.contains("delete it (DELETE /v1/AuthTokens/Secondary"), "{told}");
    assert_eq!(*locked(&account.primary), OLD, "the old one works on");
    *locked(&account.secondary) = None;
    let begun = app.begin(without_value()).await.unwrap();
    app.reaches(begun.id, Phase::Retired).await;
    assert!(![OLD, MADE].contains(&locked(&account.primary).as_str()));
}
