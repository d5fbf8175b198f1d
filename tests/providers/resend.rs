//! Resend, as `https://resend.com/docs/api-reference` documents it.

use std::sync::{Arc, Mutex};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use breeze_rollover::{
    material::Material,
    provider::{Connect, Provider, Trust, mail::Mail, resend::Resend},
};
use serde_json::{Value, json};

use crate::site::{Mood, OF_HTTP, Site, World, limits, locked};

pub const OLD: &str = "re_the_old_key_of_the_tests_0123456789";
pub const NEW: &str = "re_the_new_key_of_the_tests_0123456789";
/// It may send, and nothing else.
const RESTRICTED: &str = "re_a_restricted_key_of_the_tests_01234";

/// Which keys are known, and each mail that was taken: its key, idempotency key and body.
#[derive(Debug, Default)]
pub struct Known {
    pub keys: Mutex<Vec<&'static str>>,
    pub taken: Mutex<Vec<(String, String, Value)>>,
}

fn error(status: u16, name: &str, message: &str) -> Response {
    let body = json!({ "statusCode": status, "name": name, "message": message });
    (StatusCode::from_u16(status).unwrap(), Json(body)).into_response()
}

impl Known {
    fn caller(&self, headers: &HeaderMap) -> Result<String, Response> {
        let bearer = headers.get("authorization").map_or("", |value| value.to_str().unwrap());
        let key = bearer.strip_prefix("Bearer ").unwrap_or_default();
        if key.is_empty() {
            return Err(error(401, "missing_api_key", "Missing API key"));
        }
        let is_known = locked(&self.keys).contains(&key);
        let refused = || error(403, "invalid_api_key", "API key is invalid");
        if is_known { Ok(key.to_owned()) } else { Err(refused()) }
    }
}

pub async fn site() -> (Site, Arc<Known>) {
    let keys = Mutex::new(vec![OLD, NEW, RESTRICTED]);
    let known = Arc::new(Known { keys, taken: Mutex::default() });
    let router = Router::new()
        .route("/domains", get(domains))
        .route("/emails", post(email))
        .with_state(Arc::clone(&known));
    (Site::start(router).await, known)
}

async fn domains(State(known): State<Arc<Known>>, headers: HeaderMap) -> Response {
    match known.caller(&headers).as_deref() {
        Ok(RESTRICTED) => {
            let message = "This API key is restricted to only send emails";
            error(401, "restricted_api_key", message)
        }
        Ok(_) => Json(json!({ "object": "list", "data": [] })).into_response(),
        Err(_) => known.caller(&headers).unwrap_err(),
    }
}

async fn email(
    State(known): State<Arc<Known>>,
    headers: HeaderMap,
    Json(mail): Json<Value>,
) -> Response {
    let key = match known.caller(&headers) {
        Ok(key) => key,
        Err(refused) => return refused,
    };
    let once = headers["idempotency-key"].to_str().unwrap().to_owned();
    let mut taken = locked(&known.taken);
    if !taken.iter().any(|(_, other, _)| *other == once) {
        taken.push((key, once.clone(), mail));
    }
    Json(json!({ "id": once })).into_response()
}

fn provider(site: &Site) -> Arc<Resend> {
    let from = "Breeze <breeze@example.test>".parse().unwrap();
    Arc::new(Resend::new(site.address.parse().unwrap(), &Trust::public(), limits(), from))
}

pub async fn world() -> World {
    let (site, known) = site().await;
    World {
        provider: provider(&site),
        site: Arc::new(site),
        moods: OF_HTTP,
        variables: vec![("RESEND_API_KEY", OLD.to_owned())],
        new: NEW.to_owned(),
        unknown: |number| format!("re_an_unknown_key_of_the_tests_{number}"),
        malformed: "sk-of-somebody-else",
        secrets: vec!["the_old_key".into(), "the_new_key".into(), "an_unknown_key".into()],
        revokes: false,
        kept: Box::new(known),
    }
}

#[tokio::test]
async fn a_key_that_may_only_send_is_fit() {
    let (site, _known) = site().await;
    let restricted = Material::new(RESTRICTED).unwrap();
    let shown = provider(&site).probe(&restricted).await.unwrap();
    assert_eq!(shown, "the key may send mail, and nothing else");
}

#[tokio::test]
async fn a_mail_that_got_no_answer_is_sent_again_and_arrives_once() {
    let (site, known) = site().await;
    let sender = provider(&site).client(&Material::new(OLD).unwrap()).unwrap();
    let mail = Mail::new("ann@example.test", "Hello", "A text").unwrap();
    site.gate.shut_for("/emails");
    let sending = async { sender.send(&mail).await.unwrap() };
    let opening = async {
        site.gate.reached().await;
        // Its answer never comes; the next one does.
        tokio::time::sleep(limits().answer).await;
        site.gate.open();
    };
    tokio::join!(sending, opening);
    let taken = locked(&known.taken).clone();
    let [(_, _, mail)] = &taken[..] else { panic!("{taken:?}") };
    assert_eq!(
        *mail,
        json!({ "from": "Breeze <breeze@example.test>", "to": ["ann@example.test"],
            "subject": "Hello", "text": "A text" })
    );
    site.is(Mood::Overloaded);
    let mail = Mail::new("ann@example.test", "Hello", "A text").unwrap();
    assert!(sender.send(&mail).await.unwrap_err().is_transient());
}
