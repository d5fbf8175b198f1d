//! Checks the chain of the audit trail in the store.

use super::{Store, StoreError};
use crate::audit::{Report, Verifier};

/// Walks through the trail with `verifier`, and once more where a link does not follow
/// the one before it.
///
/// # Errors
/// [`StoreError`] when the database does not answer: then nothing is known.
pub async fn verify_audit(store: &dyn Store, mut verifier: Verifier) -> Result<Report, StoreError> {
    store.walk_audit(&mut |step| verifier.see(step)).await?;
    if verifier.seeks() {
        store.walk_audit(&mut |step| verifier.seek(&step)).await?;
    }
    Ok(verifier.report())
}
