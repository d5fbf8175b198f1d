//! A mail and an SMS that an operator sends to see whether they arrive.

use axum::{Json as Body, Router, extract::State, routing::post};
use breeze_rollover::{
    problem::Problem,
    provider::{Held, mail::Mail, twilio::Account},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    extract::{Caller, Json},
    outside::{failed, set_up},
    state::App,
};

const TEXT: &str = "This is a test of Breeze. It asks for nothing.";

pub(super) fn routes() -> Router<App> {
    Router::new().route("/mail/test", post(mail)).route("/sms/test", post(sms))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct To {
    to: String,
}

async fn mail(
    State(app): State<App>,
    caller: Caller,
    Json(body): Json<To>,
) -> Result<Body<Value>, Problem> {
    caller.require_system()?;
    let mail = Mail::new(&body.to, "A test of Breeze", TEXT)
        .map_err(|error| Problem::unprocessable(error.to_string()))?;
    let post = set_up(app.outside.post.as_ref(), "MAIL_FROM and MAIL_PROVIDER")?;
    let said = post.send(&mail).await.map_err(failed("the mail provider"))?;
    Ok(Body(json!({ "said": said })))
}

async fn sms(
    State(app): State<App>,
    caller: Caller,
    Json(body): Json<To>,
) -> Result<Body<Value>, Problem> {
    caller.require_system()?;
    let is_number = body.to.strip_prefix('+').is_some_and(|digits| {
        (8..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit())
    });
    if !is_number {
        return Err(Problem::unprocessable("an SMS goes to a number such as +15551234567"));
    }
    let sms = set_up(app.outside.sms.as_ref(), "TWILIO_FROM")?;
    let to = body.to.as_str();
    let send = |account: Held<Account>| async move { account.send(to, TEXT).await };
    let id = sms.run(send).await.map_err(failed("the SMS provider"))?;
    Ok(Body(json!({ "id": id })))
}
