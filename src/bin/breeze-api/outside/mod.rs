//! Outside providers: where they are, from the environment, and the clients of their
//! current credentials, for the routes.
//!
//! Credentials are keys like any other, and are not read here. A provider whose address is
//! not complete takes no part: its routes answer that it is not set up.

mod notice;
mod post;
mod problem;
mod setup;

use std::{sync::Arc, time::Duration};

use breeze_rollover::{
    embed::Setup,
    keyring::KeychainHandle,
    provider::{
        Address, Connect, Current, Provider, anthropic::Anthropic, cloudflare::Cloudflare,
        mailgun::Mailgun, openid::OpenId, resend::Resend, s3::S3, smtp::Smtp, twilio::Twilio,
    },
};

pub(crate) use notice::{Mailed, Recipients};
pub(crate) use post::Post;
use post::Way;
pub(crate) use problem::{failed, set_up};

/// Where remote sessions find each other, and for how long a credential is good there.
#[derive(Debug, Clone)]
pub(crate) struct Relay {
    pub(crate) host: Option<String>,
    pub(crate) port: u16,
    pub(crate) ttl: Duration,
}

/// How people sign on at the providers of their organizations.
#[derive(Debug, Clone)]
pub(crate) struct SignOns {
    pub(crate) openid: OpenId,
    /// Where browsers come back to.
    pub(crate) callback: Address,
    /// How long one may take.
    pub(crate) lifetime: Duration,
}

/// The providers that this process is set up with.
#[derive(Debug, Clone)]
pub(crate) struct Outside {
    assistant: Arc<Anthropic>,
    zone: Option<Arc<Cloudflare>>,
    files: Option<Arc<S3>>,
    smtp: Option<Arc<Smtp>>,
    resend: Option<Arc<Resend>>,
    mailgun: Option<Arc<Mailgun>>,
    /// Which of them mails go by.
    way: Option<Way>,
    sms: Option<Arc<Twilio>>,
    pub(crate) relay: Relay,
    /// None: nobody signs on elsewhere.
    pub(crate) sign_ons: Option<SignOns>,
    dashboard: String,
}

/// The clients of their current credentials.
#[derive(Debug)]
pub(crate) struct Clients {
    pub(crate) assistant: Current<Anthropic>,
    pub(crate) zone: Option<Current<Cloudflare>>,
    pub(crate) files: Option<Current<S3>>,
    pub(crate) post: Option<Post>,
    pub(crate) sms: Option<Current<Twilio>>,
    pub(crate) relay: Relay,
    pub(crate) sign_ons: Option<SignOns>,
    /// Where people use the API: what mails link to.
    pub(crate) dashboard: String,
}

impl Outside {
    /// Has their credentials rolled over.
    pub(crate) fn join(self, setup: Setup) -> Setup {
        let providers: [Option<Arc<dyn Provider>>; 7] = [
            Some(self.assistant),
            self.zone.map(|zone| zone as _),
            self.files.map(|files| files as _),
            self.smtp.map(|smtp| smtp as _),
            self.resend.map(|resend| resend as _),
            self.mailgun.map(|mailgun| mailgun as _),
            self.sms.map(|sms| sms as _),
        ];
        providers.into_iter().flatten().fold(setup, Setup::provider)
    }

    /// Whether it is set up to send mails.
    pub(crate) const fn sends_mails(&self) -> bool {
        match self.way {
            None => false,
            Some(Way::Smtp) => self.smtp.is_some(),
            Some(Way::Resend) => self.resend.is_some(),
            Some(Way::Mailgun) => self.mailgun.is_some(),
        }
    }

    /// The way that mails go, with the credentials in `keychain`.
    pub(crate) fn post(&self, keychain: &KeychainHandle) -> Option<Post> {
        match self.way? {
            Way::Smtp => current(self.smtp.clone(), keychain).map(Post::Smtp),
            Way::Resend => current(self.resend.clone(), keychain).map(Post::Resend),
            Way::Mailgun => current(self.mailgun.clone(), keychain).map(Post::Mailgun),
        }
    }

    /// Clients of the credentials in `keychain`.
    pub(crate) fn clients(self, keychain: &KeychainHandle) -> Clients {
        let post = self.post(keychain);
        Clients {
            assistant: Current::new(self.assistant, keychain.clone()),
            zone: current(self.zone, keychain),
            files: current(self.files, keychain),
            post,
            sms: current(self.sms, keychain),
            relay: self.relay,
            sign_ons: self.sign_ons,
            dashboard: self.dashboard,
        }
    }
}

fn current<P: Connect>(provider: Option<Arc<P>>, keychain: &KeychainHandle) -> Option<Current<P>> {
    provider.map(|provider| Current::new(provider, keychain.clone()))
}
