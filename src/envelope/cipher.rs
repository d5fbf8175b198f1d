//! The primitive: AES-256-GCM on bytes, with a prepared cipher.

use aes_gcm::{
    AeadInOut, Aes256Gcm,
    aead::{Error, inout::InOutBuf},
};

use crate::keyring::{Primary, Sealing};

pub(super) const NONCE: usize = 12;
pub(super) const TAG: usize = 16;

/// What one seal makes.
pub(super) struct Sealed {
    pub(super) nonce: [u8; NONCE],
    pub(super) tag: [u8; TAG],
    pub(super) bytes: Vec<u8>,
}

/// Seals `plaintext`, which is never copied.
pub(super) fn seal(
    key: &Primary<'_, Sealing>,
    nonce: [u8; NONCE],
    aad: &[u8],
    plaintext: &[u8],
) -> Result<Sealed, Error> {
    let mut bytes = vec![0; plaintext.len()];
    let buffer = InOutBuf::new(plaintext, &mut bytes).map_err(|_| Error)?;
    let tag = key.cipher().encrypt_inout_detached(&nonce.into(), aad, buffer)?;
    Ok(Sealed { nonce, tag: tag.into(), bytes })
}

/// Opens `sealed` in place. On failure the bytes are what they were, so that
/// another key can be tried.
pub(super) fn open(cipher: &Aes256Gcm, aad: &[u8], sealed: &mut Sealed) -> Result<(), Error> {
    cipher.decrypt_inout_detached(
        &sealed.nonce.into(),
        aad,
        sealed.bytes.as_mut_slice().into(),
        &sealed.tag.into(),
    )
}
