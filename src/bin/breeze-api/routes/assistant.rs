//! The assistant: what it says to one message.

use axum::{Json as Body, Router, extract::State, routing::post};
use breeze_rollover::{
    problem::Problem,
    provider::{Held, anthropic::Assistant},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    extract::{Caller, Json},
    outside::failed,
    state::App,
};

/// The most tokens of one reply: what there is the time for before a request ends.
const MOST_TOKENS: u32 = 1024;

pub(super) fn routes() -> Router<App> {
    Router::new().route("/assistant/messages", post(say))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Say {
    content: String,
    max_tokens: Option<u32>,
}

/// A key that was revoked at Anthropic while this went out costs no reply: the call is
/// made once more on the key that took its place.
async fn say(
    State(app): State<App>,
    _: Caller,
    Json(body): Json<Say>,
) -> Result<Body<Value>, Problem> {
    if body.content.trim().is_empty() {
        return Err(Problem::unprocessable("content must not be empty"));
    }
    let max_tokens = body.max_tokens.unwrap_or(MOST_TOKENS).clamp(1, MOST_TOKENS);
    let content = body.content.as_str();
    let ask =
        |assistant: Held<Assistant>| async move { assistant.reply(content, max_tokens).await };
    let reply = app.outside.assistant.run(ask).await.map_err(failed("the assistant"))?;
    Ok(Body(json!({ "model": reply.model, "text": reply.text })))
}
