//! Who somebody is: passwords, one-time codes, and the tokens that follow from them.

mod agent;
mod cookies;
mod first_start;
mod passwords;
mod tokens;
mod totp;

pub(crate) use agent::{AgentPolicy, CallingAgent, Enforcement, mint_token, pending_until, unmade};
pub(crate) use cookies::{CookiePolicy, REFRESH_COOKIE, SameSite, cookie, proves_same_site};
pub(crate) use first_start::create_administrator;
pub(crate) use passwords::{PasswordError, Passwords};
pub(crate) use tokens::{Issued, Session, issue};
pub(crate) use totp::{MFA_COLUMN, accepted_step, enrol};
