//! Which key, which AAD: sealing and opening against a keyring.

use aes_gcm::Aes256Gcm;
use secrecy::SecretString;
use zeroize::Zeroize;

use crate::{
    ids::KeyId,
    keyring::{Key, Keyring, Primary, Sealing},
};

use super::{
    cipher,
    error::{Malformed, OpenError, SealError},
    grammar::{Envelope, Form},
    nonce,
    payload::{self, Rest},
};

/// Seals `plaintext` as `form` under the ring's primary key.
///
/// `aad` binds the forms that are bound, and is not used for the others. Empty
/// text stays empty, since no form can hold it.
///
/// # Errors
/// [`SealError`]: the lease of this process has run out, the key's budget is spent,
/// the operating system gives no randomness, a bound form has no AAD, or the value is
/// too long.
pub fn seal(
    ring: &Keyring<Sealing>,
    form: Form,
    aad: &str,
    plaintext: &str,
) -> Result<String, SealError> {
    if plaintext.is_empty() {
        return Ok(String::new());
    }
    let aad = bound_aad(form, aad).ok_or(SealError::AadRequired)?;
    ring.make(|key| write(&key, form, aad, plaintext))
}

fn write(
    key: &Primary<'_, Sealing>,
    form: Form,
    aad: &[u8],
    plaintext: &str,
) -> Result<String, SealError> {
    key.budget().spend()?;
    let nonce = nonce::fresh()?;
    let sealed =
        cipher::seal(key, nonce, aad, plaintext.as_bytes()).map_err(|_| SealError::TooLong)?;
    let id = if form.names_key() { key.id().as_str() } else { "" };
    let length = form.prefix().len() + id.len() + 1 + payload::text_length(plaintext.len());
    let mut text = String::with_capacity(length);
    text.push_str(form.prefix());
    if form.names_key() {
        text.push_str(id);
        text.push(':');
    }
    payload::write(&sealed, &mut text);
    Ok(text)
}

/// Opens `envelope` under the key that made it.
///
/// # Errors
/// [`OpenError`]: it names an unknown key, does not authenticate (altered, another
/// key or another AAD), is malformed, holds no UTF-8, or is bound and has no AAD.
pub fn open<'k>(
    ring: &'k Keyring<Sealing>,
    aad: &str,
    envelope: &Envelope<'_>,
) -> Result<Unsealed<'k>, OpenError> {
    let form = envelope.form();
    let named = match envelope.key_id() {
        Some(id) => Some(ring.get(id).ok_or_else(|| unknown_key(id))?),
        None => None,
    };
    let aad = bound_aad(form, aad).ok_or(OpenError::AadRequired)?;
    let rest = if form == Form::MfaV1 { Rest::Ignored } else { Rest::Refused };
    let (mut sealed, is_canonical) = payload::read(envelope.payload(), rest)?;
    let is_canonical = is_canonical && envelope.is_trimmed();
    let mut opens = |key: &&Key<Sealing>| cipher::open(cipher_of(key), aad, &mut sealed).is_ok();
    let key = match named {
        Some(key) => Some(key).filter(&mut opens),
        None => candidates(ring, form).find(&mut opens),
    }
    .ok_or(OpenError::Authentication)?;
    let plaintext = String::from_utf8(sealed.bytes).map_err(|error| {
        error.into_bytes().zeroize();
        OpenError::NotUtf8
    })?;
    Ok(Unsealed { plaintext: plaintext.into(), key, is_canonical })
}

/// What an envelope held.
#[derive(Debug)]
pub struct Unsealed<'k> {
    /// The plaintext.
    pub plaintext: SecretString,
    /// The key that sealed it.
    pub key: &'k Key<Sealing>,
    /// Whether the envelope was written exactly as [`seal`] writes.
    pub is_canonical: bool,
}

/// The AAD in use: none for a form that is not bound, and never an empty one for
/// a form that is.
fn bound_aad(form: Form, aad: &str) -> Option<&[u8]> {
    match (form.is_bound(), aad) {
        (false, _) => Some(b""),
        (true, "") => None,
        (true, aad) => Some(aad.as_bytes()),
    }
}

/// The keys to try where a form names none, the likeliest first.
///
/// `enc:v1` was only ever made by keys that are marked so. `mfa:v1` is still made
/// by any primary when the target is `compatible`, so the others follow.
fn candidates(ring: &Keyring<Sealing>, form: Form) -> impl Iterator<Item = &Key<Sealing>> {
    let others = ring.keys().filter(move |key| form.is_mfa() && !key.is_unnamed());
    ring.unnamed().chain(others)
}

fn cipher_of(key: &Key<Sealing>) -> &Aes256Gcm {
    key.prepared().cipher()
}

fn unknown_key(id: &str) -> OpenError {
    KeyId::new(id).map_or(Malformed::KeyId.into(), OpenError::UnknownKey)
}
