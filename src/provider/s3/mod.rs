//! S3: `S3_ACCESS_KEY` and `S3_SECRET_KEY`, which files are kept with.
//!
//! 1. A pair is probed by writing, reading and deleting an object of its own. The object
//!    is deleted whatever came of it, and all of that is within the worker's patience.
//! 2. An upload is signed when it begins, and finishes on the pair that signed it. What
//!    breaks off leaves no object: its length is told beforehand.
//! 3. Files pass through: memory is flat in their size. Each ends, whoever sends or reads
//!    it ([`File`]).
//! 4. Reading and deleting are asked for again where there is no answer; what is sent is
//!    gone, and is sent once.
//! 5. S3 has no call that revokes a pair: an operator does that where it was made.
//!
//! Requests are signed with AWS Signature Version 4, in a header: no address holds what
//! would open anything.

mod bucket;
mod file;
mod files;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use self::bucket::{Bucket, Pair};
pub use self::{
    bucket::{Style, UnfitBucket},
    file::{BrokenOff, File},
    files::Files,
};
use super::{
    Address, Connect, Limits, Provider, ProviderError, Trust, http::Api, parts::parts,
    words::Withheld,
};
use crate::{catalog::Secret, material::Material};

const FORM: &str = r#"an S3 key pair is {"S3_ACCESS_KEY": "…", "S3_SECRET_KEY": "…"}"#;

/// How long one file may take, if nobody says otherwise.
const TRANSFER: Duration = Duration::from_secs(15 * 60);

/// One bucket of an S3 server.
#[derive(Debug, Clone)]
pub struct S3 {
    api: Api,
    bucket: Arc<Bucket>,
    transfer: Duration,
}

impl S3 {
    /// The `bucket` of the server at `address`, in `region`.
    ///
    /// # Errors
    /// [`UnfitBucket`] when there can be no bucket of that name.
    pub fn new(
        address: Address,
        trust: &Trust,
        limits: Limits,
        region: impl Into<String>,
        bucket: impl Into<String>,
        style: Style,
    ) -> Result<Self, UnfitBucket> {
        let bucket = Arc::new(Bucket::new(&address, &region.into(), bucket.into(), style)?);
        Ok(Self { api: Api::new(address, trust, limits), bucket, transfer: TRANSFER })
    }

    /// With files that are on their way for `longest` at most; otherwise for a quarter of
    /// an hour. So long may a rollover of the pair have to wait for one.
    #[must_use]
    pub fn transfers_within(self, longest: Duration) -> Self {
        Self { transfer: longest, ..self }
    }
}

#[async_trait]
impl Provider for S3 {
    fn secret(&self) -> Secret {
        Secret::S3SecretKey
    }

    fn check(&self, credential: &Material) -> Result<(), &'static str> {
        parts::<2>(self.secret(), credential).map(drop).ok_or(FORM)
    }

    async fn probe(&self, credential: &Material) -> Result<String, ProviderError> {
        self.client(credential)?.probe().await
    }
}

impl Connect for S3 {
    type Client = Files;

    fn client(&self, credential: &Material) -> Result<Files, ProviderError> {
        let [access, secret] = parts(self.secret(), credential).ok_or(ProviderError::Form(FORM))?;
        Ok(Files {
            api: self.api.clone(),
            bucket: Arc::clone(&self.bucket),
            transfer: self.transfer,
            withheld: Withheld::parts(&[&secret, &access]),
            pair: Pair::new(&access, &secret),
        })
    }
}
