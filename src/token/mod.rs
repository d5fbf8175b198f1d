//! Verifies and signs Breeze's JSON Web Tokens (RFC 7519), HS256 and nothing else.
//!
//! 1. A token is read only after its signature is proven: of what nobody signed,
//!    only the header is parsed.
//! 2. A `kid` selects its key and no other. A token without one (or with an empty
//!    one) is parsed once and tried on the keys that predate ids, likeliest first.
//! 3. Signatures are compared in constant time.
//! 4. No error and no `Debug` carries any part of a token.
//! 5. What we sign always names its key, and is handed out only while the lease of the
//!    process runs.
//!
//! Everything that Breeze's own verifier accepts is accepted here, and read as it
//! reads it (FORMATS section 5: unpadded base64url or any other spelling of it,
//! fractions of seconds, `aud` as text or list, the last of duplicate members),
//! except for what is refused on purpose (FORMATS section 0.5):
//!
//! | refused | why |
//! |---|---|
//! | `exp` missing | such a token outlives every rollover |
//! | `sub` missing or empty | it names nobody |
//! | `type` neither `access` nor `refresh` | a caller could not tell what it is for |
//! | `kid` neither text nor missing | it names a key that it does not say |
//! | `crit` or `b64` in the header | none is understood here (RFC 7515, section 4.1.11) |
//!
//! Pure: no clock, no I/O. `jsonwebtoken` signs; its `decode` allocates several
//! times what a request needs, so verification stands beside it, with Breeze's
//! vectors as judge (`tests/tokens.rs`).

mod claims;
mod error;
mod header;
mod part;
mod payload;
mod sign;
mod value;
mod verify;

pub use claims::{Claims, Scope, TokenKind, UnknownScope, ViewerClaims};
pub use error::{Part, SignError, TokenError};
pub use sign::{Lifetimes, NewToken, NewViewerToken, sign, sign_viewer};
pub use verify::{Verified, VerifiedViewer, verify, verify_viewer};

/// The `iss` of every token.
pub const ISSUER: &str = "breeze";
/// The `aud` of access and refresh tokens.
pub const API_AUDIENCE: &str = "breeze-api";
/// The `aud` of viewer tokens.
pub const VIEWER_AUDIENCE: &str = "breeze-viewer";
/// The `purpose` of viewer tokens.
pub const VIEWER_PURPOSE: &str = "viewer";
