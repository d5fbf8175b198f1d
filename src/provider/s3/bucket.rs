//! One bucket: where its objects are, and requests for them that its server knows the
//! sender of.

use std::fmt;

use http::{HeaderMap, HeaderValue, Method, Request, header::CONTENT_TYPE};
use reqsign_aws_v4::{Credential, RequestSigner};
use reqsign_core::{Context, SignRequest};
use reqwest::{Client, RequestBuilder, Url};
use zeroize::Zeroize;

use crate::provider::{Address, ProviderError};

/// How the bucket stands in addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Style {
    /// `https://s3.example.com/bucket/object`: servers of one's own.
    #[default]
    Path,
    /// `https://bucket.s3.example.com/object`: Amazon.
    Host,
}

/// A name that no bucket can have at this address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there can be no such bucket: its name has letters, digits, -, . and _ alone")]
pub struct UnfitBucket;

/// One bucket of a server.
#[derive(Debug)]
pub(super) struct Bucket {
    name: String,
    /// What every object is below.
    root: Url,
    signer: RequestSigner,
}

impl Bucket {
    pub(super) fn new(
        address: &Address,
        region: &str,
        name: String,
        style: Style,
    ) -> Result<Self, UnfitBucket> {
        let is_of_it = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
        if name.is_empty() || name.starts_with('.') || !name.bytes().all(is_of_it) {
            return Err(UnfitBucket);
        }
        let root = match style {
            Style::Path => address.join(&[&name]),
            Style::Host => {
                let mut root = address.url().clone();
                let host = format!("{name}.{}", root.host_str().ok_or(UnfitBucket)?);
                root.set_host(Some(&host)).map_err(|_| UnfitBucket)?;
                root
            }
        };
        Ok(Self { name, root, signer: RequestSigner::new("s3", region) })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// A request for the object of `key`, signed with `pair`: good for a quarter of an hour,
    /// however often it is made. Its content is not signed; TLS keeps it whole.
    pub(super) async fn signed(
        &self,
        pair: &Pair,
        method: Method,
        key: &str,
        kind: Option<HeaderValue>,
    ) -> Result<Signed, ProviderError> {
        let mut url = self.root.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(key.split('/'));
        }
        let mut request = Request::builder().method(method).uri(url.as_str());
        if let Some(kind) = kind {
            request = request.header(CONTENT_TYPE, kind);
        }
        let unfit = || ProviderError::Declined("it cannot be signed".to_owned());
        let (mut parts, ()) = request.body(()).map_err(|_| unfit())?.into_parts();
        let context = Context::new();
        let signed = self.signer.sign_request(&context, &mut parts, Some(&pair.0), None);
        // What went wrong may hold the pair.
        signed.await.map_err(|_| unfit())?;
        Ok(Signed { method: parts.method, url, headers: parts.headers })
    }
}

/// What signs. It is erased with this value.
pub(super) struct Pair(Credential);

impl Pair {
    pub(super) fn new(access: &str, secret: &str) -> Self {
        Self(Credential {
            access_key_id: access.to_owned(),
            secret_access_key: secret.to_owned(),
            ..Credential::default()
        })
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.0.secret_access_key.zeroize();
    }
}

/// A request that is signed.
pub(super) struct Signed {
    method: Method,
    url: Url,
    headers: HeaderMap,
}

impl Signed {
    pub(super) fn request(&self, client: &Client) -> RequestBuilder {
        client.request(self.method.clone(), self.url.clone()).headers(self.headers.clone())
    }
}

impl fmt::Debug for Signed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signed").field("method", &self.method).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn signed(address: &str, name: &str, style: Style, key: &str) -> Option<Signed> {
        let address = address.parse().unwrap();
        let bucket = Bucket::new(&address, "eu-central-1", name.to_owned(), style).ok()?;
        let pair = Pair::new("AKIAEXAMPLE", "a secret of the tests");
        bucket.signed(&pair, Method::GET, key, None).await.ok()
    }

    #[tokio::test]
    async fn the_bucket_is_in_the_path_or_in_the_name_of_the_host() {
        let of = async |address, style| {
            let signed = signed(address, "my-files", style, "files/a b").await.unwrap();
            assert_eq!(signed.headers["host"], *signed.url.authority());
            signed.url.to_string()
        };
        assert_eq!(
            of("http://127.0.0.1:9000/", Style::Path).await,
            "http://127.0.0.1:9000/my-files/files/a%20b"
        );
        assert_eq!(
            of("https://s3.example.com", Style::Host).await,
            "https://my-files.s3.example.com/files/a%20b"
        );
    }

    #[tokio::test]
    async fn what_signs_is_in_a_header_and_never_told() {
        let signed = signed("https://s3.example.com", "b", Style::Path, "x").await.unwrap();
        let authorization = &signed.headers["authorization"];
        assert!(authorization.is_sensitive());
        assert!(authorization.to_str().unwrap().contains("AKIAEXAMPLE"));
        assert_eq!(signed.headers["x-amz-content-sha256"], "UNSIGNED-PAYLOAD");
        assert_eq!(signed.url.query(), None);
        assert!(!format!("{signed:?}").contains("AKIA"), "{signed:?}");
    }

    #[tokio::test]
    async fn no_name_of_a_bucket_leads_elsewhere() {
        for name in ["", "..", ".hidden", "a/b", "a?b", "a b", "a@b", "ä"] {
            for style in [Style::Path, Style::Host] {
                assert!(signed("https://s3.example.com", name, style, "x").await.is_none());
            }
        }
        // A bucket of an address that has no name.
        assert!(signed("http://127.0.0.1:9000", "b", Style::Host, "x").await.is_none());
    }
}
