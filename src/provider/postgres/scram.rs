//! A password as PostgreSQL stores it: `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`
//! (RFC 5803), from which nobody gets it back.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::provider::ProviderError;

/// The verifier of `password` under a new salt. The password is ASCII, so that SASLprep
/// changes nothing.
pub(super) fn verifier_of(password: &str) -> Result<String, ProviderError> {
    let mut salt = [0; 16];
    rand::TryRng::try_fill_bytes(&mut rand::rngs::SysRng, &mut salt)
        .map_err(|_| ProviderError::Unreachable("no randomness".to_owned()))?;
    Ok(verifier(password, &salt, 4096))
}

fn verifier(password: &str, salt: &[u8], iterations: u32) -> String {
    let mac = |key: &[u8], text: &[u8]| -> [u8; 32] {
        Hmac::<Sha256>::new_from_slice(key)
            .expect("HMAC takes a key of any length")
            .chain_update(text)
            .finalize()
            .into_bytes()
            .into()
    };
    // PBKDF2 with one block: Hi() of RFC 5802.
    let mut last = mac(password.as_bytes(), &[salt, &[0, 0, 0, 1]].concat());
    let mut salted = last;
    for _ in 1..iterations {
        last = mac(password.as_bytes(), &last);
        salted.iter_mut().zip(last).for_each(|(byte, next)| *byte ^= next);
    }
    let stored: [u8; 32] = Sha256::digest(mac(&salted, b"Client Key")).into();
    let server = mac(&salted, b"Server Key");
    let base64 = |bytes: &[u8]| base64_simd::STANDARD.encode_to_string(bytes);
    format!("SCRAM-SHA-256${iterations}:{}${}:{}", base64(salt), base64(&stored), base64(&server))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verifier_is_that_of_rfc_7677() {
        // The example of RFC 7677, section 3: its salt, and the keys that follow from it.
        let salt = base64_simd::STANDARD.decode_to_vec("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        assert_eq!(
            verifier("pencil", &salt, 4096),
            "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==\
             $WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=\
             :wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
        );
    }
}
