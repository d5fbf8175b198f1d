//! Keyrings that cannot change, and the one handle that swaps them.
//!
//! 1. A [`Keyring`] that exists is valid: ids are unique and exactly one key is
//!    primary.
//! 2. A [`Keychain`] holds every keyring of one epoch. It is built whole and
//!    never mutated.
//! 3. [`KeychainHandle`] publishes a keychain to all readers at once, without a
//!    lock, and refuses an older epoch.
//! 4. Work that outlasts its request holds its one credential ([`KeychainHandle::hold`]),
//!    and no keychain.
//! 5. A key makes something through [`Keyring::make`] alone, which hands out nothing
//!    once the [`Fence`] of its keychain is shut.

mod chain;
mod fence;
mod handle;
mod hold;
mod key;
mod primary;
pub mod reconcile;
mod ring;
pub mod sources;
mod verbatim;

pub use chain::{AnyKeyring, Keychain, NoKeyring};
pub use fence::{Fence, Fenced};
pub use handle::{KeychainHandle, Snapshot, StaleEpoch};
pub use hold::Hold;
pub use key::{BudgetSpent, Key, KeyState, Origin, SEAL_LIMIT, SealBudget, Sealing, Signing};
pub use primary::Primary;
pub use ring::{InvalidKeyring, Keyring};
pub use verbatim::{Presented, Verbatim};
