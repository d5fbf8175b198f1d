//! The new value of a secret, as an operator hands it in.
//!
//! 1. It is weak, or in use, by what is secret in it, whichever way it is written: of
//!    another secret, as the root key, or as any key that this secret ever had.
//! 2. A credential whose provider was away when it was tried may be handed in again.
//! 3. It becomes a key in its canonical form.

use secrecy::SecretString;

use super::{Operator, Refusal, Request};
use crate::{
    catalog::{Class, Secret},
    keyring::{
        KeyState, Origin,
        sources::{Identity, ROOT_KEY, check_value},
    },
    store::{Custody, KeyRecord, custody::identity},
    worker::tried,
};

impl Operator {
    /// The key that `value` is, staged: nothing is stored yet. A dry run has it tried.
    pub(super) async fn supplied(
        &self,
        request: &Request,
        value: SecretString,
        custody: &Custody,
    ) -> Result<KeyRecord, Refusal> {
        let (secret, replica) = (request.secret, self.worker.replica());
        let root = replica.root();
        let all = custody.keys.iter().map(|key| (key, identity(&root, key)));
        let (before, known): (Vec<_>, Vec<_>) =
            all.partition(|(key, _)| may_come_back(key, secret));
        let roots = root.fingerprints().map(|root| (ROOT_KEY, Identity::plain(root)));
        let others = known.into_iter().map(|(key, identity)| (key.secret.name(), identity));
        let others: Vec<_> = others.chain(roots).collect();
        let material = check_value(secret, value, &others)?;
        if let Some(provider) = self.worker.provider(secret) {
            provider.check(&material).map_err(Refusal::Form)?;
            if request.dry_run {
                tried(provider, &material).await.map_err(Refusal::Probe)?;
            }
        }
        let own = Identity::of(secret, &material);
        match before.into_iter().find(|(_, identity)| identity.is(&own)) {
            Some((key, _)) => Ok(key.clone()),
            None => Ok(replica.staged_key(secret, &material, Origin::Supplied).await?),
        }
    }
}

/// Whether a key may be handed in again: a credential whose provider was away when it was
/// tried is as good as before, and one that was revoked is found out by its probe.
fn may_come_back(key: &KeyRecord, secret: Secret) -> bool {
    key.secret == secret
        && secret.entry().class == Class::Provider
        && key.state == KeyState::Retired
        && key.compromised_at.is_none()
}
