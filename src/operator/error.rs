//! Why an operator's request was refused.

use crate::{
    catalog::Secret,
    clock::Timestamp,
    ids::{KeyId, ReplicaId, RolloverId},
    keyring::sources::ValueFault,
    provider::ProviderError,
    replica::ReplicaError,
    rollover::{IllegalTransition, Phase},
    store::StoreError,
    worker::DriveError,
};

use super::{Ailment, LONGEST_REASON};

/// An operator's request was refused, and nothing has changed. Never holds a value.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// There is no such rollover.
    #[error("there is no rollover {0}; GET /admin/rollovers lists them")]
    NotFound(RolloverId),
    /// The secret has no key to roll over from.
    #[error("{0} has no primary key to roll over from; set it in the environment and restart")]
    NoPrimary(Secret),
    /// No reason, or too long a one.
    #[error(
        "give a reason of 1 to {LONGEST_REASON} printable characters; the audit trail keeps it"
    )]
    Reason,
    /// The value is not fit to be a key.
    #[error(transparent)]
    Value(#[from] ValueFault),
    /// The value is no credential of this provider.
    #[error("the value is no such credential: {0}")]
    Form(&'static str),
    /// Others must have the new value, and could not read one that is made here.
    #[error(
        "{0} is shared with others, who could not read one that is made here: do what GET /admin/secrets says under `elsewhere`, and hand it in as `value`, or with --value-file"
    )]
    NoValue(Secret),
    /// There is no value to hand in.
    #[error("{0} is a generation of what is issued here, and has no value; leave `value` out")]
    Valueless(Secret),
    /// The provider does not take the credential.
    #[error("the credential was tried in vain, and nothing has changed: {0}")]
    Probe(ProviderError),
    /// No credential waits to be revoked.
    #[error(
        "no old credential waits to be revoked: the rollover is {0}, or is not one of a credential"
    )]
    NoCredential(Phase),
    /// The old credential is revoked.
    #[error("the old credential was revoked at {0}, so that it cannot be used again")]
    Revoked(Timestamp),
    /// The old credential may be revoked.
    #[error(
        "the provider was asked at {0} to revoke the old credential, and may have done so: nothing goes back to it; wait until it has answered, or say that it is revoked (POST …/revoked), and then roll over to another one"
    )]
    Revoking(Timestamp),
    /// The provider does not know the old credential.
    #[error(
        "nothing goes back to the old credential, which is revoked: {0}; say so (POST …/revoked), and roll over to another one"
    )]
    Dead(ProviderError),
    /// Another rollover is in progress.
    #[error(
        "rollover {0} is in progress; wait for its end, roll it back, or, for another secret, send \"alongside\": true; in an emergency, a hard one of the same secret takes over with \"supersede\": \"{0}\""
    )]
    Busy(RolloverId),
    /// It cannot be taken over from.
    #[error("rollover {0} is not taken over from: {1}")]
    NotSuperseded(RolloverId, &'static str),
    /// Health checks fail.
    #[error(
        "health checks fail: {}; see to them, or send \"force\": [{}]",
        told(.0),
        names(.0)
    )]
    Unhealthy(Vec<Ailment>),
    /// No number of days that a key may serve.
    #[error("a key serves for 1 to 3650 whole days; null takes the catalog's interval back")]
    Interval,
    /// Nothing that was exposed.
    #[error("name at least one secret, and since when it was exposed: a time in the past")]
    Exposure,
    /// There is no such incident.
    #[error("there is no incident {0}; GET /admin/incidents lists them")]
    NoIncident(uuid::Uuid),
    /// An incident is open already.
    #[error("incident {0} is open; confirm or cancel it, or wait for its end")]
    IncidentOpen(uuid::Uuid),
    /// The plan is not there to be confirmed or cancelled.
    #[error("the incident is {0}; a plan is confirmed or cancelled while it is planned")]
    NotPlanned(&'static str),
    /// It was changed meanwhile, again and again.
    #[error("the rollover was changed meanwhile; look at it and ask again")]
    Conflict,
    /// The phase does not allow it.
    #[error("{0}; a key that is retired comes back by a rollover of its own")]
    Illegal(#[from] IllegalTransition),
    /// The old key cannot be primary again.
    #[error(
        "key {0} has sealed as often as random nonces allow, so it cannot seal again; let the rollover go on"
    )]
    Spent(KeyId),
    /// It is at its end.
    #[error("the rollover is {0}, so there is nothing left to pause, resume or limit")]
    AtItsEnd(Phase),
    /// There is no old key to retire.
    #[error("the rollover is {0}; a key is retired while it drains")]
    NotDraining(Phase),
    /// There is no retired key to destroy.
    #[error("the rollover is {0}; only a retired key is destroyed")]
    NotRetired(Phase),
    /// Something still needs the key.
    #[error("the key is still needed: {0}")]
    StillNeeded(String),
    /// A backup may still need the key.
    #[error("key {key} may be needed for a backup until {until}; destroy it after that")]
    Horizon {
        /// Which key.
        key: KeyId,
        /// Until when.
        until: Timestamp,
    },
    /// There is no such replica.
    #[error("there is no replica {0}; GET /admin/replicas lists them")]
    NoReplica(ReplicaId),
    /// It is not stopped.
    #[error(
        "the lease of replica {replica} runs until {until}; stop the process, and it leaves by itself"
    )]
    ReplicaLives {
        /// Which replica.
        replica: ReplicaId,
        /// Until when.
        until: Timestamp,
    },
    /// A step could not be done.
    #[error(transparent)]
    Drive(#[from] DriveError),
}

impl From<ReplicaError> for Refusal {
    fn from(error: ReplicaError) -> Self {
        Self::Drive(error.into())
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::Drive(error.into())
    }
}

fn told(ailments: &[Ailment]) -> String {
    ailments.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn names(ailments: &[Ailment]) -> String {
    let names = ailments.iter().map(|ailment| format!("\"{}\"", ailment.check));
    names.collect::<Vec<_>>().join(", ")
}
