//! Mails, whichever way they go.

use std::str::FromStr;

use breeze_rollover::provider::{
    Current, Unavailable, mail::Mail, mailgun::Mailgun, resend::Resend, smtp::Smtp,
};

/// Which way mails go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Smtp,
    Resend,
    Mailgun,
}

impl FromStr for Way {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "smtp" => Ok(Self::Smtp),
            "resend" => Ok(Self::Resend),
            "mailgun" => Ok(Self::Mailgun),
            _ => Err(()),
        }
    }
}

/// That way, with the current credential.
#[derive(Debug)]
pub(crate) enum Post {
    Smtp(Current<Smtp>),
    Resend(Current<Resend>),
    Mailgun(Current<Mailgun>),
}

impl Post {
    /// Hands `mail` over, and answers what was said.
    pub(crate) async fn send(&self, mail: &Mail) -> Result<String, Unavailable> {
        match self {
            Self::Smtp(smtp) => smtp.run(|held| async move { held.send(mail).await }).await,
            Self::Resend(resend) => resend.run(|held| async move { held.send(mail).await }).await,
            Self::Mailgun(gun) => gun.run(|held| async move { held.send(mail).await }).await,
        }
    }
}
