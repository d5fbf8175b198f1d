//! What a provider said, made fit to be told.
//!
//! 1. Nothing of the credential is in it: neither as it is, nor in base64, nor escaped.
//! 2. It is one line of at most [`LONGEST`] characters.

use reqwest::Url;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::material::Material;

/// The longest that is told of an answer, in characters.
const LONGEST: usize = 200;

/// The parts of a credential, which are never told.
pub(crate) struct Withheld(Vec<Zeroizing<String>>);

impl Withheld {
    /// The credential as it is.
    pub(crate) fn of(credential: &Material) -> Self {
        Self::parts(&[credential.expose_source()])
    }

    /// The parts of a credential, each in every form in which it may come back.
    pub(crate) fn parts(parts: &[&str]) -> Self {
        let mut forms = Vec::new();
        for part in parts.iter().filter(|part| !part.is_empty()) {
            let base64 = base64_simd::STANDARD.encode_to_string(part);
            let unpadded = base64.trim_end_matches('=').to_owned();
            forms.extend([(*part).to_owned(), escaped(part), base64, unpadded].map(Zeroizing::new));
        }
        // The longest first: one may be a part of another.
        forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
        Self(forms)
    }

    /// `said` without them.
    pub(crate) fn told(&self, said: &str) -> String {
        let mut told = said.split_whitespace().collect::<Vec<_>>().join(" ");
        for form in &self.0 {
            told = told.replace(form.as_str(), "[withheld]");
        }
        told.retain(|c| !c.is_control());
        match told.char_indices().nth(LONGEST) {
            Some((end, _)) => format!("{}…", &told[..end]),
            None => told,
        }
    }
}

/// `part` as a form has it.
pub(super) fn escaped(part: &str) -> String {
    let mut url = Url::parse("http://x/").expect("an address");
    url.query_pairs_mut().append_key_only(part);
    url.query().unwrap_or_default().to_owned()
}

/// The sentence in an error's body, in the forms that the providers document.
pub(crate) fn sentence(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?.trim();
    if let Ok(json) = serde_json::from_str::<Value>(text) {
        let places =
            ["/error/message", "/errors/0/message", "/errors/0", "/message", "/Message", "/error"];
        let mut said = places.iter().filter_map(|place| json.pointer(place)?.as_str());
        return said.next().map(str::to_owned);
    }
    if text.starts_with('<') {
        let element = |name: &str| {
            let (_, rest) = text.split_once(&format!("<{name}>"))?;
            Some(rest.split_once(&format!("</{name}>"))?.0)
        };
        let code = element("Code")?;
        return Some(element("Message").map_or(code.to_owned(), |said| format!("{code}: {said}")));
    }
    let is_short = (1..=LONGEST).contains(&text.len());
    is_short.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_form_of_a_credential_is_told() {
        let withheld = Withheld::parts(&["user", "p/a ss+word"]);
        let said = "user said p/a ss+word, p%2Fa+ss%2Bword and cC9hIHNzK3dvcmQ=, cC9hIHNzK3dvcmQ";
        assert_eq!(
            withheld.told(said),
            "[withheld] said [withheld], [withheld] and [withheld], [withheld]"
        );
    }

    #[test]
    fn what_is_told_is_one_short_line() {
        let told =
            Withheld::parts(&["secret"]).told(&format!("a\r\n\u{1b}[31m b {}", "ö".repeat(500)));
        assert!(told.starts_with("a [31m b ö") && told.ends_with('…'), "{told}");
        assert_eq!(told.chars().count(), LONGEST + 1);
    }

    #[test]
    fn the_sentence_is_found_in_every_documented_form() {
        for (body, sentence) in [
            (
                r#"{"type":"error","error":{"type":"x","message":"invalid x-api-key"}}"#,
                Some("invalid x-api-key"),
            ),
            (
                r#"{"success":false,"errors":[{"code":1000,"message":"Invalid API Token"}]}"#,
                Some("Invalid API Token"),
            ),
            (r#"{"code":20003,"message":"Authenticate","status":401}"#, Some("Authenticate")),
            (r#"{"errors":["Vault is sealed"]}"#, Some("Vault is sealed")),
            (r#"{"__type":"InternalServiceError","Message":"oops"}"#, Some("oops")),
            (
                "<?xml?><Error><Code>AccessDenied</Code><Message>no</Message></Error>",
                Some("AccessDenied: no"),
            ),
            ("<Error><Code>InvalidAccessKeyId</Code></Error>", Some("InvalidAccessKeyId")),
            ("Forbidden\n", Some("Forbidden")),
            ("<html>whatever</html>", None),
            ("{}", None),
            ("", None),
            ("\u{fffd}", Some("\u{fffd}")),
        ] {
            assert_eq!(super::sentence(body.as_bytes()).as_deref(), sentence, "{body}");
        }
        assert_eq!(super::sentence(b"\xff\xfe"), None);
    }
}
