//! Mailgun, as `https://documentation.mailgun.com` documents it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use axum::{
    Form, Json, Router,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};
use breeze_rollover::{
    material::Material,
    provider::{Connect, Provider, Trust, mail::Mail, mailgun::Mailgun},
};
use serde_json::json;

use crate::site::{OF_HTTP, Site, World, limits, locked};

pub const OLD: &str = "theoldkeyofthetests0123456789abcdef-11111111-22222222";
pub const NEW: &str = "thenewkeyofthetests0123456789abcdef-11111111-22222222";

type Fields = BTreeMap<String, String>;

/// Which keys are known, and each mail that was taken, with its key.
#[derive(Debug, Default)]
pub struct Known {
    pub keys: Mutex<Vec<&'static str>>,
    pub taken: Mutex<Vec<(String, Fields)>>,
}

pub async fn site() -> (Site, Arc<Known>) {
    let known = Arc::new(Known { keys: Mutex::new(vec![OLD, NEW]), taken: Mutex::default() });
    let router =
        Router::new().route("/v3/{domain}/messages", post(message)).with_state(Arc::clone(&known));
    (Site::start(router).await, known)
}

async fn message(
    State(known): State<Arc<Known>>,
    headers: HeaderMap,
    Path(domain): Path<String>,
    Form(fields): Form<Fields>,
) -> Response {
    let basic = |key: &str| base64_simd::STANDARD.encode_to_string(format!("api:{key}"));
    let sent = headers.get("authorization").map_or("", |value| value.to_str().unwrap());
    let key =
        locked(&known.keys).iter().copied().find(|key| sent == format!("Basic {}", basic(key)));
    let Some(key) = key else {
        return (StatusCode::UNAUTHORIZED, "Forbidden").into_response();
    };
    if domain != "mg.example.test" {
        let body = json!({ "message": "Domain not found" });
        return (StatusCode::NOT_FOUND, Json(body)).into_response();
    }
    locked(&known.taken).push((key.to_owned(), fields));
    Json(json!({ "id": "<1@mg.example.test>", "message": "Queued. Thank you." })).into_response()
}

fn provider(site: &Site, domain: &str) -> Arc<Mailgun> {
    let from = "Breeze <breeze@example.test>".parse().unwrap();
    let address = site.address.parse().unwrap();
    Arc::new(Mailgun::new(address, &Trust::public(), limits(), domain, from))
}

pub async fn world() -> World {
    let (site, known) = site().await;
    World {
        provider: provider(&site, "mg.example.test"),
        site: Arc::new(site),
        moods: OF_HTTP,
        variables: vec![("MAILGUN_API_KEY", OLD.to_owned())],
        new: NEW.to_owned(),
        unknown: |number| format!("anunknownkeyofthetests0123456789abcdef-{number}"),
        malformed: "a key with spaces, that is long enough otherwise",
        secrets: vec!["theoldkey".into(), "thenewkey".into(), "anunknownkey".into()],
        revokes: false,
        kept: Box::new(known),
    }
}

#[tokio::test]
async fn a_probe_delivers_nothing_and_a_mail_goes_out_once() {
    let (site, known) = site().await;
    let (mailgun, old) = (provider(&site, "mg.example.test"), Material::new(OLD).unwrap());
    mailgun.probe(&old).await.unwrap();
    let (_, probe) = locked(&known.taken).remove(0);
    assert_eq!(
        (probe["o:testmode"].as_str(), probe["to"].as_str()),
        ("yes", "breeze@example.test")
    );

    let mail = Mail::new("ann@example.test", "Hello", "A text & more").unwrap();
    mailgun.client(&old).unwrap().send(&mail).await.unwrap();
    let (_, sent) = locked(&known.taken).remove(0);
    assert!(!sent.contains_key("o:testmode"));
    assert_eq!((sent["to"].as_str(), sent["text"].as_str()), ("ann@example.test", "A text & more"));

    // It was taken, and the answer was lost: nobody knows, and it is not sent again.
    site.gate.shut_for("/messages");
    assert!(mailgun.client(&old).unwrap().send(&mail).await.unwrap_err().is_transient());
    site.gate.open();
    assert_eq!(locked(&known.taken).len(), 1);

    let declined = provider(&site, "of.somebody.else").probe(&old).await.unwrap_err();
    assert!(declined.to_string().contains("Domain not found"), "{declined}");
}
