//! From text to typed claims: split, find the key, prove the signature, read.

use std::time::Duration;

use hmac::Mac;

use super::{
    API_AUDIENCE, VIEWER_AUDIENCE,
    claims::{Claims, ViewerClaims},
    error::{Part, TokenError},
    header::{Signer, signer},
    part::Room,
    payload::Payload,
};
use crate::{
    clock::Timestamp,
    ids::KeyId,
    keyring::{Key, Keyring, Signing},
};

/// An access or refresh token that a key of the ring signed and that is valid now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified<'k> {
    /// What it says.
    pub claims: Claims,
    /// The key that signed it.
    pub key: &'k KeyId,
}

/// A viewer token that a key of the ring signed and that is valid now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedViewer<'k> {
    /// What it says.
    pub claims: ViewerClaims,
    /// The key that signed it.
    pub key: &'k KeyId,
}

/// Verifies an access or refresh token at `now`. Which of the two it is, the
/// caller checks: [`Claims::kind`].
///
/// # Errors
/// [`TokenError`] names the first reason to refuse it.
pub fn verify<'k>(
    ring: &'k Keyring<Signing>,
    token: &str,
    now: Timestamp,
) -> Result<Verified<'k>, TokenError> {
    let token = Token::split(token)?;
    let key = token.signer(ring)?.id();
    let mut room = PayloadRoom::new();
    let claims = token.payload(&mut room)?.api(API_AUDIENCE, now)?;
    Ok(Verified { claims, key })
}

/// Verifies a viewer token at `now`; `lifetime` is the longest that one may live
/// ([`Lifetimes::viewer`](super::Lifetimes::viewer)), which bounds its MFA assurance.
///
/// # Errors
/// [`TokenError`] names the first reason to refuse it.
pub fn verify_viewer<'k>(
    ring: &'k Keyring<Signing>,
    token: &str,
    now: Timestamp,
    lifetime: Duration,
) -> Result<VerifiedViewer<'k>, TokenError> {
    let token = Token::split(token)?;
    let key = token.signer(ring)?.id();
    let mut room = PayloadRoom::new();
    let claims = token.payload(&mut room)?.viewer(VIEWER_AUDIENCE, now, lifetime)?;
    Ok(VerifiedViewer { claims, key })
}

/// Breeze's headers take some 40 bytes as text, its payloads some 450.
type HeaderRoom = Room<128>;
type PayloadRoom = Room<1024>;
type SignatureRoom = Room<64>;

/// The parts of a token, none of them decoded.
struct Token<'a> {
    header: &'a str,
    payload: &'a str,
    signature: &'a str,
    /// Header and payload, which the signature covers.
    signed: &'a str,
}

impl<'a> Token<'a> {
    fn split(token: &'a str) -> Result<Self, TokenError> {
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::PartCount)?;
        let (header, payload) = signed.split_once('.').ok_or(TokenError::PartCount)?;
        if payload.contains('.') {
            return Err(TokenError::PartCount);
        }
        Ok(Self { header, payload, signature, signed })
    }

    /// The key that made the signature.
    fn signer<'k>(&self, ring: &'k Keyring<Signing>) -> Result<&'k Key<Signing>, TokenError> {
        let (mut header, mut signature) = (HeaderRoom::new(), SignatureRoom::new());
        let header = header.decode(self.header).ok_or(TokenError::Malformed(Part::Header))?;
        let signer = signer(header)?;
        let signature =
            signature.decode(self.signature).ok_or(TokenError::Malformed(Part::Signature))?;
        let signed_by = |key: &Key<Signing>| {
            let mac = key.prepared().mac().clone().chain_update(self.signed);
            mac.verify_slice(signature).is_ok()
        };
        match signer {
            Signer::Named(id) => {
                let key = ring.get(&id).ok_or(TokenError::UnknownKey)?;
                if signed_by(key) { Ok(key) } else { Err(TokenError::BadSignature) }
            }
            Signer::Unnamed => {
                let mut keys = ring.unnamed().peekable();
                keys.peek().ok_or(TokenError::NoUnnamedKey)?;
                keys.find(|key| signed_by(key)).ok_or(TokenError::BadSignature)
            }
        }
    }

    /// Reads the payload: only after [`signer`](Self::signer) has found the key.
    fn payload<'r>(&self, room: &'r mut PayloadRoom) -> Result<Payload<'r>, TokenError> {
        let json = room.decode(self.payload).ok_or(TokenError::Malformed(Part::Payload))?;
        Payload::parse(json)
    }
}
