//! The text of a whole envelope: form, key id, payload.

use std::fmt;

use crate::ids::is_in_key_id;

use super::{error::Malformed, payload};

/// What an envelope begins with: case-sensitive, one family each for the general
/// secrets and for TOTP seeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Form {
    /// `enc:v1:`: names no key, bound to nothing.
    EncV1,
    /// `enc:v2:<key id>:`: bound to nothing.
    EncV2,
    /// `enc:v3:<key id>:`: bound to its AAD.
    EncV3,
    /// `mfa:v1:`: names no key, bound to nothing.
    MfaV1,
    /// `mfa:v2:<key id>:`: bound to its AAD.
    MfaV2,
}

impl Form {
    /// What it begins with.
    #[must_use]
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::EncV1 => "enc:v1:",
            Self::EncV2 => "enc:v2:",
            Self::EncV3 => "enc:v3:",
            Self::MfaV1 => "mfa:v1:",
            Self::MfaV2 => "mfa:v2:",
        }
    }

    /// Whether it names its key.
    #[must_use]
    pub const fn names_key(self) -> bool {
        !matches!(self, Self::EncV1 | Self::MfaV1)
    }

    /// Whether it is bound to its AAD.
    #[must_use]
    pub const fn is_bound(self) -> bool {
        matches!(self, Self::EncV3 | Self::MfaV2)
    }

    /// Whether it belongs to the family of TOTP seeds.
    #[must_use]
    pub const fn is_mfa(self) -> bool {
        matches!(self, Self::MfaV1 | Self::MfaV2)
    }

    /// The form that `value` begins with, white space before it aside.
    /// Anything else is plaintext: `enc:v4:`, `ENC:v2:`, ….
    #[must_use]
    pub fn of(value: &str) -> Option<Self> {
        match value.trim_ascii_start().as_bytes().first_chunk()? {
            b"enc:v1:" => Some(Self::EncV1),
            b"enc:v2:" => Some(Self::EncV2),
            b"enc:v3:" => Some(Self::EncV3),
            b"mfa:v1:" => Some(Self::MfaV1),
            b"mfa:v2:" => Some(Self::MfaV2),
            _ => None,
        }
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.prefix().trim_end_matches(':'))
    }
}

/// One envelope, its payload not yet decoded.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Envelope<'a> {
    form: Form,
    key_id: Option<&'a str>,
    payload: &'a str,
    is_trimmed: bool,
}

impl<'a> Envelope<'a> {
    /// Reads `value`; `None` when it is plaintext.
    ///
    /// # Errors
    /// [`Malformed::KeyId`] when it has a form that names a key, and names none.
    pub fn parse(value: &'a str) -> Result<Option<Self>, Malformed> {
        Form::of(value).map(|form| Self::parse_as(form, value)).transpose()
    }

    /// Reads `value`, of which [`Form::of`] told `form`.
    pub(crate) fn parse_as(form: Form, value: &'a str) -> Result<Self, Malformed> {
        let text = value.trim_ascii();
        let rest = text.strip_prefix(form.prefix()).unwrap_or_default();
        let (key_id, payload) = if form.names_key() {
            // One look at each character: the first that no key id has must end it.
            let end = rest.bytes().position(|byte| !is_in_key_id(byte));
            let (id, payload) = rest.split_at(end.ok_or(Malformed::KeyId)?);
            let payload = payload.strip_prefix(':').filter(|_| !id.is_empty());
            (Some(id), payload.ok_or(Malformed::KeyId)?)
        } else {
            (None, rest)
        };
        Ok(Self { form, key_id, payload, is_trimmed: text.len() == value.len() })
    }

    /// Its form.
    #[must_use]
    pub const fn form(&self) -> Form {
        self.form
    }

    /// The key that it names, if its form does.
    #[must_use]
    pub const fn key_id(&self) -> Option<&'a str> {
        self.key_id
    }

    /// Whether it is written exactly as [`seal`](super::seal) writes: no padding, no
    /// standard alphabet, no white space around it.
    #[must_use]
    pub fn is_canonical(&self) -> bool {
        self.is_trimmed && payload::is_canonical(self.payload)
    }

    pub(super) const fn payload(&self) -> &'a str {
        self.payload
    }

    pub(super) const fn is_trimmed(&self) -> bool {
        self.is_trimmed
    }
}

/// Shows the form and the key, never the payload.
impl fmt::Debug for Envelope<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Envelope")
            .field("form", &self.form)
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_prefixes_are_envelopes() {
        for plain in ["", "enc:", "enc:v1", "enc:v4:k:a.b.c", "ENC:v2:k:a.b.c", "mfa:v3:k:x", "x"] {
            assert_eq!(Envelope::parse(plain), Ok(None), "{plain:?}");
        }
    }

    #[test]
    fn the_key_id_stands_between_prefix_and_the_next_colon() {
        let parsed = |value| Envelope::parse(value).map(|e| e.map(|e| (e.form(), e.key_id())));
        assert_eq!(parsed("enc:v3:k:"), Ok(Some((Form::EncV3, Some("k")))));
        assert_eq!(parsed("mfa:v2:A.b_c-9:x:y"), Ok(Some((Form::MfaV2, Some("A.b_c-9")))));
        assert_eq!(parsed("enc:v1:k:x"), Ok(Some((Form::EncV1, None))));
        assert_eq!(parsed(" \tenc:v2:k:x\n"), Ok(Some((Form::EncV2, Some("k")))));
        for bad in ["enc:v2:", "enc:v2::x", "enc:v3:a b:x", "mfa:v2: k:x", "enc:v2:k"] {
            assert_eq!(parsed(bad), Err(Malformed::KeyId), "{bad:?}");
        }
    }
}
