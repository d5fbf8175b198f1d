//! Tower layers for any service over `http` types, one folder a middleware.
//!
//! 1. A layer takes one snapshot of the keychain a request, and holds it until the request
//!    is answered: no key that let somebody in is said to be cut off before.
//! 2. What a layer decides, it decides in one synchronous method.
//! 3. No lock on the way, and no database call but the one that an API key is looked up by.
//! 4. A process without its lease lets no request in, unless a layer is told otherwise,
//!    and refuses none for what its own keys do not know: the answer is 503 with
//!    `Retry-After`. The lease is checked once the keys have decided.

pub mod api_key;
mod future;
mod gate;
pub mod jwt;
pub mod sealed;
pub mod session;

pub use future::ResponseFuture;
pub use gate::{Admit, Gate};
