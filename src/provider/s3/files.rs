//! The bucket, with one pair.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header};
use rand::{RngExt, rng};
use reqwest::Body;
use tokio::time::{Instant, timeout, timeout_at};
use uuid::Uuid;

use super::{
    bucket::{Bucket, Pair, Signed},
    file::File,
};
use crate::provider::{
    ProviderError,
    http::{Answer, Api, heard, unanswered},
    patience::{Again, Unanswered, in_vain},
    words::Withheld,
};

/// What S3 says to a pair that it does not know, with the status of one that lacks a right.
const UNKNOWN: [&str; 3] = ["InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken"];

/// The bucket, with one pair.
pub struct Files {
    pub(super) api: Api,
    pub(super) bucket: Arc<Bucket>,
    pub(super) pair: Pair,
    pub(super) withheld: Withheld,
    pub(super) transfer: Duration,
}

impl Files {
    /// Keeps `length` bytes of `content` under `key`.
    ///
    /// # Errors
    /// [`ProviderError`] with what the server answered; there is no object then, or the
    /// one that was there before.
    pub async fn put(
        &self,
        key: &str,
        length: u64,
        kind: Option<HeaderValue>,
        content: impl Into<Body>,
    ) -> Result<(), ProviderError> {
        let signed = self.bucket.signed(&self.pair, Method::PUT, key, kind).await?;
        let request = signed.request(self.api.client()).timeout(self.transfer);
        let request = request.header(header::CONTENT_LENGTH, length).body(content);
        let answer = match request.send().await {
            Ok(response) => heard(&self.withheld, response).await,
            Err(error) => Err(unanswered(&self.withheld, error)),
        };
        self.taken(answer.map_err(|error| error.told)?).map(drop)
    }

    /// What is kept under `key`, if anything is.
    ///
    /// # Errors
    /// [`ProviderError`] with what the server answered.
    pub async fn get(&self, key: &str) -> Result<Option<File>, ProviderError> {
        let signed = self.bucket.signed(&self.pair, Method::GET, key, None).await?;
        self.api.limits().asked(Again::Always, || self.begun(&signed)).await
    }

    /// Keeps nothing under `key` any more.
    ///
    /// # Errors
    /// [`ProviderError`] with what the server answered.
    pub async fn delete(&self, key: &str) -> Result<(), ProviderError> {
        let signed = self.bucket.signed(&self.pair, Method::DELETE, key, None).await?;
        let call = || signed.request(self.api.client()).timeout(self.api.limits().answer);
        self.taken(self.api.ask(&self.withheld, Again::Always, call).await?).map(drop)
    }

    /// A file that has begun to come. How long the rest may take is not limited here.
    async fn begun(&self, signed: &Signed) -> Result<Option<File>, Unanswered> {
        let limits = self.api.limits();
        let sent = timeout(limits.answer, signed.request(self.api.client()).send());
        let response = match sent.await {
            Ok(sent) => sent.map_err(|error| unanswered(&self.withheld, error))?,
            Err(_) => return Err(Unanswered::in_time()),
        };
        match response.status() {
            StatusCode::NOT_FOUND => Ok(None),
            StatusCode::OK => Ok(Some(File::new(response, limits.answer, self.transfer))),
            _ => {
                let answer = timeout(limits.answer, heard(&self.withheld, response)).await;
                let answer = answer.unwrap_or_else(|_| Err(Unanswered::in_time()))?;
                let nonsense = || ProviderError::Nonsense("neither a file nor an error".to_owned());
                Err(Unanswered::of(self.taken(answer).err().unwrap_or_else(nonsense), false))
            }
        }
    }

    /// A yes. S3 answers 403 to a pair that it does not know as to one that lacks a right.
    fn taken(&self, answer: Answer) -> Result<Answer, ProviderError> {
        answer.accepted(&self.withheld).map_err(|error| match error {
            ProviderError::Lacking(said) if UNKNOWN.iter().any(|code| said.contains(code)) => {
                ProviderError::Refused(said)
            }
            error => error,
        })
    }

    /// Writes, reads and deletes an object, within the time of one answer and that of a
    /// connection. What may have been written is deleted, whatever came of it.
    pub(super) async fn probe(&self) -> Result<String, ProviderError> {
        let limits = self.api.limits();
        let (key, end) =
            (format!("breeze-probe/{}", Uuid::new_v4()), Instant::now() + limits.answer);
        let content = Bytes::copy_from_slice(&rng().random::<[u8; 32]>());
        let written = in_time(timeout_at(end, self.put(&key, 32, None, content.clone())).await);
        if let Err(error) = &written
            && !error.is_transient()
        {
            return Err(error.clone());
        }
        let read = match written {
            Ok(()) => in_time(timeout_at(end, self.read(&key)).await),
            Err(error) => Err(error),
        };
        let deleted = in_time(timeout(limits.connect, self.delete(&key)).await);
        match read? {
            Some(read) if read == content => {
                deleted.map(|()| "the pair wrote, read and deleted an object".to_owned())
            }
            _ => Err(ProviderError::Nonsense("another object than was written".to_owned())),
        }
    }

    /// A small object, whole.
    async fn read(&self, key: &str) -> Result<Option<Bytes>, ProviderError> {
        let Some(file) = self.get(key).await? else { return Ok(None) };
        let answer = heard(&self.withheld, file.into_response()).await;
        Ok(Some(self.taken(answer.map_err(|error| error.told)?)?.body))
    }
}

fn in_time<T, E>(answer: Result<Result<T, ProviderError>, E>) -> Result<T, ProviderError> {
    answer.unwrap_or_else(|_| Err(in_vain()))
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Files").field("bucket", &self.bucket.name()).finish_non_exhaustive()
    }
}
