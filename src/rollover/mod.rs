//! What a rollover is, and what happens next: pure decisions, no input or output.
//!
//! ```text
//!             stage             every live replica reads it            drained, proven
//! requested ───────► staged ───────────────────────────────► promoted ◄──────────────► drained ──► retired ──► destroyed
//!     │ │               │                                        │                        │          (a command of its own)
//!     │ └─► rehearsed   └─► abandoned                            └──► rolling back ◄──────┘
//!     └─► refused, abandoned                                              └──► rolled back
//! ```
//!
//! 1. Every transition is one arm of [`Phase::next`].
//! 2. [`plan`] turns the world as it is into the one next action, with its reason.
//!    Planning twice gives the same answer.
//! 3. A new key is accepted by every live replica before it signs or seals.
//! 4. A retired key is said to be cut off ([`CutOff`]) once no replica accepts it.

mod cut_off;
mod phase;
mod plan;
mod record;

pub use cut_off::{Acceptance, Acceptor, CutOff};
pub use phase::{Event, IllegalTransition, Phase, UnknownPhase};
pub use plan::{Action, Blocker, Bulk, Planned, Reliance, World, is_dry, plan};
pub use record::{Mode, Rollover, UnknownMode};
