//! Mails what is due, the way that all mails go.
//!
//! 1. Each person gets a mail of their own, and does not see who else does.
//! 2. One that does not go out keeps none of the others back; how many did not, and what
//!    the provider said of the last, is told.

use std::str::FromStr;

use async_trait::async_trait;
use breeze_rollover::{
    keyring::KeychainHandle,
    operator::{Notice, Notify, NotifyError},
    provider::mail::Mail,
};

use super::{Outside, Post};

/// Whom mails of the schedule go to: addresses, with commas between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Recipients(Vec<String>);

impl FromStr for Recipients {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let addresses: Vec<_> = text.split(',').map(|part| part.trim().to_owned()).collect();
        let are_fit = addresses.iter().all(|to| Mail::new(to, "", "").is_ok());
        if are_fit { Ok(Self(addresses)) } else { Err(()) }
    }
}

/// Mails to these people, by these providers.
#[derive(Debug)]
pub(crate) struct Mailed {
    outside: Outside,
    to: Recipients,
}

impl Mailed {
    pub(crate) const fn new(outside: Outside, to: Recipients) -> Self {
        Self { outside, to }
    }

    async fn mail(&self, post: &Post, to: &str, notice: &Notice) -> Result<(), String> {
        let text = format!(
            "{}\n\nWhat the keys of each secret are, and until when: GET /admin/secrets\n",
            notice.body
        );
        let mail = Mail::new(to, &notice.subject, text).map_err(|error| error.to_string())?;
        post.send(&mail).await.map(drop).map_err(|error| error.to_string())
    }
}

#[async_trait]
impl Notify for Mailed {
    async fn tell(&self, notice: &Notice, keychain: &KeychainHandle) -> Result<(), NotifyError> {
        let Some(post) = self.outside.post(keychain) else {
            return Err(NotifyError("no mail provider is set up".to_owned()));
        };
        let mut said = vec![];
        for to in &self.to.0 {
            said.extend(self.mail(&post, to, notice).await.err());
        }
        match said.last() {
            None => Ok(()),
            Some(last) => {
                let (failed, all) = (said.len(), self.to.0.len());
                Err(NotifyError(format!("{failed} of {all} mail(s) did not go out: {last}")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipients_are_addresses_with_commas_between_them() {
        let some = |addresses: &[&str]| {
            Ok(Recipients(addresses.iter().map(|&address| address.to_owned()).collect()))
        };
        assert_eq!("a@example.com".parse(), some(&["a@example.com"]));
        assert_eq!(
            " a@example.com ,b@example.com".parse(),
            some(&["a@example.com", "b@example.com"])
        );
        for wrong in ["", ",", "a@example.com,", "ann", "a@example.com\nb@example.com"] {
            assert_eq!(wrong.parse::<Recipients>(), Err(()), "{wrong:?}");
        }
    }
}
