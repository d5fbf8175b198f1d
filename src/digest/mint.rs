//! New secrets for others to hold. Each is shown once, and only its hash is kept.

use rand::{TryRng, rngs::SysRng};
use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::material::NoEntropy;

/// What every token and API key begins with.
const PREFIX: &str = "brz_";

/// How many first characters of an API key are kept in the clear, to tell it by.
pub const API_KEY_PREFIX: usize = 12;

/// 64 hexadecimal digits.
///
/// # Errors
/// [`NoEntropy`] when the operating system has no randomness to give.
pub fn enrolment_key() -> Result<SecretString, NoEntropy> {
    Ok(hex("", &*random::<32>()?))
}

/// `brz_` and 64 hexadecimal digits.
///
/// # Errors
/// [`NoEntropy`] when the operating system has no randomness to give.
pub fn agent_token() -> Result<SecretString, NoEntropy> {
    Ok(hex(PREFIX, &*random::<32>()?))
}

/// `brz_` and 32 characters of base64url.
///
/// # Errors
/// [`NoEntropy`] when the operating system has no randomness to give.
pub fn api_key() -> Result<SecretString, NoEntropy> {
    let bytes = random::<24>()?;
    let text = Zeroizing::new(base64_simd::URL_SAFE_NO_PAD.encode_to_string(*bytes));
    Ok(SecretString::from([PREFIX, text.as_str()].concat()))
}

/// `XXXX-XXXX` of A-Z and 0-9.
///
/// # Errors
/// [`NoEntropy`] when the operating system has no randomness to give.
pub fn recovery_code() -> Result<SecretString, NoEntropy> {
    const LETTERS: &[u8; 36] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    /// The bytes below it stand for each letter equally often.
    const FAIR: u8 = 252;
    let mut code = Zeroizing::new(String::with_capacity(9));
    while code.len() < 9 {
        for byte in random::<16>()?.iter().filter(|byte| **byte < FAIR) {
            match code.len() {
                4 => code.push('-'),
                9 => break,
                _ => {}
            }
            code.push(char::from(LETTERS[usize::from(byte % 36)]));
        }
    }
    Ok(SecretString::from(code.as_str()))
}

fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>, NoEntropy> {
    let mut bytes = Zeroizing::new([0; N]);
    SysRng.try_fill_bytes(&mut *bytes).map_err(|_| NoEntropy)?;
    Ok(bytes)
}

fn hex(prefix: &str, bytes: &[u8]) -> SecretString {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    // As long as it gets: nothing is left behind by growing.
    let mut text = String::with_capacity(prefix.len() + 2 * bytes.len());
    text.push_str(prefix);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 0xf)]));
    }
    SecretString::from(text)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use secrecy::ExposeSecret;

    use super::*;

    fn is_lower_hex(text: &str) -> bool {
        text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    }

    #[test]
    fn minted_values_have_the_forms_that_breeze_knows() {
        assert!(is_lower_hex(enrolment_key().unwrap().expose_secret()));
        let token = agent_token().unwrap();
        assert!(token.expose_secret().strip_prefix("brz_").is_some_and(is_lower_hex));
        let key = api_key().unwrap();
        let rest = key.expose_secret().strip_prefix("brz_").unwrap();
        assert_eq!(rest.len(), 32);
        assert!(rest.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')));
    }

    #[test]
    fn recovery_codes_are_two_groups_of_four_and_use_every_letter() {
        let mut seen = HashSet::new();
        for _ in 0..500 {
            let code = recovery_code().unwrap();
            let (first, second) = code.expose_secret().split_once('-').unwrap();
            assert_eq!((first.len(), second.len()), (4, 4));
            seen.extend(format!("{first}{second}").into_bytes());
        }
        assert!(seen.iter().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit()));
        assert_eq!(seen.len(), 36);
    }
}
