//! AWS Secrets Manager: a secret whose `SecretString` is a JSON object.
//!
//! 1. The present version is the one that is labelled `AWSCURRENT`.
//! 2. A write makes a version under a label of its own, and then moves `AWSCURRENT` to it
//!    from the very version that was read. AWS moves it, or refuses to, whatever other
//!    writers do; a version that was refused stays without effect.
//! 3. A version has an id that is chosen here, so that making it twice makes it once.
//!
//! The calls are `GetSecretValue`, `PutSecretValue` and `UpdateSecretVersionStage`, signed
//! with Signature Version 4.

mod signing;

use std::fmt;

use async_trait::async_trait;
use http::{Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;
use zeroize::Zeroizing;

use self::signing::Signed;
use super::{Fields, Manager, ManagerError, Revision, heard::Heard};
use crate::{
    keyring::sources::Environment,
    provider::{Address, Limits, Trust, http::Api, patience::Again, words::Withheld},
};

/// The token of a credential that ends.
const SESSION: &str = "x-amz-security-token";

/// The label of the present version.
const CURRENT: &str = "AWSCURRENT";

/// The label of a version that is written, and not the present one yet.
const PENDING: &str = "BREEZEPENDING";

/// One secret of AWS Secrets Manager.
pub struct SecretsManager {
    api: Api,
    signed: Signed,
    secret: String,
    name: String,
}

impl SecretsManager {
    /// Where AWS Secrets Manager of a region is.
    #[must_use]
    pub fn address(region: &str) -> String {
        let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        format!("https://secretsmanager.{region}.{domain}")
    }

    /// The secret of this name or ARN. The credential is that of `local`: of its variables
    /// (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`), of a web
    /// identity, of the container, or of the machine, in this order.
    #[must_use]
    pub fn new(
        address: Address,
        trust: &Trust,
        limits: Limits,
        region: &str,
        secret: &str,
        local: Environment,
    ) -> Self {
        let name = format!("AWS Secrets Manager in {region} ({secret})");
        let api = Api::new(address, trust, limits);
        let signed = Signed::new(&api, region, local);
        Self { api, signed, secret: secret.to_owned(), name }
    }

    /// The answer to a call, if it is a yes.
    async fn asked(
        &self,
        again: Again,
        action: &'static str,
        body: &Value,
        secrets: &[SecretString],
    ) -> Result<Heard, Refused> {
        let body = Zeroizing::new(body.to_string());
        let headers = self.signed.headers(action, &body).await?;
        // AWS repeats what it was sent where a signature is wrong.
        let session = headers.get(SESSION).and_then(|token| token.to_str().ok());
        let secrets = secrets.iter().map(ExposeSecret::expose_secret);
        let withheld = Withheld::parts(&secrets.chain(session).collect::<Vec<_>>());
        let call = || {
            let request = self.api.request(Method::POST, &[]);
            request.headers(headers.clone()).body(body.to_string())
        };
        let heard = Heard::of(&self.api, withheld, again, call).await?;
        if heard.status().is_success() { Ok(heard) } else { Err(Refused::of(&heard)) }
    }

    async fn at(&self, version: Option<&str>) -> Result<Revision, ManagerError> {
        let body = match version {
            None => json!({ "SecretId": self.secret, "VersionStage": CURRENT }),
            Some(version) => json!({ "SecretId": self.secret, "VersionId": version }),
        };
        let heard = self.asked(Again::Always, "GetSecretValue", &body, &[]).await;
        let heard = heard.map_err(|refused| match (&refused.kind, version) {
            (Kind::Missing, Some(version)) => ManagerError::Gone(version.to_owned()),
            (Kind::Deleted, version) => ManagerError::Gone(version.unwrap_or(CURRENT).to_owned()),
            _ => refused.told("reading the secret"),
        })?;
        let read: Read = serde_json::from_slice(heard.body()).map_err(|_| heard.nonsense())?;
        let text = read.text.unwrap_or_default();
        Ok(Revision { version: read.version, fields: Fields::parse(text.expose_secret())? })
    }
}

#[async_trait]
impl Manager for SecretsManager {
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
        let id = Uuid::new_v4().to_string();
        let mut secrets = fields.secrets();
        let text = fields.to_json();
        let body = json!({
            "SecretId": self.secret, "ClientRequestToken": id, "VersionStages": [PENDING],
            "SecretString": text.expose_secret(),
        });
        secrets.push(text);
        let put = self.asked(Again::Always, "PutSecretValue", &body, &secrets).await;
        let put = put.map_err(|refused| refused.told("writing the secret"))?;
        let written: Written = serde_json::from_slice(put.body()).map_err(|_| put.nonsense())?;
        let body = json!({
            "SecretId": self.secret, "VersionStage": CURRENT,
            "RemoveFromVersionId": present, "MoveToVersionId": written.version,
        });
        let action = "UpdateSecretVersionStage";
        match self.asked(Again::WithoutEffect, action, &body, &[]).await {
            Ok(_) => Ok(written.version),
            // The present version is another by now.
            Err(Refused { kind: Kind::Unfit, .. }) => Err(ManagerError::Overtaken),
            Err(refused) => Err(refused.told("moving AWSCURRENT to the new version")),
        }
    }
}

impl fmt::Debug for SecretsManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// A call that came to nothing.
struct Refused {
    kind: Kind,
    said: String,
}

/// Why it came to nothing, as far as that makes a difference.
enum Kind {
    /// It was not answered, or could not be made.
    Failed(ManagerError),
    Denied,
    Missing,
    Deleted,
    /// The parameters do not fit what is there.
    Unfit,
    Throttled,
    Other(ManagerError),
}

impl Refused {
    fn of(heard: &Heard) -> Self {
        let error: Option<ErrorBody> = serde_json::from_slice(heard.body()).ok();
        let code = error.map(|error| error.code).unwrap_or_default();
        let kind = match code.rsplit('#').next().unwrap_or_default() {
            "ResourceNotFoundException" => Kind::Missing,
            "InvalidRequestException" => Kind::Deleted,
            "InvalidParameterException" => Kind::Unfit,
            "ThrottlingException" | "Throttling" => Kind::Throttled,
            "AccessDeniedException"
            | "DecryptionFailure"
            | "EncryptionFailure"
            | "ExpiredTokenException"
            | "IncompleteSignature"
            | "InvalidClientTokenId"
            | "InvalidSignatureException"
            | "MissingAuthenticationToken"
            | "UnrecognizedClientException" => Kind::Denied,
            _ if heard.status() == StatusCode::FORBIDDEN => Kind::Denied,
            _ => Kind::Other(heard.declined()),
        };
        Self { kind, said: heard.said() }
    }

    fn told(self, what: &'static str) -> ManagerError {
        let said = self.said;
        match self.kind {
            Kind::Failed(error) | Kind::Other(error) => error,
            Kind::Denied => ManagerError::Denied { what, said },
            Kind::Missing => ManagerError::Missing(said),
            Kind::Deleted | Kind::Unfit => ManagerError::Declined(said),
            Kind::Throttled => ManagerError::Away(said),
        }
    }
}

impl From<ManagerError> for Refused {
    fn from(error: ManagerError) -> Self {
        Self { kind: Kind::Failed(error), said: String::new() }
    }
}

#[derive(Deserialize)]
struct ErrorBody {
    #[serde(rename = "__type")]
    code: String,
}

#[derive(Deserialize)]
struct Read {
    #[serde(rename = "VersionId")]
    version: String,
    /// Absent where the secret is binary.
    #[serde(rename = "SecretString")]
    text: Option<SecretString>,
}

#[derive(Deserialize)]
struct Written {
    #[serde(rename = "VersionId")]
    version: String,
}
