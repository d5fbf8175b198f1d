//! What every handler shares.

use std::sync::Arc;

use breeze_rollover::{
    clock::Clock, keyring::KeychainHandle, layer::session::CookiePolicy, token::Lifetimes,
};

use crate::{
    auth::{AgentPolicy, Passwords},
    data::Data,
    limits::Limits,
    outside::Clients,
    stopping::Stopping,
};

/// What every handler shares. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct App {
    pub(crate) data: Arc<dyn Data>,
    pub(crate) keychain: KeychainHandle,
    pub(crate) passwords: Passwords,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) lifetimes: Lifetimes,
    pub(crate) cookies: CookiePolicy,
    pub(crate) stopping: Stopping,
    pub(crate) limits: Arc<Limits>,
    pub(crate) outside: Arc<Clients>,
    pub(crate) agents: AgentPolicy,
    /// Whether a code counts for the access token that it opened, and no longer.
    pub(crate) step_up: bool,
}
