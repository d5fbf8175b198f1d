//! Anthropic, as `https://docs.anthropic.com/en/api` documents it.

use std::{
    sync::{Arc, Mutex},
    time::Instant,
};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use breeze_rollover::{
    embed::Database,
    material::Material,
    operator::Request,
    provider::{
        Connect, Current, Held, Trust,
        anthropic::{Anthropic, Assistant},
    },
    rollover::{Mode, Phase},
};
use serde_json::{Value, json};

use crate::{
    promises::{rollover, start},
    site::{Mood, OF_HTTP, Site, World, limits, locked},
    support::app::on_both_databases,
};

pub const OLD: &str = "sk-ant-api03-the-old-key-of-the-tests-0123456789";
pub const NEW: &str = "sk-ant-api03-the-new-key-of-the-tests-0123456789";

/// Who is known, and with which keys messages were sent.
#[derive(Debug, Default)]
pub struct Known {
    pub keys: Mutex<Vec<&'static str>>,
    pub used: Mutex<Vec<String>>,
}

impl Known {
    fn refuses(&self, headers: &HeaderMap) -> Option<Response> {
        let of = |name: &str| headers.get(name).map_or("", |value| value.to_str().unwrap());
        if of("anthropic-version") != "2023-06-01" {
            return Some(error(StatusCode::BAD_REQUEST, "invalid_request_error", "which version?"));
        }
        let is_known = locked(&self.keys).contains(&of("x-api-key"));
        let refused =
            || error(StatusCode::UNAUTHORIZED, "authentication_error", "invalid x-api-key");
        (!is_known).then(refused)
    }
}

fn error(status: StatusCode, kind: &str, message: &str) -> Response {
    let body = json!({ "type": "error", "error": { "type": kind, "message": message } });
    (status, Json(body)).into_response()
}

pub async fn site() -> (Site, Arc<Known>) {
    let known = Arc::new(Known { keys: Mutex::new(vec![OLD, NEW]), used: Mutex::default() });
    let router = Router::new()
        .route("/v1/models/{model}", get(model))
        .route("/v1/messages", post(message))
        .with_state(Arc::clone(&known));
    (Site::start(router).await, known)
}

async fn model(
    State(known): State<Arc<Known>>,
    headers: HeaderMap,
    Path(model): Path<String>,
) -> Response {
    if let Some(refused) = known.refuses(&headers) {
        return refused;
    }
    Json(json!({ "type": "model", "id": model, "display_name": "A Model" })).into_response()
}

async fn message(
    State(known): State<Arc<Known>>,
    headers: HeaderMap,
    Json(asked): Json<Value>,
) -> Response {
    locked(&known.used).push(headers["x-api-key"].to_str().unwrap().to_owned());
    if let Some(refused) = known.refuses(&headers) {
        return refused;
    }
    let said = format!("you said {}", asked["messages"][0]["content"].as_str().unwrap());
    Json(json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": asked["model"],
        "content": [{ "type": "text", "text": said }], "stop_reason": "end_turn",
    }))
    .into_response()
}

pub async fn world() -> World {
    let (site, known) = site().await;
    let address = site.address.parse().unwrap();
    World {
        provider: Arc::new(Anthropic::new(address, &Trust::public(), limits(), "a-model")),
        site: Arc::new(site),
        moods: OF_HTTP,
        variables: vec![("ANTHROPIC_API_KEY", OLD.to_owned())],
        new: NEW.to_owned(),
        unknown: |number| format!("sk-ant-api03-an-unknown-key-{number}"),
        malformed: "sk-proj-of-somebody-else",
        secrets: vec!["the-old-key-of".into(), "the-new-key-of".into(), "an-unknown-key".into()],
        revokes: false,
        kept: Box::new(known),
    }
}

on_both_databases!(a_call_whose_key_is_revoked_meanwhile_is_made_again_on_the_new_one);

async fn a_call_whose_key_is_revoked_meanwhile_is_made_again_on_the_new_one(database: Database) {
    let (site, known) = site().await;
    let provider = Arc::new(Anthropic::new(
        site.address.parse().unwrap(),
        &Trust::public(),
        limits(),
        "a-model",
    ));
    let world = World { provider: provider.clone(), ..world().await };
    let app = start(database, &world).await;
    let assistant = Arc::new(Current::new(provider, app.rollovers.replica().keychain()));
    let say = {
        let assistant = Arc::clone(&assistant);
        move |said: &'static str| {
            let assistant = Arc::clone(&assistant);
            async move {
                let ask = |held: Held<Assistant>| async move { held.reply(said, 16).await };
                assistant.run(ask).await.map(|reply| reply.text)
            }
        }
    };
    assert_eq!(say("hello").await.unwrap(), "you said hello");

    // Revoked by hand at once: the call that is in flight is answered with 401.
    locked(&known.keys).retain(|key| *key != OLD);
    site.gate.shut_for("/v1/messages");
    let in_flight = tokio::spawn(say("again"));
    site.gate.reached().await;
    let hard = Request { mode: Mode::Hard, ..rollover(&world, NEW) };
    let begun = app.begin(hard).await.unwrap();
    app.reaches(begun.id, Phase::Promoted).await;
    let new = Material::new(NEW).unwrap().fingerprint();
    while assistant.client().unwrap().fingerprint() != new {
        tokio::task::yield_now().await;
    }
    site.gate.open();
    assert_eq!(in_flight.await.unwrap().unwrap(), "you said again");
    assert_eq!(*locked(&known.used), [OLD, OLD, NEW]);

    // With nothing to take its place, a refusal is one call and no more.
    locked(&known.keys).clear();
    assert!(say("once more").await.unwrap_err().to_string().contains("invalid x-api-key"));
    assert_eq!(locked(&known.used).len(), 4);
}

#[tokio::test]
async fn a_reply_that_may_have_been_said_is_asked_for_once() {
    let (site, known) = site().await;
    let address = site.address.parse().unwrap();
    let anthropic = Anthropic::new(address, &Trust::public(), limits(), "a-model");
    let assistant = anthropic.client(&Material::new(OLD).unwrap()).unwrap();
    site.gate.shut_for("/v1/messages");
    let begun = Instant::now();
    let error = assistant.reply("hello", 16).await.unwrap_err();
    assert!(error.to_string().contains("no answer in time"), "{error}");
    assert!(begun.elapsed() > limits().answer, "it has more time than others");
    assert_eq!(locked(&known.used).len(), 1, "it may have been said, and is paid for");

    site.gate.open();
    site.is(Mood::Failing);
    assert!(assistant.reply("hello", 16).await.unwrap_err().to_string().contains("500"));
    assert_eq!(locked(&known.used).len(), 2);
}
