//! What counts only while the key does under which it was made: hashes under a pepper, and
//! what is issued under a generation. It is made before it is written, and no straggler: of
//! a hash, nobody can make another.
//!
//! 1. It is shown to nobody unless its key was live, as far as this process may know, once
//!    it was written.
//! 2. Whoever asked is told to ask again: what was written is of no use.

use std::time::Duration;

use breeze_rollover::{catalog::Secret, keyring::Keychain, problem::Problem};

use crate::state::App;

/// Demands that what was made under `key` of `secret`, and is written by now, counts. The
/// key was found in `keychain`.
pub(crate) fn still_counts(
    app: &App,
    keychain: &Keychain,
    secret: Secret,
    key: &str,
) -> Result<(), Problem> {
    counts(keychain, &app.keychain.load(), secret, key)
}

fn counts(made: &Keychain, now: &Keychain, secret: Secret, key: &str) -> Result<(), Problem> {
    // A hard rollover retires a key while its process holds its lease.
    let is_live = now.verbatim(secret).is_ok_and(|ring| ring.get(key).is_some());
    made.fence().check()?;
    if is_live {
        return Ok(());
    }
    tracing::warn!(%secret, key, "what was written was made under a key that is retired by now");
    let detail = "the key that made it was retired meanwhile; send the request again";
    Err(Problem::unavailable(detail, Duration::from_secs(1)).coded("key_retired"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use breeze_rollover::{
        clock::Uptime,
        ids::{Epoch, KeyId},
        keyring::{AnyKeyring, Fence, Key, KeyState, Keyring},
        material::Material,
    };

    use super::*;

    const SECRET: Secret = Secret::MfaRecoveryCodePepper;

    fn keychain(primary: &str) -> Keychain {
        let id = KeyId::new(primary).expect("valid");
        let material = Material::new("a pepper").expect("not empty");
        let key = Key::verbatim(id, KeyState::Primary, material, Arc::default());
        let ring = Keyring::new(vec![key]).expect("one primary");
        Keychain::new(Epoch(1)).with(SECRET, AnyKeyring::Verbatim(ring))
    }

    #[test]
    fn what_is_written_counts_while_its_key_is_live_and_the_lease_runs() {
        let judged = |made: &Keychain, now: &str| {
            counts(made, &keychain(now), SECRET, "a").map_err(|problem| problem.code())
        };
        assert_eq!(judged(&keychain("a"), "a"), Ok(()));
        assert_eq!(judged(&keychain("a"), "b"), Err("key_retired"));
        // Taken up again since, or not: nobody waited for who made it.
        let late = keychain("a").under(Fence::at(Uptime::ZERO));
        assert_eq!(judged(&late, "a"), Err("fenced"));
        assert_eq!(judged(&late, "b"), Err("fenced"));
    }
}
