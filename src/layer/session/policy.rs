//! How cookies are set, as Breeze sets them (FORMATS section 7).

use http::HeaderValue;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What a value keeps as it is: the characters of tokens among them.
const KEPT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'!')
    .remove(b'~')
    .remove(b'*')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')');

/// The cookie of a browser session.
pub const SESSION_COOKIE: &str = "breeze_session";

/// Which other sites' requests carry a cookie.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SameSite {
    /// Links that lead here.
    #[default]
    Lax,
    /// None.
    Strict,
    /// All: then a cookie is `Secure`, whatever else is said.
    None,
}

impl SameSite {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Lax => "Lax",
            Self::Strict => "Strict",
            Self::None => "None",
        }
    }
}

/// How cookies are set: `Secure` and `SameSite=Lax` unless told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CookiePolicy {
    /// Which other sites' requests carry them.
    pub same_site: SameSite,
    /// Whether they are sent over TLS only.
    pub is_secure: bool,
}

impl Default for CookiePolicy {
    fn default() -> Self {
        Self { same_site: SameSite::Lax, is_secure: true }
    }
}

impl CookiePolicy {
    /// The session cookie, which no script can read, for `max_age` seconds.
    #[must_use]
    pub fn session(&self, value: &str, max_age: u64) -> HeaderValue {
        self.http_only(SESSION_COOKIE, value, "/", max_age)
    }

    /// A cookie that no script can read. Its value is percent-encoded.
    ///
    /// # Panics
    /// If `name` or `path` has a character that no header may have.
    #[must_use]
    pub fn http_only(&self, name: &str, value: &str, path: &str, max_age: u64) -> HeaderValue {
        self.cookie(name, value, path, "; HttpOnly", max_age)
    }

    /// A cookie that a page can read. Its value is percent-encoded.
    ///
    /// # Panics
    /// If `name` or `path` has a character that no header may have.
    #[must_use]
    pub fn readable(&self, name: &str, value: &str, path: &str, max_age: u64) -> HeaderValue {
        self.cookie(name, value, path, "", max_age)
    }

    fn cookie(&self, name: &str, value: &str, path: &str, flag: &str, age: u64) -> HeaderValue {
        let same_site = self.same_site.as_str();
        let is_secure = self.is_secure || self.same_site == SameSite::None;
        let secure = if is_secure { "; Secure" } else { "" };
        let value = utf8_percent_encode(value, KEPT);
        let text = format!(
            "{name}={value}; Path={path}{flag}; SameSite={same_site}{secure}; Max-Age={age}"
        );
        let mut value = HeaderValue::try_from(text).expect("characters that a header may have");
        value.set_sensitive(true);
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_set_as_breeze_sets_them() {
        let policy = CookiePolicy { same_site: SameSite::Lax, is_secure: false };
        assert_eq!(
            policy.session("v1.k.p.s", 60),
            "breeze_session=v1.k.p.s; Path=/; HttpOnly; SameSite=Lax; Max-Age=60"
        );
        assert_eq!(
            CookiePolicy { same_site: SameSite::Strict, ..CookiePolicy::default() }.readable(
                "breeze_csrf_token",
                "",
                "/",
                0
            ),
            "breeze_csrf_token=; Path=/; SameSite=Strict; Secure; Max-Age=0"
        );
    }

    #[test]
    fn a_cookie_of_every_site_is_secure_whatever_else_is_said() {
        let policy = CookiePolicy { same_site: SameSite::None, is_secure: false };
        let cookie = policy.session("x", 1);
        assert!(cookie.to_str().unwrap().contains("; SameSite=None; Secure"), "{cookie:?}");
        assert!(cookie.is_sensitive());
    }
}
