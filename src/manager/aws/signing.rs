//! Requests that AWS knows the sender of (Signature Version 4).
//!
//! 1. A credential comes from the variables, a web identity, the container or the machine;
//!    one that ends is fetched anew before it does.
//! 2. The whole body is signed.

use std::{collections::HashMap, fmt, path::PathBuf};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Request, Response, header::CONTENT_TYPE, request::Parts};
use reqsign_aws_v4::{
    AssumeRoleWithWebIdentityCredentialProvider, Credential, ECSCredentialProvider,
    EnvCredentialProvider, IMDSv2CredentialProvider, RequestSigner,
};
use reqsign_core::{
    Context, Env, Error, FileRead, HttpSend, ProvideCredentialChain, Result, Signer,
};
use sha2::{Digest, Sha256};

use crate::{keyring::sources::Environment, manager::ManagerError, provider::http::Api};

const TARGET: HeaderName = HeaderName::from_static("x-amz-target");
const BODY: HeaderName = HeaderName::from_static("x-amz-content-sha256");

/// What signs requests to AWS Secrets Manager of one region.
pub(super) struct Signed {
    signer: Signer<Credential>,
    url: String,
}

impl Signed {
    pub(super) fn new(api: &Api, region: &str, local: Environment) -> Self {
        let context = Context::new()
            .with_env(Variables(local))
            .with_file_read(Files)
            .with_http_send(Sender(api.clone()));
        let chain = ProvideCredentialChain::new()
            .push(EnvCredentialProvider::new())
            .push(AssumeRoleWithWebIdentityCredentialProvider::new())
            .push(ECSCredentialProvider::new())
            .push(IMDSv2CredentialProvider::new());
        let signer = Signer::new(context, chain, RequestSigner::new("secretsmanager", region));
        Self { signer, url: api.url(&[]).into() }
    }

    /// The headers of a call with `body`, signed.
    pub(super) async fn headers(
        &self,
        action: &str,
        body: &str,
    ) -> std::result::Result<HeaderMap, ManagerError> {
        let digest: String =
            Sha256::digest(body).iter().map(|byte| format!("{byte:02x}")).collect();
        let request = Request::post(&self.url)
            .header(CONTENT_TYPE, "application/x-amz-json-1.1")
            .header(TARGET, format!("secretsmanager.{action}"))
            .header(BODY, digest)
            .body(());
        let (mut parts, ()) = request.expect("an address and ASCII").into_parts();
        self.sign(&mut parts).await?;
        Ok(parts.headers)
    }

    async fn sign(&self, parts: &mut Parts) -> std::result::Result<(), ManagerError> {
        // What went wrong on the way to a credential may hold one.
        self.signer.sign(parts, None).await.map_err(|_| {
            ManagerError::NoLogin(
                "there is no credential: neither AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY nor \
                 a role of the container or the machine"
                    .to_owned(),
            )
        })
    }
}

/// The variables that tell of a credential, but for those of containers, which are asked for
/// by name.
const NAMES: [&str; 10] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_STS_REGIONAL_ENDPOINTS",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_EC2_METADATA_DISABLED",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT",
];

/// The variables of the process, where each may be in a file.
struct Variables(Environment);

impl Env for Variables {
    fn var(&self, name: &str) -> Option<String> {
        let value = self.0.lookup(name).ok().flatten()?;
        Some(value.expose_text().trim().to_owned())
    }

    fn vars(&self) -> HashMap<String, String> {
        let known = NAMES.iter().filter_map(|name| Some(((*name).to_owned(), self.var(name)?)));
        known.collect()
    }

    /// What is in it is for people.
    fn home_dir(&self) -> Option<PathBuf> {
        None
    }
}

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Variables")
    }
}

/// Files that variables name, such as the token of a web identity.
#[derive(Debug)]
struct Files;

impl FileRead for Files {
    async fn file_read(&self, path: &str) -> Result<Vec<u8>> {
        let path = path.to_owned();
        let read = tokio::task::spawn_blocking(move || std::fs::read(path)).await;
        let unreadable = || Error::unexpected("a file that a variable names cannot be read");
        read.map_err(|_| unreadable())?.map_err(|_| unreadable())
    }
}

/// Calls that fetch a credential, limited like any other.
#[derive(Debug)]
struct Sender(Api);

impl HttpSend for Sender {
    async fn http_send(&self, request: Request<Bytes>) -> Result<Response<Bytes>> {
        let unanswered = || Error::unexpected("a credential was asked for, without an answer");
        self.0.send(request).await.ok_or_else(unanswered)
    }
}
