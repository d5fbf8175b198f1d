//! A real S3 server: `s3s` on files, which verifies every signature.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use axum::{Router, body::Body, extract::Request};
use breeze_rollover::{
    embed::Database,
    provider::{
        Current, Trust,
        s3::{S3, Style},
    },
    rollover::Phase,
    store::Actor,
};
use bytes::Bytes;
use futures_util::{TryStreamExt, stream};
use s3s::{
    S3Result,
    auth::{S3Auth, SecretKey},
    s3_error,
    service::S3ServiceBuilder,
};
use s3s_fs::FileSystem;
use tempfile::TempDir;

use crate::{
    promises::{rollover, start},
    site::{Site, World, limits, locked},
    support::app::on_both_databases,
};

pub const BUCKET: &str = "breeze";
pub const OLD: (&str, &str) = ("AKIAOLDOLDOLD", "the-old-secret-of-the-tests-0123456789");
pub const NEW: (&str, &str) = ("AKIANEWNEWNEW", "the-new-secret-of-the-tests-0123456789");

pub fn value((access, secret): (&str, &str)) -> String {
    serde_json::json!({ "S3_ACCESS_KEY": access, "S3_SECRET_KEY": secret }).to_string()
}

/// The pairs that the server knows, and with which each request was signed.
#[derive(Debug, Clone, Default)]
pub struct Pairs {
    pub known: Arc<Mutex<BTreeMap<String, String>>>,
    pub used: Arc<Mutex<Vec<String>>>,
}

#[async_trait::async_trait]
impl S3Auth for Pairs {
    async fn get_secret_key(&self, access: &str) -> S3Result<SecretKey> {
        locked(&self.used).push(access.to_owned());
        let known = locked(&self.known).get(access).cloned();
        known.map(SecretKey::from).ok_or_else(|| s3_error!(InvalidAccessKeyId))
    }
}

impl Pairs {
    pub fn revoke(&self, (access, _): (&str, &str)) {
        locked(&self.known).remove(access);
    }
}

/// A server; its files are gone with the folder.
pub async fn server() -> (Site, Pairs, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join(BUCKET)).unwrap();
    let pairs = Pairs::default();
    for (access, secret) in [OLD, NEW] {
        locked(&pairs.known).insert(access.to_owned(), secret.to_owned());
    }
    let mut builder = S3ServiceBuilder::new(FileSystem::new(folder.path()).unwrap());
    builder.set_auth(pairs.clone());
    let service = builder.build();
    let router = Router::new().fallback(move |request: Request| {
        let service = service.clone();
        async move {
            service.call(request.map(s3s::Body::http_body_unsync)).await.unwrap().map(Body::new)
        }
    });
    (Site::start(router).await, pairs, folder)
}

pub fn provider(address: &str) -> Arc<S3> {
    let address = address.parse().unwrap();
    let trust = Trust::public();
    Arc::new(S3::new(address, &trust, limits(), "us-east-1", BUCKET, Style::Path).unwrap())
}

pub async fn world() -> World {
    let (site, pairs, folder) = server().await;
    World {
        provider: provider(&site.address),
        site: Some(site),
        variables: [("S3_ACCESS_KEY", OLD.0), ("S3_SECRET_KEY", OLD.1)]
            .map(|(name, text)| (name, text.to_owned()))
            .into(),
        new: value(NEW),
        unknown: |number| value((&format!("AKIAUNKNOWN{number}"), "an-unknown-secret")),
        malformed: "AKIAIOSFODNN7EXAMPLE:wJalrXUtnFEMI",
        secrets: vec![OLD.1.into(), NEW.1.into(), "an-unknown-secret".into()],
        revokes: false,
        kept: Box::new((pairs, folder)),
    }
}

on_both_databases!(
    an_upload_in_flight_finishes_on_the_pair_that_it_began_with,
    a_probe_leaves_nothing_behind,
);

async fn an_upload_in_flight_finishes_on_the_pair_that_it_began_with(database: Database) {
    let (site, pairs, _folder) = server().await;
    let world = World { provider: provider(&site.address), ..world().await };
    let app = start(database, &world).await;
    let files = Current::new(provider(&site.address), app.rollovers.replica().keychain());

    // Half of it is sent, and the rest when it is asked for.
    let (sender, receiver) = tokio::sync::mpsc::channel::<Bytes>(1);
    let content = stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|part| (Ok::<_, std::io::Error>(part), receiver))
    });
    let held = files.client().unwrap();
    let upload = tokio::spawn(async move {
        let body = reqwest::Body::wrap_stream(content);
        let done = held.put("files/x", 8, None, body).await;
        drop(held);
        done
    });
    sender.send(Bytes::from_static(b"half")).await.unwrap();
    while locked(&pairs.used).is_empty() {
        tokio::task::yield_now().await;
    }

    let begun = app.begin(rollover(&world, &value(NEW))).await.unwrap();
    app.blocked(begun.id, "in flight").await;
    // A file may take longer than an answer.
    tokio::time::sleep(limits().answer * 2).await;
    sender.send(Bytes::from_static(b"half")).await.unwrap();
    drop(sender);
    upload.await.unwrap().unwrap();
    app.blocked(begun.id, "/revoked").await;
    pairs.revoke(OLD);
    let operator = app.rollovers.operator();
    operator.revoked(begun.id, Actor::System, "deleted in the console").await.unwrap();
    app.reaches(begun.id, Phase::Retired).await;

    locked(&pairs.used).clear();
    let file = files.client().unwrap().get("files/x").await.unwrap().unwrap();
    let read: Vec<Bytes> = file.content().try_collect().await.unwrap();
    assert_eq!(read.concat(), b"halfhalf");
    assert_eq!(*locked(&pairs.used), [NEW.0]);
    assert!(files.client().unwrap().get("files/y").await.unwrap().is_none());
}

async fn a_probe_leaves_nothing_behind(_: Database) {
    let (site, pairs, folder) = server().await;
    let provider: Arc<dyn breeze_rollover::provider::Provider> = provider(&site.address);
    let probe = |secret: &'static str| {
        let provider = Arc::clone(&provider);
        let pair = breeze_rollover::material::Material::new(value((NEW.0, secret))).unwrap();
        async move { provider.probe(&pair).await }
    };
    let shown = probe(NEW.1).await.unwrap();
    assert_eq!(shown, "the pair wrote, read and deleted an object");
    let refused = probe("another-secret-of-a-pair-that-is-known").await.unwrap_err();
    assert!(refused.to_string().contains("SignatureDoesNotMatch"), "{refused}");
    pairs.revoke(NEW);
    let refused = probe(NEW.1).await.unwrap_err();
    assert!(refused.to_string().contains("InvalidAccessKeyId"), "{refused}");
    let left = walk(folder.path().join(BUCKET));
    assert!(left.is_empty(), "{left:?}");
}

/// Every file below `folder`.
fn walk(folder: std::path::PathBuf) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(path) } else { vec![path] }).collect()
}
