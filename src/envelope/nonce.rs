//! Nonces that do not repeat: 96 random bits each.
//!
//! NIST SP 800-38D section 8.2.2 asks for a random bit generator; this one is
//! ChaCha12 ([`StdRng`]), one a thread, seeded by the operating system and seeded
//! anew every [`LIFETIME`] nonces. A system call for every nonce would cost more
//! than the seal itself. Unlike `rand::rng()`, a failing operating system is an
//! error here and not a panic.
//!
//! What it does not survive: a process image that is copied while it runs (`fork`
//! without `exec`, a machine restored twice from one snapshot) repeats its stream
//! until the next seeding. The process never forks; roll the keys over after
//! restoring a running machine twice.

use std::cell::RefCell;

use rand::{
    Rng, SeedableRng,
    rngs::{StdRng, SysRng},
};

use crate::material::NoEntropy;

/// Nonces from one seed.
const LIFETIME: u32 = 4096;

struct Source {
    rng: StdRng,
    left: u32,
}

thread_local! {
    static SOURCE: RefCell<Option<Source>> = const { RefCell::new(None) };
}

/// A fresh nonce.
pub(super) fn fresh() -> Result<[u8; 12], NoEntropy> {
    SOURCE.with_borrow_mut(|slot| {
        let source = match slot {
            Some(source) if source.left > 0 => source,
            stale => {
                let rng = StdRng::try_from_rng(&mut SysRng).map_err(|_| NoEntropy)?;
                stale.insert(Source { rng, left: LIFETIME })
            }
        };
        source.left -= 1;
        let mut nonce = [0; 12];
        source.rng.fill_bytes(&mut nonce);
        Ok(nonce)
    })
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, thread};

    use super::*;

    #[test]
    fn nonces_differ_across_threads_and_seedings() {
        let threads: Vec<_> = (0..3)
            .map(|_| thread::spawn(|| (0..2 * LIFETIME + 1).map(|_| fresh().unwrap())))
            .map(|thread| thread.join().unwrap().collect::<Vec<_>>())
            .collect();
        let all: HashSet<_> = threads.iter().flatten().collect();
        assert_eq!(all.len(), 3 * (2 * LIFETIME as usize + 1));
    }
}
