//! The rules of the protocol, each of which a test breaks on purpose, and the bounds
//! of what is explored.

use breeze_rollover::{catalog::Secret, rollover::Mode};

/// One rule of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// A key is promoted only once every live replica has acknowledged it.
    PromoteWhatAllRead,
    /// A key is promoted only once no request holds a keychain without it.
    PromoteWhatRequestsRead,
    /// A key is retired only when the census, taken again right before, is zero.
    RetireAtZero,
    /// A census is counted with keys that are as new as the rollover that was read.
    CountWithPresentKeys,
    /// A key is retired only when what it signed has expired.
    RetireAfterLifetime,
    /// A replica serves nothing once its own count of the lease has run out.
    Fence,
    /// A fence is lifted only with keys as new as the renewal that lifts it.
    LiftAfterApplying,
    /// A request from before the fence never makes or accepts anything again.
    FenceRequests,
    /// A rewrap writes only over the very value that was read.
    CompareAndSet,
    /// One rollover of a secret is in progress at a time.
    OneAtATime,
    /// A key is said to be cut off only once whoever was live has settled or is fenced.
    SayWhatIsSo,
}

/// What one run explores.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// The secret that is rolled over.
    pub secret: Secret,
    /// How.
    pub mode: Mode,
    /// How many replicas there are.
    pub replicas: usize,
    /// How many rollovers may begin.
    pub rollovers: usize,
    /// How much operators ask for, in all: several may do so at once.
    pub asks: u8,
    /// How many faults there may be, in all: a process crashes (and may start again), or
    /// a lease runs out while its process lives (a pause, a lost network).
    pub faults: u8,
    /// How often users edit the row.
    pub edits: u8,
    /// How many passes the bulk rewrap may begin, each way.
    pub passes: u8,
}

impl Bounds {
    /// A graceful rollover of `secret` on so many replicas, which an operator may roll
    /// back, and one fault.
    pub const fn of(secret: Secret, replicas: usize) -> Self {
        Self {
            secret,
            mode: Mode::Graceful,
            replicas,
            rollovers: 1,
            asks: 2,
            faults: 1,
            edits: 1,
            passes: 1,
        }
    }
}
