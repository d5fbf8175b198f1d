//! `breeze-api keys --reveal`: the one way by which a credential that was made leaves the
//! key store, for the environment of the next start.
//!
//! 1. It is for credentials at providers alone: no key that signs, seals or hashes here.
//! 2. The audit trail tells of it before it is done.
//! 3. The value goes into a new file that its owner alone reads, and nowhere else.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::Path,
};

use anyhow::{Context, ensure};
use breeze_rollover::{
    catalog::{Class, Secret},
    clock::{Clock, SystemClock},
    embed::Database,
    keyring::{KeyState, sources::Environment},
    material::Material,
    store::{
        Actor, AuditEntry, KeyRecord, Outcome,
        custody::{self, RootKeys},
    },
};
use serde_json::json;

/// Writes the present credential of `secret` into `file`, which must not be there.
pub(super) async fn reveal(
    database: &Database,
    environment: &Environment,
    secret: Secret,
    file: &Path,
    reason: &str,
) -> anyhow::Result<KeyRecord> {
    ensure!(
        secret.entry().class == Class::Provider,
        "{secret} is no credential at a provider, and does not leave the key store"
    );
    ensure!(!reason.trim().is_empty(), "--reason is empty; the audit trail keeps it");
    let store = database.store();
    let custody = store.custody().await?;
    let is_present = |key: &KeyRecord| key.secret == secret && key.state == KeyState::Primary;
    let key = custody.keys.into_iter().find(is_present);
    let key = key.with_context(|| format!("{secret} has no credential in the key store"))?;
    let beside = database.root_key_file().filter(|file| file.exists());
    let root = RootKeys::open(environment, beside.as_deref())?;
    let material = custody::open(&root, &key)?;
    let told = format!("{} cannot be made", file.display());
    let mut open = private(file).context(told)?;
    let entry = entry(&key, reason.trim());
    let done = match store.record(&entry).await {
        Ok(()) => fill(&mut open, &material).map_err(anyhow::Error::from),
        Err(error) => Err(error.into()),
    };
    if done.is_err() {
        // Nobody takes an empty file for a credential.
        drop(fs::remove_file(file));
    }
    done.map(|()| key)
}

fn private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn fill(file: &mut File, material: &Material) -> io::Result<()> {
    file.write_all(material.expose_source().as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()
}

fn entry(key: &KeyRecord, reason: &str) -> AuditEntry {
    AuditEntry {
        at: SystemClock.now(),
        actor: Actor::System,
        action: "key.reveal".to_owned(),
        resource_type: "key",
        resource_id: None,
        resource_name: Some(format!("{}/{}", key.secret, key.id)),
        details: json!({ "fingerprint": key.fingerprint, "reason": reason }),
        outcome: Outcome::Success,
    }
}
