//! Hashes of secrets that others hold: what is stored in place of an enrolment key, a
//! recovery code, a token or an API key, and how those are made.
//!
//! 1. What is stored is a SHA-256, written as 64 hexadecimal digits; it is compared in
//!    constant time.
//! 2. A peppered hash is tried with every live pepper, the primary first, and tells which
//!    one it is of: nobody guesses afterwards under which pepper a row stands.
//! 3. What is minted comes from the operating system's randomness, every value as likely
//!    as any other.
//! 4. No `Debug` shows a hash or what was hashed.
//!
//! | what | minted as | stored as |
//! |---|---|---|
//! | enrolment key | 64 hexadecimal digits | SHA-256 of `<pepper>:<key>` |
//! | recovery code | `XXXX-XXXX` of A-Z and 0-9 | SHA-256 of `<pepper>:<code>`, trimmed and in upper case |
//! | agent token | `brz_` and 64 hexadecimal digits | SHA-256 of the whole |
//! | API key | `brz_` and 32 characters of base64url | SHA-256 of the whole, and its first 12 characters |
//! | enrolment secret | by operators | SHA-256, trimmed |
//!
//! Pure: no clock, no I/O but randomness. Breeze's vectors are the judge
//! (`tests/access/vectors.rs`).

mod agent;
mod hash;
mod mint;
mod recovery;
pub mod state;

pub use agent::{AgentHashes, PresentedToken};
pub use hash::{Hash, InvalidHash, peppered};
pub use mint::{API_KEY_PREFIX, agent_token, api_key, enrolment_key, recovery_code};
pub use recovery::{normal_recovery_code, trim};
