//! A manager that hangs, answers nonsense, or sends elsewhere, is told as that, in time.

use std::time::{Duration, Instant};

use axum::{
    Router,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::any,
};
use breeze_rollover::{
    keyring::sources::Environment,
    manager::{
        Manager, ManagerError,
        aws::SecretsManager,
        vault::{Login, Vault},
    },
    provider::Trust,
};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::{
    api::keys,
    server::{Server, limits, with_either_manager},
};

async fn one_that_hangs_is_not_waited_for_long(server: Server) {
    server.holds(&keys()).await;
    let manager = server.manager();
    manager.read().await.unwrap();
    server.signal("STOP").await;
    let began = Instant::now();
    let told = manager.read().await.unwrap_err();
    assert!(matches!(told, ManagerError::Away(_)), "{told}");
    let longest = (limits().answer + limits().connect) * 2 * limits().tries;
    assert!(began.elapsed() < longest, "{:?}", began.elapsed());
    server.signal("CONT").await;
    assert!(manager.read().await.is_ok());
}

with_either_manager!(one_that_hangs_is_not_waited_for_long);

/// Something that is no manager, ended with this value.
struct Site {
    address: String,
    server: JoinHandle<()>,
}

impl Site {
    async fn answering(status: StatusCode, body: &'static str) -> Self {
        let answer = move || async move {
            let headers = [(header::LOCATION, "http://127.0.0.1:9/elsewhere")];
            (status, headers, body).into_response() as Response
        };
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(any(answer));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, server }
    }

    fn managers(&self) -> [Box<dyn Manager>; 2] {
        let (trust, address) = (Trust::public(), || self.address.parse().unwrap());
        let login = Login::of(Environment::given([("VAULT_TOKEN", "a-token-of-the-tests")]));
        let vault = Vault::new(address(), &trust, limits(), login.unwrap(), "breeze/api");
        let known = Environment::given([
            ("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE"),
            ("AWS_SECRET_ACCESS_KEY", "a-secret-key-of-the-tests"),
            ("AWS_SESSION_TOKEN", "a-session-of-the-tests"),
        ]);
        let aws = SecretsManager::new(address(), &trust, limits(), "r", "breeze/api", known);
        [Box::new(vault), Box::new(aws)]
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.server.abort();
    }
}

#[tokio::test]
async fn nonsense_is_told_as_that_and_a_server_in_trouble_as_one_that_is_away() {
    for (status, body) in [
        (StatusCode::OK, "<html>Welcome!</html>"),
        (StatusCode::OK, "{}"),
        (StatusCode::OK, r#"{"data":{"data":null}}"#),
        (StatusCode::OK, r#"{"data":[1],"VersionId":7}"#),
        (StatusCode::TEMPORARY_REDIRECT, ""),
        (StatusCode::NO_CONTENT, ""),
    ] {
        let site = Site::answering(status, body).await;
        for manager in site.managers() {
            let told = manager.read().await.unwrap_err();
            assert!(matches!(told, ManagerError::Nonsense(_)), "{manager:?} {body}: {told:?}");
        }
    }
    let site = Site::answering(StatusCode::BAD_GATEWAY, "").await;
    for manager in site.managers() {
        let told = manager.read().await.unwrap_err();
        assert!(matches!(told, ManagerError::Away(_)), "{told:?}");
    }
}

#[tokio::test]
async fn nobody_there_is_told_at_once() {
    let site = Site { address: "http://127.0.0.1:9".to_owned(), server: tokio::spawn(async {}) };
    for manager in site.managers() {
        let began = Instant::now();
        let told = manager.read().await.unwrap_err();
        assert!(matches!(told, ManagerError::Away(_)), "{told:?}");
        assert!(began.elapsed() < Duration::from_secs(5));
    }
}

#[tokio::test]
async fn what_repeats_a_secret_is_not_repeated() {
    let vault = r#"{"errors":["bad token a-token-of-the-tests"]}"#;
    let aws = r#"{"__type":"InvalidSignatureException","message":"of a-session-of-the-tests"}"#;
    for (number, said) in [vault, aws].into_iter().enumerate() {
        let site = Site::answering(StatusCode::IM_A_TEAPOT, said).await;
        let told = site.managers()[number].read().await.unwrap_err().to_string();
        assert!(told.contains("[withheld]") && !told.contains("of-the-tests"), "{told}");
    }
}
