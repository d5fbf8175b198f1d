//! A mail to one person, in plain text, whichever way it goes.

use lettre::{
    Address, Message,
    message::{Mailbox, header::ContentType},
};

/// A mail to one person.
#[derive(Clone)]
pub struct Mail {
    to: Address,
    subject: String,
    text: String,
}

impl Mail {
    /// A mail to `to`.
    ///
    /// # Errors
    /// [`UnfitMail`] when `to` is no address, or `subject` has more than one line: nobody
    /// adds a header, or a recipient, by way of a text.
    pub fn new(
        to: &str,
        subject: impl Into<String>,
        text: impl Into<String>,
    ) -> Result<Self, UnfitMail> {
        let (to, subject) = (to.parse().map_err(|_| UnfitMail::To)?, subject.into());
        if subject.chars().any(char::is_control) {
            return Err(UnfitMail::Subject);
        }
        Ok(Self { to, subject, text: text.into() })
    }

    pub(super) fn to(&self) -> &str {
        self.to.as_ref()
    }

    pub(super) fn subject(&self) -> &str {
        &self.subject
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// It as RFC 5322 has it.
    pub(super) fn message(&self, from: &MailFrom) -> Result<Message, UnfitMail> {
        Message::builder()
            .from(from.0.clone())
            .to(Mailbox::new(None, self.to.clone()))
            .subject(self.subject.as_str())
            .header(ContentType::TEXT_PLAIN)
            .body(self.text.clone())
            .map_err(|_| UnfitMail::To)
    }
}

/// Neither the person nor the text: a mail may hold what only they may know.
impl std::fmt::Debug for Mail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mail").field("subject", &self.subject).finish_non_exhaustive()
    }
}

/// Who mails are from: `name@example.com`, or `A Name <name@example.com>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailFrom(Mailbox);

impl std::str::FromStr for MailFrom {
    type Err = UnfitMail;

    fn from_str(text: &str) -> Result<Self, UnfitMail> {
        text.parse().map(Self).map_err(|_| UnfitMail::From)
    }
}

impl std::fmt::Display for MailFrom {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl MailFrom {
    /// The bare address.
    pub(super) fn address(&self) -> &str {
        self.0.email.as_ref()
    }
}

/// What cannot be a mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnfitMail {
    /// Nobody's address.
    #[error("a mail goes to an address such as ann@example.com")]
    To,
    /// Not one line.
    #[error("a subject is one line without control characters")]
    Subject,
    /// Nobody's address.
    #[error("mails are from an address such as Breeze <breeze@example.com>")]
    From,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_adds_a_recipient_or_a_header() {
        for to in ["", "ann", "a@example.com, b@example.com", "a@example.com\r\nBcc: b@example.com"]
        {
            assert_eq!(Mail::new(to, "s", "t").err(), Some(UnfitMail::To), "{to}");
        }
        let subject = "hello\r\nBcc: b@example.com";
        assert_eq!(Mail::new("a@example.com", subject, "t").err(), Some(UnfitMail::Subject));
        assert!(Mail::new("a@example.com", "Grüße", "t").is_ok());
        assert_eq!("nobody".parse::<MailFrom>(), Err(UnfitMail::From));
    }

    #[test]
    fn debug_tells_neither_person_nor_text() {
        let mail = Mail::new("ann@example.com", "s", "the link").unwrap();
        assert_eq!(format!("{mail:?}"), r#"Mail { subject: "s", .. }"#);
    }
}
