//! The service, which needs no runtime: nothing here waits.

use std::{
    convert::Infallible,
    pin::pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Duration,
};

use http::{Request, Response, StatusCode};
use secrecy::ExposeSecret;
use tower_layer::Layer;
use tower_service::Service;

use super::{Sealed, SealedError, SealedLayer, StaleRow, StaleSink};
use crate::{
    catalog::Secret,
    clock::Uptime,
    column::{Column, Registry, RowKey},
    envelope::{OpenError, Target},
    ids::{Epoch, KeyId},
    keyring::{
        AnyKeyring, Fence, Fenced, Key, KeyState, Keychain, KeychainHandle, Keyring, SealBudget,
    },
    material::Material,
    problem::Problem,
};

fn keychain(epoch: u64, primary: &str) -> Keychain {
    let keys = ["old", "new"].map(|id| {
        let state = if id == primary { KeyState::Primary } else { KeyState::Retiring };
        let material = Material::new(id).unwrap();
        Key::sealing(
            KeyId::new(id).unwrap(),
            state,
            true,
            &material,
            Arc::new(SealBudget::default()),
        )
    });
    let ring = Keyring::new(keys.into()).unwrap();
    Keychain::new(Epoch(epoch)).with(Secret::AppEncryptionKey, AnyKeyring::Sealing(ring))
}

fn registry() -> Arc<Registry> {
    Arc::new(
        Registry::empty()
            .with(Column::text("webhooks", "secret"))
            .with(Column::json("webhooks", "headers"))
            .with(Column::text("tenant_variables", "value").bound_by_row()),
    )
}

/// Sends one request through `layer` to `handler`: what that came to, if it was
/// reached, and the answer.
fn ask<T>(layer: &SealedLayer, handler: impl Fn(&Sealed) -> T) -> (Option<T>, Response<String>) {
    let mut done = None;
    let service = tower::service_fn(|request: Request<()>| {
        done = Some(handler(request.extensions().get().unwrap()));
        std::future::ready(Ok::<_, Infallible>(Response::new(String::new())))
    });
    let answer = pin!(layer.layer(service).call(Request::new(())));
    let Poll::Ready(answer) = answer.poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("nothing here waits");
    };
    (done, answer.unwrap())
}

fn send<T>(layer: &SealedLayer, handler: impl Fn(&Sealed) -> T) -> T {
    ask(layer, handler).0.unwrap()
}

#[derive(Clone, Default)]
struct Offered(Arc<Mutex<Vec<StaleRow>>>);

impl StaleSink for Offered {
    fn offer(&self, stale: StaleRow) {
        self.0.lock().unwrap().push(stale);
    }
}

#[test]
fn a_request_keeps_its_keys_while_others_are_published() {
    let handle = KeychainHandle::new(keychain(1, "old"));
    let layer = SealedLayer::new(handle.clone(), registry());
    let sealed = send(&layer, |sealed| {
        handle.publish(keychain(2, "new")).unwrap();
        sealed.seal("webhooks", "secret", 1, "s").unwrap()
    });
    assert!(sealed.starts_with("enc:v3:old:"));
    let sealed = send(&layer, |sealed| sealed.seal("webhooks", "secret", 1, "s").unwrap());
    assert!(sealed.starts_with("enc:v3:new:"));
}

#[test]
fn without_its_lease_a_process_lets_nobody_in_and_uses_no_key_for_who_is_in() {
    let fence = Fence::at(Uptime::now().plus(Duration::from_secs(60)));
    let handle = KeychainHandle::new(keychain(1, "old").under(fence.clone()));
    let layer = SealedLayer::new(handle, registry());
    let (text, json) = send(&layer, |sealed| {
        let json = sealed.seal_document("webhooks", "headers", "w", r#"{"token":"t"}"#);
        (sealed.seal("webhooks", "secret", 1, "s").unwrap(), json.unwrap())
    });
    let errors = send(&layer, |sealed| {
        fence.shut();
        [
            sealed.seal("webhooks", "secret", 1, "s").unwrap_err(),
            sealed.open("webhooks", "secret", 1, &text).unwrap_err(),
            sealed.open_document("webhooks", "headers", "w", &json).unwrap_err(),
        ]
    });
    for error in errors {
        assert_eq!(error.fenced(), Some(Fenced));
        assert_eq!(Problem::from(error).code(), "fenced");
    }
    let (reached, answer) = ask(&layer, |_| ());
    assert_eq!((reached, answer.status()), (None, StatusCode::SERVICE_UNAVAILABLE));
    assert_eq!(answer.headers()["retry-after"], "1");

    let document = send(&layer.accepting_while_fenced(), |sealed| {
        assert_eq!(sealed.open("webhooks", "secret", 1, &text).unwrap().expose_secret(), "s");
        sealed.seal_document("webhooks", "headers", "w", r#"{"token":"t"}"#).unwrap_err()
    });
    assert_eq!(document.fenced(), Some(Fenced), "it may be let in, and seals nothing");
}

#[test]
fn reading_a_stale_value_offers_its_row_and_reading_a_fresh_one_does_not() {
    let handle = KeychainHandle::new(keychain(1, "old"));
    let offered = Offered::default();
    let layer = SealedLayer::new(handle.clone(), registry()).lazy(offered.clone());
    let (text, json) = send(&layer, |sealed| {
        let json = "{\"token\":\"t\",\"n\":1.10}";
        (
            sealed.seal("tenant_variables", "value", "r", "s").unwrap(),
            sealed.seal_document("webhooks", "headers", "w", json).unwrap(),
        )
    });
    let read = || {
        send(&layer, |sealed| {
            let text = sealed.open("tenant_variables", "value", "r", &text).unwrap();
            assert_eq!(text.expose_secret(), "s");
            let json = sealed.open_document("webhooks", "headers", "w", &json).unwrap();
            assert_eq!(json.expose_secret(), "{\"token\":\"t\",\"n\":1.10}");
        });
    };
    read();
    assert_eq!(*offered.0.lock().unwrap(), []);
    handle.publish(keychain(2, "new")).unwrap();
    read();
    let stale = |table: &str, row: &str| StaleRow { table: table.into(), row: row.into() };
    assert_eq!(
        *offered.0.lock().unwrap(),
        [stale("tenant_variables", "r"), stale("webhooks", "w")]
    );
}

#[test]
fn the_target_is_kept() {
    let handle = KeychainHandle::new(keychain(1, "old"));
    let layer = SealedLayer::new(handle, registry()).target(Target::Compatible);
    let sealed = send(&layer, |sealed| sealed.seal("webhooks", "secret", 1, "s").unwrap());
    assert!(sealed.starts_with("enc:v2:old:"));
}

#[test]
fn a_column_that_is_not_registered_and_a_value_of_another_row_are_errors() {
    let layer = SealedLayer::new(KeychainHandle::new(keychain(1, "old")), registry());
    send(&layer, |sealed| {
        let error = sealed.open("webhooks", "url", 1, "https://e.test").unwrap_err();
        assert_eq!(
            error.to_string(),
            "webhooks.url is not a registered sealed column; register it"
        );
        assert_eq!(
            sealed.seal("no", "such", 1, "x").unwrap_err(),
            SealedError::Unregistered { table: "no".into(), column: "such".into() }
        );
        let value = sealed.seal("tenant_variables", "value", RowKey::from("a"), "s").unwrap();
        let error = sealed.open("tenant_variables", "value", "b", &value).unwrap_err();
        assert_eq!(
            error,
            SealedError::Open {
                column: "tenant_variables.value".into(),
                error: OpenError::Authentication,
            }
        );
    });
}
