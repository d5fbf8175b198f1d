//! Key material under the root key.
//!
//! ```text
//! root:v1:<fingerprint of the root key>:b64url(nonce).b64url(tag).b64url(ciphertext)
//! ```
//! AES-256-GCM under SHA-256 of the root key, a random 12-byte nonce, a 16-byte
//! tag, and the AAD `rollover.key:<SECRET>:<key id>`. Base64url without padding.
//! What is read is what is written: any other form is malformed.

use aes_gcm::{AeadInOut, Aes256Gcm, KeyInit};
use base64_simd::URL_SAFE_NO_PAD as BASE64URL;
use rand::{TryRng, rngs::SysRng};
use zeroize::Zeroizing;

use super::{error::CustodyError, root::RootKeys};
use crate::{
    catalog::Secret,
    ids::KeyId,
    material::{Fingerprint, Material, NoEntropy},
};

const VERSION: &str = "root:v1:";

/// Seals `material` under the primary root key, bound to its secret and id.
///
/// # Errors
/// [`CustodyError::NoEntropy`] without a nonce.
pub fn seal_material(
    root: &RootKeys,
    secret: Secret,
    id: &KeyId,
    material: &Material,
) -> Result<String, CustodyError> {
    let mut nonce = [0; 12];
    SysRng.try_fill_bytes(&mut nonce).map_err(|_| NoEntropy)?;
    let mut text = Zeroizing::new(material.expose_source().as_bytes().to_vec());
    let tag = cipher(root.primary())
        .encrypt_inout_detached(
            &nonce.into(),
            aad(secret, id).as_bytes(),
            text.as_mut_slice().into(),
        )
        .expect("a key is shorter than 64 GiB");
    Ok(format!(
        "{VERSION}{}:{}.{}.{}",
        root.primary().fingerprint(),
        BASE64URL.encode_to_string(nonce),
        BASE64URL.encode_to_string(tag),
        BASE64URL.encode_to_string(text.as_slice()),
    ))
}

/// Opens what [`seal_material`] made for this secret and id, with the root key
/// that it names.
///
/// # Errors
/// [`CustodyError`]: `Malformed`, `UnknownRootKey` and `Authentication` are three
/// different things.
pub fn open_material(
    root: &RootKeys,
    secret: Secret,
    id: &KeyId,
    sealed: &str,
) -> Result<Material, CustodyError> {
    let malformed = || CustodyError::Malformed { secret, id: id.clone() };
    let refused = || CustodyError::Authentication { secret, id: id.clone() };
    let Sealed { root: needed, nonce, tag, mut text } = parse(sealed).ok_or_else(malformed)?;
    let root_key = root.get(needed).ok_or_else(|| CustodyError::UnknownRootKey {
        secret,
        id: id.clone(),
        needed,
        at_hand: root.fingerprints().collect(),
    })?;
    cipher(root_key)
        .decrypt_inout_detached(
            &nonce.into(),
            aad(secret, id).as_bytes(),
            text.as_mut_slice().into(),
            &tag.into(),
        )
        .map_err(|_| refused())?;
    let text = str::from_utf8(&text).map_err(|_| malformed())?;
    Material::new(text).map_err(|_| malformed())
}

/// The root key that sealed a value, if the value has the format.
#[must_use]
pub fn root_of(sealed: &str) -> Option<Fingerprint> {
    parse(sealed).map(|sealed| sealed.root)
}

struct Sealed {
    root: Fingerprint,
    nonce: [u8; 12],
    tag: [u8; 16],
    text: Zeroizing<Vec<u8>>,
}

fn parse(sealed: &str) -> Option<Sealed> {
    let (root, payload) = sealed.strip_prefix(VERSION)?.split_once(':')?;
    let mut parts = payload.split('.').map(|part| BASE64URL.decode_to_vec(part).ok());
    let mut next = || parts.next().flatten();
    let (nonce, tag, text) = (next()?, next()?, next()?);
    if parts.next().is_some() || text.is_empty() {
        return None;
    }
    Some(Sealed {
        root: root.parse().ok()?,
        nonce: nonce.try_into().ok()?,
        tag: tag.try_into().ok()?,
        text: Zeroizing::new(text),
    })
}

fn aad(secret: Secret, id: &KeyId) -> String {
    format!("rollover.key:{secret}:{id}")
}

fn cipher(root: &Material) -> Aes256Gcm {
    Aes256Gcm::new(&(*root.derive_aes256()).into())
}
