//! What Prometheus scrapes: the keys, rollovers and replicas as the store has them, and
//! what this process counted.
//!
//! 1. Each scrape is made anew from the present state: a key that is gone leaves no
//!    series behind.
//! 2. Keys are told by secret and key id. No value, address or name of a user is a label.
//! 3. A database that is away does not hide the process: what it counted is told, and
//!    `breeze_store_up` is 0.

mod allowed;
mod render;
mod scrape;

pub use allowed::{Allowed, AllowedFault};
pub use render::render;
pub use scrape::router;
