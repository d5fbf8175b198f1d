//! Outside providers: where they are, from the environment, and the clients of their
//! current credentials, for the routes.
//!
//! Credentials are keys like any other, and are not read here. A provider whose address is
//! not complete takes no part: its routes answer that it is not set up.

mod problem;
mod setup;

use std::sync::Arc;

use breeze_rollover::{
    embed::Setup,
    keyring::KeychainHandle,
    provider::{Connect, Current, anthropic::Anthropic, cloudflare::Cloudflare, s3::S3},
};

pub(crate) use problem::{failed, set_up};

/// The providers that this process is set up with.
#[derive(Debug, Clone)]
pub(crate) struct Outside {
    assistant: Arc<Anthropic>,
    zone: Option<Arc<Cloudflare>>,
    files: Option<Arc<S3>>,
}

/// The clients of their current credentials.
#[derive(Debug)]
pub(crate) struct Clients {
    pub(crate) assistant: Current<Anthropic>,
    pub(crate) zone: Option<Current<Cloudflare>>,
    pub(crate) files: Option<Current<S3>>,
}

impl Outside {
    /// Has their credentials rolled over.
    pub(crate) fn join(self, setup: Setup) -> Setup {
        let mut setup = setup.provider(self.assistant);
        if let Some(zone) = self.zone {
            setup = setup.provider(zone);
        }
        if let Some(files) = self.files {
            setup = setup.provider(files);
        }
        setup
    }

    /// Clients of the credentials in `keychain`.
    pub(crate) fn clients(self, keychain: &KeychainHandle) -> Clients {
        Clients {
            assistant: Current::new(self.assistant, keychain.clone()),
            zone: self.zone.map(|zone| current(zone, keychain)),
            files: self.files.map(|files| current(files, keychain)),
        }
    }
}

fn current<P: Connect>(provider: Arc<P>, keychain: &KeychainHandle) -> Current<P> {
    Current::new(provider, keychain.clone())
}
