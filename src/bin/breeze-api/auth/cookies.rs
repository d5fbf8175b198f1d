//! The cookies of a browser session, as Breeze sets them (FORMATS section 7): its refresh
//! token, its CSRF token, and the session itself.

use std::time::Duration;

use breeze_rollover::layer::session::{CSRF_COOKIE, CookiePolicy};
use http::HeaderValue;
use secrecy::ExposeSecret;
use sqlx::types::Uuid;

use super::Issued;

/// The cookie of the refresh token.
pub(crate) const REFRESH_COOKIE: &str = "breeze_refresh_token";

/// Where the cookie of the refresh token is sent.
const REFRESH_PATH: &str = "/api/v1/auth";

/// The cookies of a session that lasts `lifetime`.
pub(crate) fn cookies(policy: CookiePolicy, of: &Issued, lifetime: Duration) -> [HeaderValue; 3] {
    let csrf = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
    // A JWT consists of characters that percent-encoding leaves as they are.
    set(policy, of.refresh.expose_secret(), &csrf, of.session.expose_secret(), lifetime.as_secs())
}

/// The same cookies, emptied.
pub(crate) fn no_cookies(policy: CookiePolicy) -> [HeaderValue; 3] {
    set(policy, "", "", "", 0)
}

fn set(
    policy: CookiePolicy,
    refresh: &str,
    csrf: &str,
    session: &str,
    max_age: u64,
) -> [HeaderValue; 3] {
    [
        policy.http_only(REFRESH_COOKIE, refresh, REFRESH_PATH, max_age),
        policy.readable(CSRF_COOKIE, csrf, "/", max_age),
        policy.session(session, max_age),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_set_as_breeze_sets_them_and_taken_back() {
        let policy = CookiePolicy::default();
        let [refresh, csrf, session] = set(policy, "a.b.c", "0f", "v1.k.p.s", 604_800);
        assert_eq!(
            refresh,
            "breeze_refresh_token=a.b.c; Path=/api/v1/auth; HttpOnly; SameSite=Lax; Secure; Max-Age=604800"
        );
        assert_eq!(csrf, "breeze_csrf_token=0f; Path=/; SameSite=Lax; Secure; Max-Age=604800");
        assert_eq!(
            session,
            "breeze_session=v1.k.p.s; Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=604800"
        );
        for cookie in no_cookies(policy) {
            let text = cookie.to_str().expect("text");
            assert!(text.contains("=; Path=") && text.ends_with("Max-Age=0"), "{text}");
        }
    }
}
