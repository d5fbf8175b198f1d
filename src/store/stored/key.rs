//! A key version.

use std::time::Duration;

use sqlx::FromRow;

use super::{from_json, millis, parsed, signed, to_json, unsigned};
use crate::{
    catalog::Secret,
    clock::Timestamp,
    keyring::KeyState,
    store::{KeyRecord, StoreError},
};

/// A row of the key table.
#[derive(Debug, FromRow)]
pub(crate) struct KeyRow {
    pub(crate) secret: String,
    pub(crate) id: String,
    pub(crate) fingerprint: String,
    pub(crate) state: String,
    pub(crate) unnamed: bool,
    pub(crate) origin: String,
    pub(crate) rank: i64,
    pub(crate) sealed: Option<String>,
    pub(crate) created_at: i64,
    pub(crate) promoted_at: Option<i64>,
    pub(crate) retired_at: Option<i64>,
    pub(crate) compromised_at: Option<i64>,
    pub(crate) seals: i64,
    pub(crate) longest_lifetime: i64,
    pub(crate) presented: i64,
    pub(crate) presented_at: Option<i64>,
}

impl KeyRow {
    /// The key, unless it is of a secret that only a newer version knows.
    pub(crate) fn known(self) -> Option<Result<KeyRecord, StoreError>> {
        let secret = self.secret.parse().ok()?;
        Some(self.record(secret))
    }

    fn record(self, secret: Secret) -> Result<KeyRecord, StoreError> {
        const TABLE: &str = "key";
        Ok(KeyRecord {
            secret,
            id: parsed(TABLE, "id", &self.id)?,
            fingerprint: parsed(TABLE, "fingerprint", &self.fingerprint)?,
            state: KeyState::from(self.state.as_str()),
            unnamed: self.unnamed,
            origin: from_json(TABLE, "origin", &self.origin)?,
            rank: self.rank,
            sealed: self.sealed,
            created_at: Timestamp::from_millis(self.created_at),
            promoted_at: self.promoted_at.map(Timestamp::from_millis),
            retired_at: self.retired_at.map(Timestamp::from_millis),
            compromised_at: self.compromised_at.map(Timestamp::from_millis),
            seals: unsigned(TABLE, "seals", self.seals)?,
            longest_lifetime: Duration::from_millis(unsigned(
                TABLE,
                "longest_lifetime",
                self.longest_lifetime,
            )?),
            presented: unsigned(TABLE, "presented", self.presented)?,
            presented_at: self.presented_at.map(Timestamp::from_millis),
        })
    }
}

impl From<&KeyRecord> for KeyRow {
    fn from(key: &KeyRecord) -> Self {
        Self {
            secret: key.secret.name().to_owned(),
            id: key.id.to_string(),
            fingerprint: key.fingerprint.to_string(),
            state: key.state.as_str().to_owned(),
            unnamed: key.unnamed,
            origin: to_json(&key.origin),
            rank: key.rank,
            sealed: key.sealed.clone(),
            created_at: key.created_at.as_millis(),
            promoted_at: key.promoted_at.map(Timestamp::as_millis),
            retired_at: key.retired_at.map(Timestamp::as_millis),
            compromised_at: key.compromised_at.map(Timestamp::as_millis),
            seals: signed(key.seals),
            longest_lifetime: millis(key.longest_lifetime),
            presented: signed(key.presented),
            presented_at: key.presented_at.map(Timestamp::as_millis),
        }
    }
}
