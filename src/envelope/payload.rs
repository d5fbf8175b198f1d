//! The text of one payload: `b64url(nonce)` `.` `b64url(tag)` `.` `b64url(ciphertext)`.
//!
//! Written in one way. Read strictly first, straight into the buffer that is then
//! opened in place; only text that is not written so is read again, leniently.
//!
//! The strict reader decodes with `base64-turbo`, since a large value costs little
//! but its base64: `base64-simd` alone takes a third of the time of the cipher.

use base64_simd::URL_SAFE_NO_PAD as BASE64;
use base64_turbo::URL_SAFE_NO_PAD as DECODER;

use super::{
    cipher::{NONCE, Sealed, TAG},
    error::Malformed,
};

/// Characters of a nonce and of a tag, without padding.
const NONCE_TEXT: usize = 16;
const TAG_TEXT: usize = 22;
/// Where the ciphertext begins.
const CIPHERTEXT: usize = NONCE_TEXT + 1 + TAG_TEXT + 1;

/// Characters of the payload of `length` bytes.
pub(super) const fn text_length(length: usize) -> usize {
    CIPHERTEXT + BASE64.encoded_length(length)
}

/// Appends `sealed` to `text`, which should have room for it.
pub(super) fn write(sealed: &Sealed, text: &mut String) {
    BASE64.encode_append(sealed.nonce, text);
    text.push('.');
    BASE64.encode_append(sealed.tag, text);
    text.push('.');
    BASE64.encode_append(&sealed.bytes, text);
}

/// What may follow the three parts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// Nothing.
    Refused,
    /// Anything, as Breeze reads `mfa:v1:`.
    Ignored,
}

/// Reads `text`, and tells whether it is written as [`write`] does.
pub(super) fn read(text: &str, rest: Rest) -> Result<(Sealed, bool), Malformed> {
    match read_strictly(text.as_bytes()) {
        Some(sealed) => Ok((sealed, true)),
        None => Ok((read_leniently(text, rest)?, false)),
    }
}

/// Whether `text` is written as [`write`] does.
pub(super) fn is_canonical(text: &str) -> bool {
    parts(text.as_bytes()).is_some_and(|(nonce, tag, bytes)| {
        [nonce.as_slice(), tag, bytes].into_iter().all(|part| BASE64.check(part).is_ok())
    })
}

/// The three parts, where a canonical payload has them.
fn parts(text: &[u8]) -> Option<(&[u8; NONCE_TEXT], &[u8; TAG_TEXT], &[u8])> {
    let (nonce, rest) = text.split_first_chunk()?;
    let (tag, bytes) = rest.strip_prefix(b".")?.split_first_chunk()?;
    let bytes = bytes.strip_prefix(b".")?;
    (!bytes.is_empty()).then_some((nonce, tag, bytes))
}

fn read_strictly(text: &[u8]) -> Option<Sealed> {
    let (nonce, tag, bytes) = parts(text)?;
    let groups = bytes.len() / 4;
    let (whole, last) = bytes.split_at(groups * 4);
    let ends = Ends::decode(nonce, tag, last)?;

    let mut bytes = vec![0; groups * 3 + ends.last().len()];
    let (body, rest) = bytes.split_at_mut(groups * 3);
    DECODER.decode_slice(whole, body).ok()?;
    rest.copy_from_slice(ends.last());
    Some(Sealed { nonce: ends.nonce(), tag: ends.tag(), bytes })
}

/// What is short in a payload, decoded at once: a call of the decoder costs as much as
/// some fifty characters. A part that ends within a group of four is filled up with
/// `A`, which stands for zeros; what it then decodes to beyond its own bytes are its
/// unused bits, which must be zeros too.
struct Ends {
    /// Nonce, tag and two bytes of filling, last group.
    bytes: [u8; LAST + 3],
    /// Bytes of the last group.
    last: usize,
}

/// Where the last group begins among [`Ends::bytes`].
const LAST: usize = NONCE + TAG + 2;

impl Ends {
    /// Of a nonce, a tag, and fewer than four characters.
    fn decode(nonce: &[u8; NONCE_TEXT], tag: &[u8; TAG_TEXT], last: &[u8]) -> Option<Self> {
        let mut text = [b'A'; NONCE_TEXT + TAG_TEXT + 2 + 4];
        let (nonce_text, rest) = text.split_first_chunk_mut()?;
        let (tag_text, rest) = rest.split_first_chunk_mut()?;
        (*nonce_text, *tag_text) = (*nonce, *tag);
        for (place, character) in rest[2..].iter_mut().zip(last) {
            *place = *character;
        }
        let last = match last.len() {
            0 => 0,
            1 => return None,
            characters => characters - 1,
        };
        let mut ends = Self { bytes: [0; _], last };
        DECODER.decode_slice(text, &mut ends.bytes).ok()?;
        let (unused, last_unused) = (&ends.bytes[NONCE + TAG..LAST], &ends.bytes[LAST + last..]);
        let is_canonical = unused.iter().chain(last_unused).all(|byte| *byte == 0);
        is_canonical.then_some(ends)
    }

    fn nonce(&self) -> [u8; NONCE] {
        std::array::from_fn(|index| self.bytes[index])
    }

    fn tag(&self) -> [u8; TAG] {
        std::array::from_fn(|index| self.bytes[NONCE + index])
    }

    fn last(&self) -> &[u8] {
        &self.bytes[LAST..][..self.last]
    }
}

/// Padding, the standard alphabet and set unused bits are read, as Breeze does.
fn read_leniently(text: &str, rest: Rest) -> Result<Sealed, Malformed> {
    let mut parts = text.split('.');
    let mut part = || parts.next().filter(|part| !part.is_empty()).ok_or(Malformed::Parts);
    let [nonce, tag, bytes] = [part()?, part()?, part()?];
    if rest == Rest::Refused && parts.next().is_some() {
        return Err(Malformed::Parts);
    }
    Ok(Sealed {
        nonce: decode(nonce)?.try_into().map_err(|_| Malformed::Nonce)?,
        tag: decode(tag)?.try_into().map_err(|_| Malformed::Tag)?,
        bytes: Some(decode(bytes)?).filter(|bytes| !bytes.is_empty()).ok_or(Malformed::Parts)?,
    })
}

fn decode(part: &str) -> Result<Vec<u8>, Malformed> {
    let digits: Vec<u8> = part
        .trim_end_matches('=')
        .bytes()
        .map(|byte| match byte {
            b'-' => b'+',
            b'_' => b'/',
            other => other,
        })
        .collect();
    // The forgiving decoder skips white space, which is no base64 here.
    if !digits.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/')) {
        return Err(Malformed::Base64);
    }
    base64_simd::forgiving_decode_to_vec(&digits).map_err(|_| Malformed::Base64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: &str = "AAECAwQFBgcICQoL";
    const TAG: &str = "_____________________w";

    fn verdict(text: &str) -> Result<bool, Malformed> {
        let (sealed, is_canonical) = read(text, Rest::Refused)?;
        assert_eq!(sealed.nonce, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
        assert_eq!((sealed.tag, sealed.bytes.as_slice()), ([0xff; 16], b"\xfb\xff".as_slice()));
        assert_eq!(super::is_canonical(text), is_canonical);
        Ok(is_canonical)
    }

    #[test]
    fn the_writer_s_own_text_is_canonical_and_hand_edits_are_read() {
        assert_eq!(verdict(&format!("{NONCE}.{TAG}.-_8")), Ok(true));
        for edited in ["-_8=", "+/8", "+/8=", "-/8", "-_9"] {
            assert_eq!(verdict(&format!("{NONCE}.{TAG}.{edited}")), Ok(false), "{edited}");
        }
        assert_eq!(verdict(&format!("{NONCE}.{TAG}==.-_8")), Ok(false));
    }

    #[test]
    fn everything_else_is_refused() {
        let text = |nonce, tag, bytes| format!("{nonce}.{tag}.{bytes}");
        for (text, why) in [
            (String::new(), Malformed::Parts),
            (text(NONCE, TAG, ""), Malformed::Parts),
            (text(NONCE, TAG, "="), Malformed::Parts),
            (text(NONCE, "", "-_8"), Malformed::Parts),
            (text(NONCE, TAG, "-_8."), Malformed::Parts),
            (text(NONCE, TAG, "-_8.-_8"), Malformed::Parts),
            (text(NONCE, TAG, "-_\n8"), Malformed::Base64),
            (text(NONCE, TAG, "-_\u{e9}"), Malformed::Base64),
            (text(NONCE, TAG, "-=_8"), Malformed::Base64),
            (text(NONCE, TAG, "-_8AB"), Malformed::Base64),
            (text(&NONCE[4..], TAG, "-_8"), Malformed::Nonce),
            (text("Bw", TAG, "-_8"), Malformed::Nonce),
            (text(NONCE, &TAG[6..], "-_8"), Malformed::Tag),
            (text(NONCE, "c6om05EQGajnDfH3mpEnbgA", "-_8"), Malformed::Tag),
        ] {
            assert_eq!(verdict(&text), Err(why), "{text:?}");
        }
    }
}
