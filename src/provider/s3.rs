//! S3: `S3_ACCESS_KEY` and `S3_SECRET_KEY`, which files are kept with.
//!
//! 1. A pair is probed by writing, reading and deleting an object of its own.
//! 2. An upload is signed when it begins, and finishes on the pair that signed it. What
//!    breaks off leaves no object: its length is told beforehand.
//! 3. Files pass through: memory is flat in their size.
//! 4. S3 has no call that revokes a pair: an operator does that where it was made.
//!
//! Requests are signed with AWS Signature Version 4, in the address, for five minutes. The
//! address is in no error and in no log.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{Stream, stream};
use http::{HeaderValue, StatusCode, header};
use rand::{RngExt, rng};
use reqwest::{Body, RequestBuilder, Response};
use rusty_s3::{Bucket, BucketError, Credentials, S3Action, UrlStyle};
use uuid::Uuid;

use super::{
    Address, Connect, Limits, Provider, ProviderError, Trust,
    http::{Answer, Api, read, unreachable},
    parts::parts,
    words::Withheld,
};
use crate::{catalog::Secret, material::Material};

const FORM: &str = r#"an S3 key pair is {"S3_ACCESS_KEY": "…", "S3_SECRET_KEY": "…"}"#;

/// How long a signature is good for: until its request has begun.
const SIGNED_FOR: Duration = Duration::from_secs(5 * 60);

/// How long one file may take.
const TRANSFER: Duration = Duration::from_secs(60 * 60);

/// One bucket of an S3 server.
#[derive(Debug, Clone)]
pub struct S3 {
    api: Api,
    bucket: Arc<Bucket>,
}

/// How the bucket stands in addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Style {
    /// `https://s3.example.com/bucket/object`: servers of one's own.
    #[default]
    Path,
    /// `https://bucket.s3.example.com/object`: Amazon.
    Host,
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
        let style = match style {
            Style::Path => UrlStyle::Path,
            Style::Host => UrlStyle::VirtualHost,
        };
        let bucket = Bucket::new(address.url().clone(), style, bucket.into(), region.into())?;
        Ok(Self { api: Api::new(address, trust, limits), bucket: Arc::new(bucket) })
    }
}

/// A name that no bucket can have at this address.
#[derive(Debug, thiserror::Error)]
#[error("there can be no such bucket: {0}")]
pub struct UnfitBucket(#[from] BucketError);

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
            withheld: Withheld::parts(&[&secret, &access]),
            pair: Credentials::new(access.as_str(), secret.as_str()),
        })
    }
}

/// The bucket, with one pair.
pub struct Files {
    api: Api,
    bucket: Arc<Bucket>,
    pair: Credentials,
    withheld: Withheld,
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
        let url = self.bucket.put_object(Some(&self.pair), key).sign(SIGNED_FOR);
        let mut request = self.api.client().put(url).timeout(TRANSFER);
        if let Some(kind) = kind {
            request = request.header(header::CONTENT_TYPE, kind);
        }
        self.done(request.header(header::CONTENT_LENGTH, length).body(content)).await
    }

    /// What is kept under `key`, if anything is.
    ///
    /// # Errors
    /// [`ProviderError`] with what the server answered.
    pub async fn get(&self, key: &str) -> Result<Option<File>, ProviderError> {
        let url = self.bucket.get_object(Some(&self.pair), key).sign(SIGNED_FOR);
        let request = self.api.client().get(url).timeout(TRANSFER);
        let send =
            async { request.send().await.map_err(|error| unreachable(&self.withheld, error)) };
        let (response, patience) = (self.soon(send).await?, self.api.limits().answer);
        match response.status() {
            StatusCode::NOT_FOUND => Ok(None),
            StatusCode::OK => Ok(Some(File { response, patience })),
            _ => Err(self.taken(response).await.err().unwrap_or_else(|| {
                ProviderError::Nonsense("neither an object nor an error".to_owned())
            })),
        }
    }

    /// Keeps nothing under `key` any more.
    ///
    /// # Errors
    /// [`ProviderError`] with what the server answered.
    pub async fn delete(&self, key: &str) -> Result<(), ProviderError> {
        let url = self.bucket.delete_object(Some(&self.pair), key).sign(SIGNED_FOR);
        self.done(self.api.client().delete(url).timeout(self.api.limits().answer)).await
    }

    async fn done(&self, request: RequestBuilder) -> Result<(), ProviderError> {
        let response = request.send().await.map_err(|error| unreachable(&self.withheld, error))?;
        self.taken(response).await.map(drop)
    }

    /// A yes. S3 answers 403 to a pair that it does not know as to one that lacks a right.
    async fn taken(&self, response: Response) -> Result<Answer, ProviderError> {
        const UNKNOWN: [&str; 3] = ["InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken"];
        read(&self.withheld, response).await.map_err(|error| match error {
            ProviderError::Lacking(said) if UNKNOWN.iter().any(|code| said.contains(code)) => {
                ProviderError::Refused(said)
            }
            error => error,
        })
    }

    async fn probe(&self) -> Result<String, ProviderError> {
        let key = format!("breeze-probe/{}", Uuid::new_v4());
        let content = Bytes::copy_from_slice(&rng().random::<[u8; 32]>());
        let put = self.put(&key, content.len() as u64, None, content.clone());
        self.soon(put).await?;
        let read = self.soon(self.read(&key)).await;
        self.delete(&key).await?;
        match read? {
            Some(read) if read == content => {
                Ok("the pair wrote, read and deleted an object".to_owned())
            }
            _ => Err(ProviderError::Nonsense("another object than was written".to_owned())),
        }
    }

    /// What does not depend on the size of a file.
    async fn soon<T>(
        &self,
        answer: impl Future<Output = Result<T, ProviderError>>,
    ) -> Result<T, ProviderError> {
        tokio::time::timeout(self.api.limits().answer, answer)
            .await
            .unwrap_or_else(|_| Err(ProviderError::Unreachable("no answer in time".to_owned())))
    }

    /// A small object, whole.
    async fn read(&self, key: &str) -> Result<Option<Bytes>, ProviderError> {
        let Some(File { response, .. }) = self.get(key).await? else { return Ok(None) };
        Ok(Some(self.taken(response).await?.body))
    }
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Files").field("bucket", &self.bucket.name()).finish_non_exhaustive()
    }
}

/// An object that is being read.
#[derive(Debug)]
pub struct File {
    response: Response,
    /// Between two parts of it.
    patience: Duration,
}

impl File {
    /// What it is, if whoever wrote it has said so.
    #[must_use]
    pub fn kind(&self) -> Option<&HeaderValue> {
        self.response.headers().get(header::CONTENT_TYPE)
    }

    /// How many bytes it has.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        self.response.content_length()
    }

    /// Its bytes, as they come.
    pub fn content(self) -> impl Stream<Item = Result<Bytes, BrokenOff>> + Send + 'static {
        stream::try_unfold(self, |mut file| async move {
            match tokio::time::timeout(file.patience, file.response.chunk()).await {
                Ok(Ok(part)) => Ok(part.map(|part| (part, file))),
                Ok(Err(_)) | Err(_) => Err(BrokenOff),
            }
        })
    }
}

/// An object ended before it was whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the file broke off on its way from the storage")]
pub struct BrokenOff;
