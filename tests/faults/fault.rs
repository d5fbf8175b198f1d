//! The faults, and for how long each lasts.

use std::time::Duration;

use rand::{RngExt, rngs::StdRng};

/// What happens to a process, a connection or the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Fault {
    /// SIGKILL; it is started again.
    Kill,
    /// SIGKILL of all processes at once.
    KillAll,
    /// SIGSTOP, and SIGCONT when the lease has run out.
    Pause,
    /// `pg_ctl stop -m immediate`; it is started again.
    Crash,
    /// Connections to the database are closed, and new ones refused.
    Cut,
    /// What is sent to the database does not arrive, nor do its answers.
    Deaf,
    /// What is sent to the database does not arrive.
    DeafUp,
    /// Its answers do not arrive.
    DeafDown,
    /// Others have all connections that the server takes.
    Slots,
    /// Requests that wait for a lock have every connection of a process.
    Pool,
    /// Everything between the processes and the database takes longer.
    Slow,
}

impl Fault {
    /// Every fault.
    pub(crate) const ALL: [Self; 11] = [
        Self::Kill,
        Self::KillAll,
        Self::Pause,
        Self::Crash,
        Self::Cut,
        Self::Deaf,
        Self::DeafUp,
        Self::DeafDown,
        Self::Slots,
        Self::Pool,
        Self::Slow,
    ];

    /// Those that a file can suffer from: its processes die.
    pub(crate) const OF_A_FILE: [Self; 2] = [Self::Kill, Self::KillAll];

    /// As the figures name it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Kill => "SIGKILL of one process",
            Self::KillAll => "SIGKILL of all processes",
            Self::Pause => "SIGSTOP past the lease, then SIGCONT",
            Self::Crash => "crash of PostgreSQL (stop -m immediate)",
            Self::Cut => "connections cut",
            Self::Deaf => "black hole, both directions",
            Self::DeafUp => "black hole towards the database",
            Self::DeafDown => "black hole from the database",
            Self::Slots => "the server's connections all taken",
            Self::Pool => "a process's connections all held by a lock",
            Self::Slow => "slow database",
        }
    }

    /// Whether it strikes one replica and can last as long as one likes.
    pub(crate) const fn can_last(self) -> bool {
        matches!(self, Self::Kill | Self::Pause | Self::Cut | Self::Deaf)
    }

    /// A time that shows what it does: a pause outlasts the lease.
    pub(crate) fn length(self, lease: Duration, random: &mut StdRng) -> Duration {
        let seconds = |from: f64, to: f64, random: &mut StdRng| {
            Duration::from_secs_f64(random.random_range(from..to))
        };
        match self {
            Self::Pause => lease + seconds(0.5, 2.0, random),
            Self::KillAll | Self::Crash => seconds(0.2, 2.5, random),
            Self::Kill | Self::Cut | Self::Deaf | Self::DeafUp | Self::DeafDown => {
                seconds(0.5, lease.as_secs_f64() + 2.0, random)
            }
            Self::Slots | Self::Pool | Self::Slow => seconds(1.5, 3.5, random),
        }
    }
}
