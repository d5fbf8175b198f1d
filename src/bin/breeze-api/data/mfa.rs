//! Second factors: seeds that were offered and not yet proven, and what a user's own becomes.

use async_trait::async_trait;
use breeze_rollover::clock::Timestamp;
use sqlx::FromRow;

use super::{DataError, RowId, User};

/// A seed that was offered to a user. A rewrap may change `secret` at any time.
#[derive(Clone, FromRow)]
pub(crate) struct MfaOffer {
    /// Sealed.
    pub(crate) secret: String,
    /// In milliseconds since the Unix epoch. It tells one offer to a user from the next.
    pub(crate) expires_at: i64,
}

/// A seed of which a code was sent.
pub(crate) struct NewFactor {
    /// Sealed.
    pub(crate) secret: String,
    /// The TOTP step of that code.
    pub(crate) step: i64,
}

#[async_trait]
pub(crate) trait Factors {
    /// Notes that a code of TOTP step `step` was accepted. Answers false when a code
    /// of this or a later step was accepted before.
    async fn spend_totp_step(&self, id: RowId, step: i64) -> Result<bool, DataError>;

    /// Offers a seed to a user until `until`, in place of one that was offered before, and
    /// forgets offers that had expired by `now`.
    async fn offer_mfa(
        &self,
        id: RowId,
        secret: &str,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<(), DataError>;

    /// What is offered to a user at `now`.
    async fn mfa_offer(&self, id: RowId, now: Timestamp) -> Result<Option<MfaOffer>, DataError>;

    /// Takes `offer` up, once: `factor` is the user's from now on, its step is spent, every
    /// session ends and `mfa_epoch` is raised, in one transaction. `None` when the offer is
    /// gone, or another took its place.
    async fn enable_mfa(
        &self,
        id: RowId,
        offer: &MfaOffer,
        factor: &NewFactor,
    ) -> Result<Option<User>, DataError>;

    /// Takes the second factor away, and what was offered: every session ends and
    /// `mfa_epoch` is raised, in one transaction. `None` when there is no factor.
    async fn disable_mfa(&self, id: RowId) -> Result<Option<User>, DataError>;
}
