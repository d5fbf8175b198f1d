use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use http::{Request, Response};
use secrecy::ExposeSecret;
use tower::{Layer, ServiceExt, service_fn};

use super::{Sealed, SealedError, SealedLayer, StaleRow, StaleSink};
use crate::{
    column::{Column, Registry},
    envelope::OpenError,
    ids::Epoch,
    keyring::{
        Keychain, KeychainHandle,
        sources::{Declared, Environment},
    },
};

#[derive(Debug, Clone, Default)]
struct Offers(Arc<Mutex<Vec<StaleRow>>>);

impl StaleSink for Offers {
    fn offer(&self, stale: StaleRow) {
        self.0.lock().unwrap().push(stale);
    }
}

fn keychain(primary: &str, epoch: u64) -> Keychain {
    Declared::read(
        &Environment::given([
            (
                "APP_ENCRYPTION_KEYRING",
                r#"{"k-1":"the first key of a ring","k-2":"the second key of it"}"#,
            ),
            ("APP_ENCRYPTION_KEY_ID", primary),
        ]),
        &[],
    )
    .unwrap()
    .keychain(Epoch(epoch))
    .unwrap()
}

fn layer(handle: &KeychainHandle, offers: &Offers) -> SealedLayer {
    let registry = Registry::empty().with(Column::text("providers", "secret"));
    SealedLayer::new(handle.clone(), registry).lazy(offers.clone())
}

#[tokio::test]
async fn a_request_keeps_the_keychain_that_it_began_with() {
    let handle = KeychainHandle::new(keychain("k-1", 1));
    let offers = Offers::default();
    let inner = {
        let handle = handle.clone();
        service_fn(move |request: Request<()>| {
            handle.publish(keychain("k-2", 2)).unwrap();
            let sealed = request.extensions().get::<Sealed>().unwrap().clone();
            let value = sealed.seal("providers", "secret", "1", "s3cret").unwrap();
            async move { Ok::<_, Infallible>(Response::new(value)) }
        })
    };
    let service = layer(&handle, &offers).layer(inner);
    let response = service.oneshot(Request::new(())).await.unwrap();
    assert!(response.body().starts_with("enc:v3:k-1:"), "{}", response.body());
}

#[test]
fn a_stale_value_opens_at_once_and_its_row_is_offered() {
    let handle = KeychainHandle::new(keychain("k-1", 1));
    let offers = Offers::default();
    let layer = layer(&handle, &offers);
    let value = layer.sealed().seal("providers", "secret", "7", "s3cret").unwrap();
    let opened = layer.sealed().open("providers", "secret", "7", &value).unwrap();
    assert_eq!(opened.expose_secret(), "s3cret");
    assert!(offers.0.lock().unwrap().is_empty(), "nothing is stale yet");

    handle.publish(keychain("k-2", 2)).unwrap();
    let opened = layer.sealed().open("providers", "secret", "7", &value).unwrap();
    assert_eq!(opened.expose_secret(), "s3cret");
    let row = StaleRow { table: "providers".into(), row: "7".into() };
    assert_eq!(*offers.0.lock().unwrap(), [row]);
}

#[test]
fn a_column_that_is_not_registered_and_a_value_of_another_column_are_errors() {
    let handle = KeychainHandle::new(keychain("k-1", 1));
    let registry = Registry::empty()
        .with(Column::text("providers", "secret"))
        .with(Column::text("providers", "other"));
    let sealed = SealedLayer::new(handle, registry).sealed();
    let refused = sealed.open("providers", "sekret", "1", "x");
    assert!(
        matches!(refused, Err(SealedError::NotRegistered(ref name)) if name == "providers.sekret")
    );
    let value = sealed.seal("providers", "secret", "1", "s3cret").unwrap();
    let refused = sealed.open("providers", "other", "1", &value);
    assert_eq!(refused.unwrap_err(), SealedError::Open(OpenError::Authentication));
}
