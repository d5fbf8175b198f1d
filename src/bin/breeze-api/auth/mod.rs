//! Who somebody is: passwords, one-time codes, and the tokens that follow from them.

mod agent;
mod api_keys;
mod cookies;
mod first_start;
mod made;
mod passwords;
mod tokens;
mod totp;

pub(crate) use agent::{AgentPolicy, CallingAgent, Enforcement, mint_token, pending_until, unmade};
pub(crate) use api_keys::{IssuedKeys, KeyHolder};
pub(crate) use cookies::{REFRESH_COOKIE, cookies, no_cookies};
pub(crate) use first_start::create_administrator;
pub(crate) use made::still_counts;
pub(crate) use passwords::{PasswordError, Passwords};
pub(crate) use tokens::{Issued, Session, access, is_current, issue, session_of, viewer};
pub(crate) use totp::{MFA_COLUMN, OFFER_COLUMN, accepted_step, enrol};
