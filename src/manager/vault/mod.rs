//! Vault and OpenBao: a secret of the KV engine, version 2.
//!
//! 1. A version is read whole, or not at all: one that is deleted or destroyed is told as
//!    that.
//! 2. A write carries the version that it takes the place of (`options.cas`): Vault makes
//!    it, or refuses it, whatever other writers do.
//! 3. A login is renewed when two thirds of its time have passed, and made anew when it
//!    cannot be renewed, or is refused.
//!
//! The calls are `GET` and `POST {mount}/data/{path}`, and those of [`Login`].

mod door;
mod login;

use std::fmt;

use async_trait::async_trait;
use http::{Method, StatusCode, header::CONTENT_TYPE};
use reqwest::RequestBuilder;
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use self::door::Door;
pub use self::login::{Login, UnfitLogin};
use super::{Fields, Manager, ManagerError, Revision, heard::Heard};
use crate::provider::{Address, Limits, Trust, patience::Again};

/// One secret of a KV engine, version 2.
pub struct Vault {
    door: Door,
    login: Login,
    mount: String,
    path: String,
    name: String,
}

impl Vault {
    /// The secret at `path` of the engine that is mounted at `secret`.
    #[must_use]
    pub fn new(address: Address, trust: &Trust, limits: Limits, login: Login, path: &str) -> Self {
        let path = path.trim_matches('/').to_owned();
        let door = Door::new(address, trust, limits);
        Self { door, login, mount: String::new(), path, name: String::new() }.mounted_at("secret")
    }

    /// The same of an engine that is mounted elsewhere.
    #[must_use]
    pub fn mounted_at(mut self, mount: &str) -> Self {
        mount.trim_matches('/').clone_into(&mut self.mount);
        self.name = format!("Vault at {} ({}/{})", self.door.address(), self.mount, self.path);
        self
    }

    /// The same in a namespace; `None` for what can be no header.
    #[must_use]
    pub fn in_namespace(self, namespace: &str) -> Option<Self> {
        Some(Self { door: self.door.in_namespace(namespace)?, ..self })
    }

    /// The answer to a call for the secret. A login that is refused is made anew, once:
    /// it may have been revoked, or another one put in its place.
    async fn asked(
        &self,
        again: Again,
        withheld: &[&str],
        call: impl Fn(&[&str]) -> RequestBuilder,
    ) -> Result<Heard, ManagerError> {
        let mut segments = vec!["v1"];
        segments.extend(self.mount.split('/').chain(["data"]).chain(self.path.split('/')));
        let ask = async || {
            let token = self.login.token(&self.door).await?;
            self.door.asked(token.expose_secret(), withheld, again, || call(&segments)).await
        };
        let heard = ask().await?;
        if heard.status() != StatusCode::FORBIDDEN {
            return Ok(heard);
        }
        self.login.forget().await;
        ask().await
    }

    async fn at(&self, version: Option<&str>) -> Result<Revision, ManagerError> {
        let version: Vec<_> = version.into_iter().map(|version| ("version", version)).collect();
        let call = |segments: &[&str]| self.door.request(Method::GET, segments).query(&version);
        let heard = self.asked(Again::Always, &[], call).await?;
        match heard.status() {
            StatusCode::OK => revision(&heard),
            StatusCode::FORBIDDEN => Err(denied("reading the secret", &heard)),
            StatusCode::NOT_FOUND => Err(self.missing(&heard)),
            _ => Err(heard.declined()),
        }
    }

    /// What is not there. With metadata, it once was.
    fn missing(&self, heard: &Heard) -> ManagerError {
        let read: Option<Answered<Read<'_>>> = serde_json::from_slice(heard.body()).ok();
        match read.and_then(|read| read.data?.metadata) {
            Some(metadata) => ManagerError::Gone(metadata.version.to_string()),
            None => ManagerError::Missing(format!("{}/{}", self.mount, self.path)),
        }
    }
}

#[async_trait]
impl Manager for Vault {
    fn name(&self) -> &str {
        &self.name
    }

    async fn read(&self) -> Result<Revision, ManagerError> {
        self.at(None).await
    }

    async fn read_version(&self, version: &str) -> Result<Revision, ManagerError> {
        self.at(Some(version)).await
    }

    async fn write(&self, fields: &Fields, present: &str) -> Result<String, ManagerError> {
        let data = fields.to_json();
        let present: u64 = present.parse().map_err(|_| ManagerError::Overtaken)?;
        let data = data.expose_secret();
        let body = Zeroizing::new(format!(r#"{{"options":{{"cas":{present}}},"data":{data}}}"#));
        let secrets = fields.secrets();
        let secrets: Vec<_> = secrets.iter().map(ExposeSecret::expose_secret).collect();
        let call = |segments: &[&str]| {
            let request = self.door.request(Method::POST, segments);
            request.header(CONTENT_TYPE, "application/json").body(body.to_string())
        };
        let heard = self.asked(Again::WithoutEffect, &secrets, call).await?;
        match heard.status() {
            StatusCode::OK => {
                let written: Option<Answered<Metadata>> = serde_json::from_slice(heard.body()).ok();
                let written = written.and_then(|written| written.data);
                written.map(|it| it.version.to_string()).ok_or_else(|| heard.nonsense())
            }
            StatusCode::FORBIDDEN => Err(denied("writing the secret", &heard)),
            StatusCode::BAD_REQUEST if heard.says("check-and-set") => Err(ManagerError::Overtaken),
            _ => Err(heard.declined()),
        }
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

fn denied(what: &'static str, heard: &Heard) -> ManagerError {
    ManagerError::Denied { what, said: heard.said() }
}

fn revision(heard: &Heard) -> Result<Revision, ManagerError> {
    let read: Answered<Read<'_>> =
        serde_json::from_slice(heard.body()).map_err(|_| heard.nonsense())?;
    let Read { data, metadata } = read.data.ok_or_else(|| heard.nonsense())?;
    let metadata = metadata.ok_or_else(|| heard.nonsense())?;
    let version = metadata.version.to_string();
    if metadata.destroyed || !metadata.deletion_time.is_empty() {
        return Err(ManagerError::Gone(version));
    }
    let data = data.ok_or_else(|| heard.nonsense())?;
    Ok(Revision { version, fields: Fields::parse(data.get())? })
}

/// What every answer of Vault's holds.
#[derive(Deserialize)]
struct Answered<T> {
    data: Option<T>,
}

/// A version that was read.
#[derive(Deserialize)]
struct Read<'a> {
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    metadata: Option<Metadata>,
}

#[derive(Deserialize)]
struct Metadata {
    version: u64,
    #[serde(default)]
    deletion_time: String,
    #[serde(default)]
    destroyed: bool,
}
