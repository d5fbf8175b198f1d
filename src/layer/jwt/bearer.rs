//! Finds the bearer token in a request's headers (RFC 6750, section 2.1).

use http::{HeaderMap, header::AUTHORIZATION};

use super::denied::Denied;

/// The token, or `None` when the request has no bearer credentials at all. Another
/// scheme is none of ours, so it counts as none.
pub(super) fn token(headers: &HeaderMap) -> Result<Option<&str>, Denied> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Denied::InvalidRequest);
    }
    let mut words = value.as_bytes().splitn(2, |byte| *byte == b' ');
    let mut word = || words.next().unwrap_or_default();
    let (scheme, token) = (word(), word().trim_ascii());
    if !scheme.eq_ignore_ascii_case(b"Bearer") {
        return Ok(None);
    }
    // Without early exit, so that it is vectorised: this is the hot path.
    let is_graphic = token.iter().fold(true, |all, byte| all & byte.is_ascii_graphic());
    match str::from_utf8(token) {
        Ok(token) if is_graphic && !token.is_empty() => Ok(Some(token)),
        _ => Err(Denied::InvalidRequest),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_token_is_found_or_the_request_is_malformed() {
        for (value, expected) in [
            ("Bearer a.b.c", Ok(Some("a.b.c"))),
            ("bearer  a.b.c ", Ok(Some("a.b.c"))),
            ("Basic dXNlcjpwYXNz", Ok(None)),
            ("Bearerish a.b.c", Ok(None)),
            ("", Ok(None)),
            ("Bearer", Err(Denied::InvalidRequest)),
            ("Bearer ", Err(Denied::InvalidRequest)),
            ("Bearer a b", Err(Denied::InvalidRequest)),
            ("Bearer a, Bearer b", Err(Denied::InvalidRequest)),
            ("Bearer ä", Err(Denied::InvalidRequest)),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, HeaderValue::from_bytes(value.as_bytes()).unwrap());
            assert_eq!(token(&headers), expected, "{value:?}");
        }
        assert_eq!(token(&HeaderMap::new()), Ok(None));
    }

    #[test]
    fn two_credentials_are_one_too_many() {
        let mut headers = HeaderMap::new();
        headers.append(AUTHORIZATION, HeaderValue::from_static("Bearer a.b.c"));
        headers.append(AUTHORIZATION, HeaderValue::from_static("Bearer a.b.c"));
        assert_eq!(token(&headers), Err(Denied::InvalidRequest));
    }
}
