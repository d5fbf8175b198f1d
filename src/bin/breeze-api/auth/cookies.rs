//! The cookies of a browser session, as Breeze sets them (FORMATS section 7).

use std::time::Duration;

use http::{HeaderMap, HeaderValue, header::COOKIE};
use secrecy::{ExposeSecret, SecretString};
use sqlx::types::Uuid;

/// The cookie of the refresh token.
pub(crate) const REFRESH_COOKIE: &str = "breeze_refresh_token";
/// The cookie that a page repeats in [`CSRF_HEADER`].
pub(crate) const CSRF_COOKIE: &str = "breeze_csrf_token";
/// The header that proves that a page of ours sent the cookie.
pub(crate) const CSRF_HEADER: &str = "x-breeze-csrf";

/// Which other sites' requests carry a cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SameSite {
    Lax,
    Strict,
    None,
}

/// How cookies are set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CookiePolicy {
    pub(crate) same_site: SameSite,
    pub(crate) is_secure: bool,
}

impl CookiePolicy {
    /// The two cookies of a session that lasts `lifetime`.
    pub(crate) fn set(&self, refresh: &SecretString, lifetime: Duration) -> [HeaderValue; 2] {
        let csrf = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        // A JWT consists of characters that percent-encoding leaves as they are.
        self.both(refresh.expose_secret(), &csrf, lifetime.as_secs())
    }

    /// The two cookies, emptied.
    pub(crate) fn clear(&self) -> [HeaderValue; 2] {
        self.both("", "", 0)
    }

    fn both(&self, refresh: &str, csrf: &str, max_age: u64) -> [HeaderValue; 2] {
        let same_site = match self.same_site {
            SameSite::Lax => "Lax",
            SameSite::Strict => "Strict",
            SameSite::None => "None",
        };
        let secure = if self.is_secure { "; Secure" } else { "" };
        [
            format!(
                "{REFRESH_COOKIE}={refresh}; Path=/api/v1/auth; HttpOnly; SameSite={same_site}{secure}; Max-Age={max_age}"
            ),
            format!("{CSRF_COOKIE}={csrf}; Path=/; SameSite={same_site}{secure}; Max-Age={max_age}"),
        ]
        .map(|text| {
            let mut value = HeaderValue::try_from(text).expect("base64url, dots and hexadecimal");
            value.set_sensitive(true);
            value
        })
    }
}

/// The first cookie of this name.
pub(crate) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find_map(|(key, value)| (key == name).then_some(value))
        .filter(|value| !value.is_empty())
}

/// Whether the page that sent the cookies could read them: its header repeats the
/// CSRF cookie. Compared in constant time.
pub(crate) fn proves_same_site(headers: &HeaderMap) -> bool {
    use subtle::ConstantTimeEq;
    let header = headers.get(CSRF_HEADER).map(HeaderValue::as_bytes);
    match (cookie(headers, CSRF_COOKIE), header) {
        (Some(cookie), Some(header)) => cookie.as_bytes().ct_eq(header).into(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_set_as_breeze_sets_them() {
        let policy = CookiePolicy { same_site: SameSite::Lax, is_secure: true };
        let [refresh, csrf] = policy.set(&"a.b.c".into(), Duration::from_secs(604_800));
        assert_eq!(
            refresh,
            "breeze_refresh_token=a.b.c; Path=/api/v1/auth; HttpOnly; SameSite=Lax; Secure; Max-Age=604800"
        );
        let csrf = csrf.to_str().expect("text");
        let token = csrf.strip_prefix("breeze_csrf_token=").and_then(|rest| rest.split(';').next());
        assert_eq!(token.map(str::len), Some(64), "{csrf}");
        assert!(policy.clear()[0].to_str().expect("text").ends_with("Max-Age=0"));
    }

    #[test]
    fn the_first_cookie_of_a_name_counts() {
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, HeaderValue::from_static("a=1; breeze_csrf_token=x;a=2"));
        assert_eq!(cookie(&headers, "a"), Some("1"));
        assert!(!proves_same_site(&headers));
        headers.insert(CSRF_HEADER, HeaderValue::from_static("x"));
        assert!(proves_same_site(&headers));
    }
}
