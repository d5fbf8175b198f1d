//! Finds cookies in a request, and the proof that a page of ours sent them
//! (FORMATS section 7).

use std::borrow::Cow;

use http::{HeaderMap, HeaderValue, header::COOKIE};
use percent_encoding::percent_decode_str;
use subtle::ConstantTimeEq;

/// The cookie that a page repeats in [`CSRF_HEADER`].
pub const CSRF_COOKIE: &str = "breeze_csrf_token";
/// The header that proves that a page of ours sent the cookies.
pub const CSRF_HEADER: &str = "x-breeze-csrf";

/// The first cookie of this name that is not empty, percent-decoded where it can be.
#[must_use]
pub fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<Cow<'a, str>> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find_map(|(key, value)| (key == name).then_some(value))
        .filter(|value| !value.is_empty())
        .map(|value| percent_decode_str(value).decode_utf8().unwrap_or(Cow::Borrowed(value)))
}

/// Whether the page that sent the cookies could read them: its header repeats the CSRF
/// cookie. Compared in constant time.
#[must_use]
pub fn proves_same_site(headers: &HeaderMap) -> bool {
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
    fn the_first_cookie_of_a_name_counts() {
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, HeaderValue::from_static("a=1; breeze_csrf_token=x;a=2"));
        assert_eq!(cookie(&headers, "a").as_deref(), Some("1"));
        assert!(!proves_same_site(&headers));
        headers.insert(CSRF_HEADER, HeaderValue::from_static("y"));
        assert!(!proves_same_site(&headers));
        headers.insert(CSRF_HEADER, HeaderValue::from_static("x"));
        assert!(proves_same_site(&headers));
    }

    #[test]
    fn two_empty_values_prove_nothing() {
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, HeaderValue::from_static("breeze_csrf_token="));
        headers.insert(CSRF_HEADER, HeaderValue::from_static(""));
        assert!(!proves_same_site(&headers));
    }
}
