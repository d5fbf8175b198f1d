//! A second reader of sealed text, straight over `aes-gcm`: it shares no line with
//! the crate, so that both being wrong in the same way is unlikely.

use aes_gcm::{
    Aes256Gcm, KeyInit,
    aead::{Aead, Payload},
};
use sha2::{Digest, Sha256};

/// Prefix, key id and payload of text that is exactly as a writer writes it.
pub fn split(envelope: &str) -> Option<(&str, Option<&str>, &str)> {
    for prefix in ["enc:v1:", "mfa:v1:"] {
        if let Some(payload) = envelope.strip_prefix(prefix) {
            return Some((prefix, None, payload));
        }
    }
    ["enc:v2:", "enc:v3:", "mfa:v2:"].into_iter().find_map(|prefix| {
        let (id, payload) = envelope.strip_prefix(prefix)?.split_once(':')?;
        Some((prefix, Some(id), payload))
    })
}

/// The plaintext of `envelope` under the key that is made of `source`.
pub fn open(source: &str, aad: &str, envelope: &str) -> Option<String> {
    let (prefix, _, payload) = split(envelope)?;
    let parts: Vec<_> = payload
        .split('.')
        .map(|part| base64_simd::URL_SAFE_NO_PAD.decode_to_vec(part).ok())
        .collect::<Option<_>>()?;
    let [nonce, tag, ciphertext] = <[Vec<u8>; 3]>::try_from(parts).ok()?;
    let key: [u8; 32] = Sha256::digest(source.as_bytes()).into();
    let aad = if matches!(prefix, "enc:v3:" | "mfa:v2:") { aad } else { "" };
    let nonce: [u8; 12] = nonce.try_into().ok()?;
    assert_eq!(tag.len(), 16);
    let msg = [ciphertext, tag].concat();
    let payload = Payload { msg: &msg, aad: aad.as_bytes() };
    let plaintext = Aes256Gcm::new(&key.into()).decrypt(&nonce.into(), payload).ok()?;
    String::from_utf8(plaintext).ok()
}
