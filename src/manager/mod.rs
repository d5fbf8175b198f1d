//! Keys from a secrets manager: Vault's and OpenBao's KV version 2, AWS Secrets Manager.
//!
//! 1. One secret of the manager has a field for each variable ([`Fields`]). It is read
//!    before anything is served, and then again and again, like a file that may change.
//! 2. A manager that is away when the process starts is an error. Later it is a warning,
//!    told once: the keys that it gave last stay in use.
//! 3. Nothing is written unless that is asked for. What is written takes the place of the
//!    very version that was read, or nothing is: an edit that came first stays. And it is
//!    read back, by its version: it counts only when it is what was written.
//! 4. Custody is the truth. What cannot be written is told and tried again, and keeps no
//!    rollover waiting.
//! 5. An error tells what the manager answered, and never a value or a credential.
//!
//! ```text
//! start ── read ──► served ──► read, every poll ──► changed: as a changed file
//!            │                        └─► away: a warning, the last good keys stay
//!            └─► away: an error       custody changed ──► write ──► read back ──► told
//! ```

#[cfg(feature = "aws")]
pub mod aws;
mod error;
#[cfg(feature = "worker")]
mod follow;
#[cfg(feature = "worker")]
mod form;
#[cfg(feature = "client")]
mod heard;
#[cfg(all(feature = "client", feature = "worker"))]
mod named;
#[cfg(feature = "worker")]
mod sources;
#[cfg(feature = "vault")]
pub mod vault;
#[cfg(feature = "worker")]
mod wanted;
#[cfg(feature = "worker")]
mod write_back;

use std::fmt;

use async_trait::async_trait;

pub use error::ManagerError;
#[cfg(feature = "worker")]
pub use error::SourcesError;
#[cfg(feature = "worker")]
pub(crate) use follow::Following;
#[cfg(feature = "worker")]
pub use sources::{SOURCES, Sources};
#[cfg(all(feature = "worker", any(feature = "postgres", feature = "sqlite")))]
pub(crate) use write_back::WriteBack;

pub use crate::keyring::sources::{Fields, Revision};

/// One secret in a secrets manager.
#[async_trait]
pub trait Manager: fmt::Debug + Send + Sync + 'static {
    /// Which manager it is, and which secret, for people.
    fn name(&self) -> &str;

    /// The present version.
    ///
    /// # Errors
    /// [`ManagerError`] with what the manager answered.
    async fn read(&self) -> Result<Revision, ManagerError>;

    /// This very version.
    ///
    /// # Errors
    /// [`ManagerError`] with what the manager answered; `Gone` when it is not there.
    async fn read_version(&self, version: &str) -> Result<Revision, ManagerError>;

    /// Writes `fields` in place of the version `present`, and answers the new version.
    ///
    /// # Errors
    /// [`ManagerError::Overtaken`] when another version is the present one: nothing has
    /// changed then.
    async fn write(&self, fields: &Fields, present: &str) -> Result<String, ManagerError>;
}

/// Writes `fields` in place of the version `present`, and reads them back.
///
/// # Errors
/// [`ManagerError::NotReadBack`] when the new version does not hold what was written.
pub async fn replace(
    manager: &dyn Manager,
    fields: &Fields,
    present: &str,
) -> Result<Revision, ManagerError> {
    let version = manager.write(fields, present).await?;
    let read = manager.read_version(&version).await?;
    if read.version == version && read.fields.hold_the_same(fields) {
        Ok(read)
    } else {
        Err(ManagerError::NotReadBack(version))
    }
}
