//! Known browsers only: a Tower layer that verifies `breeze_session` cookies with every
//! live key, and signs them anew with the primary while an older key runs dry.
//!
//! 1. What is let through as a session is signed by a live key and has not expired, by
//!    the one [`verify`].
//! 2. A cookie of a key that runs dry is replaced on the next response, with the same
//!    session and the same end: a rollover ends no session, and lengthens none.
//! 3. A method that may change something needs proof that a page of ours sent it, which
//!    is compared in constant time.
//! 4. A handler that sets the cookie itself has the last word.
//! 5. Without its lease the process lets nobody in, and signs no cookie. That is checked
//!    once the cookie is verified; a layer that is told to accept cookies even so takes
//!    none for a bad one.
//!
//! A cookie that is tampered with, truncated, expired or of an unknown key is as good as
//! none: the request goes on without a session, or is refused where one is
//! [demanded](SessionLayer::require). On success the handler finds the [`Session`] in the
//! request's extensions.
//!
//! ```
//! use axum::{Extension, Router, routing::get};
//! use breeze_rollover::{keyring::{KeychainHandle, NoKeyring}, layer::session::*};
//! use std::sync::Arc;
//!
//! fn app(keychain: KeychainHandle) -> Result<Router, NoKeyring> {
//!     Ok(Router::new()
//!         .route("/", get(|Extension(it): Extension<Arc<Session>>| async move { it.sub.clone() }))
//!         .layer(SessionLayer::new(keychain, CookiePolicy::default())?.require()))
//! }
//! ```

mod cookie;
mod csrf;
mod denied;
mod future;
mod layer;
mod policy;
#[cfg(test)]
mod tests;

pub use cookie::{CookieError, LONGEST, Session, SignCookieError, Verified, sign, verify};
pub use csrf::{CSRF_COOKIE, CSRF_HEADER, cookie, proves_same_site};
pub use denied::Denied;
pub use future::SessionFuture;
pub use layer::{Found, SessionLayer, Sessions};
pub use policy::{CookiePolicy, SESSION_COOKIE, SameSite};
