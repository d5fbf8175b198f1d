//! A mail server by SMTP: `SMTP_USER` and `SMTP_PASS`.
//!
//! 1. A credential goes out over TLS only, from the first byte or by STARTTLS, to a server
//!    whose certificate is verified. A server that offers neither is not spoken to.
//! 2. A credential is probed by connecting, AUTH and NOOP. Nothing is sent.
//! 3. Each mail has a connection of its own: it ends on the credential that it began with.
//! 4. A mail server has no call that revokes: an operator does that.

use std::{error::Error as _, fmt, io};

use async_trait::async_trait;
use lettre::{
    AsyncSmtpTransport, AsyncTransport, Tokio1Executor,
    transport::smtp::{
        Error,
        authentication::Credentials,
        client::{Certificate, Tls, TlsParameters},
    },
};

use super::{
    Connect, Limits, Provider, ProviderError, Trust,
    mail::{Mail, MailFrom},
    parts::parts,
    patience::{Again, Unanswered, in_vain},
    words::Withheld,
};
use crate::{catalog::Secret, material::Material};

const FORM: &str = r#"a credential of a mail server is {"SMTP_USER": "…", "SMTP_PASS": "…"}"#;

/// When a connection is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encrypted {
    /// By STARTTLS, before anything else: port 587.
    #[default]
    StartTls,
    /// From its first byte: port 465.
    AtOnce,
}

/// A mail server.
#[derive(Debug, Clone)]
pub struct Smtp {
    host: String,
    port: u16,
    tls: Tls,
    from: MailFrom,
    limits: Limits,
}

impl Smtp {
    /// The server `host` at `port`, with mails from `from`.
    ///
    /// # Errors
    /// [`UnfitHost`] when `host` is neither a name nor an address.
    pub fn new(
        host: impl Into<String>,
        port: u16,
        encrypted: Encrypted,
        from: MailFrom,
        trust: &Trust,
        limits: Limits,
    ) -> Result<Self, UnfitHost> {
        let host = host.into();
        let mut tls = TlsParameters::builder(host.clone());
        for certificate in trust.own() {
            let certificate = Certificate::from_der(certificate.to_vec());
            tls = tls.add_root_certificate(certificate.map_err(|_| UnfitHost)?);
        }
        let tls = tls.build_rustls().map_err(|_| UnfitHost)?;
        let tls = match encrypted {
            Encrypted::StartTls => Tls::Required(tls),
            Encrypted::AtOnce => Tls::Wrapper(tls),
        };
        Ok(Self { host, port, tls, from, limits })
    }
}

/// What is no host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a mail server is such as smtp.example.com")]
pub struct UnfitHost;

#[async_trait]
impl Provider for Smtp {
    fn secret(&self) -> Secret {
        Secret::SmtpPass
    }

    fn check(&self, credential: &Material) -> Result<(), &'static str> {
        parts::<2>(self.secret(), credential).map(drop).ok_or(FORM)
    }

    async fn probe(&self, credential: &Material) -> Result<String, ProviderError> {
        self.client(credential)?.probe().await
    }
}

impl Connect for Smtp {
    type Client = Sender;

    fn client(&self, credential: &Material) -> Result<Sender, ProviderError> {
        let [user, password] = parts(self.secret(), credential).ok_or(ProviderError::Form(FORM))?;
        let withheld = Withheld::parts(&[&password, &format!("\0{}\0{}", *user, *password)]);
        let credentials = Credentials::new((*user).clone(), (*password).clone());
        // Named dangerous for what it defaults to: no TLS, where here there is always some.
        let transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&*self.host)
            .port(self.port)
            .tls(self.tls.clone())
            .timeout(Some(self.limits.connect))
            .credentials(credentials)
            .build();
        Ok(Sender { transport, from: self.from.clone(), withheld, limits: self.limits })
    }
}

/// The server, with one credential.
pub struct Sender {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: MailFrom,
    withheld: Withheld,
    limits: Limits,
}

impl Sender {
    /// Hands `mail` to the server, and answers what it said.
    ///
    /// # Errors
    /// [`ProviderError`] with what the server answered.
    pub async fn send(&self, mail: &Mail) -> Result<String, ProviderError> {
        let message =
            mail.message(&self.from).map_err(|error| ProviderError::Declined(error.to_string()))?;
        let call = || async {
            let sent =
                tokio::time::timeout(self.limits.answer, self.transport.send(message.clone()));
            match sent.await {
                Ok(Ok(response)) => {
                    Ok(self.withheld.told(&response.message().collect::<Vec<_>>().join(" ")))
                }
                Ok(Err(error)) => Err(self.unanswered(&error)),
                Err(_) => Err(Unanswered::in_time()),
            }
        };
        self.limits.asked(Again::WithoutEffect, call).await
    }

    async fn probe(&self) -> Result<String, ProviderError> {
        let tested = tokio::time::timeout(self.limits.answer, self.transport.test_connection());
        match tested.await {
            Ok(Ok(true)) => Ok("the server took the password, over TLS".to_owned()),
            Ok(Ok(false)) => Err(ProviderError::Nonsense("it did not answer NOOP".to_owned())),
            Ok(Err(error)) => Err(self.unanswered(&error).told),
            Err(_) => Err(in_vain()),
        }
    }

    /// What an SMTP reply means (RFC 5321 section 4.2, RFC 4954 section 6).
    fn unanswered(&self, error: &Error) -> Unanswered {
        let said = self.withheld.told(&error.to_string());
        let code = error.status().map(u16::from);
        match code {
            Some(530 | 534 | 535 | 538) => Unanswered::of(ProviderError::Refused(said), true),
            Some(_) if error.is_permanent() => Unanswered::of(ProviderError::Declined(said), true),
            Some(_) => Unanswered::of(ProviderError::Unreachable(said), true),
            None if error.is_response() => Unanswered::of(ProviderError::Nonsense(said), false),
            None if error.is_client() => Unanswered::of(ProviderError::Declined(said), true),
            None if error.is_timeout() => Unanswered::in_time(),
            None => Unanswered::of(ProviderError::Unreachable(said), is_refused(error)),
        }
    }
}

/// Whether nobody listened.
fn is_refused(error: &Error) -> bool {
    let cause = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    cause.is_some_and(|cause| cause.kind() == io::ErrorKind::ConnectionRefused)
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("from", &self.from).finish_non_exhaustive()
    }
}
