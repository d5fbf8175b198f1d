//! The client of the current credential, for one operation.
//!
//! 1. A client is built once a credential, not once an operation: what is hot is one load
//!    of the keychain and one of the client.
//! 2. Whoever holds a client holds its keychain: the old credential is not revoked before
//!    the last operation that began with it has ended.
//! 3. Whoever holds one for a transfer, which may take long, holds that credential alone:
//!    rollovers of other secrets do not wait for it.
//! 4. Without its lease, a process uses no credential.
//! 5. A call that is refused because its credential was revoked meanwhile is made once
//!    more, on the one that took its place.

use std::{fmt, ops::Deref, sync::Arc};

use arc_swap::ArcSwapOption;

use super::{Provider, ProviderError};
use crate::{
    ids::Epoch,
    keyring::{Fenced, Hold, Keychain, KeychainHandle, NoKeyring},
    material::{Fingerprint, Material},
};

/// A provider whose credentials make clients.
pub trait Connect: Provider {
    /// What its API is used through, with one credential.
    type Client: Send + Sync + 'static;

    /// The client of `credential`. Nothing is sent.
    ///
    /// # Errors
    /// [`ProviderError::Form`] when it is no credential of this provider.
    fn client(&self, credential: &Material) -> Result<Self::Client, ProviderError>;
}

/// Lends the client of the current primary.
pub struct Current<P: Connect> {
    provider: Arc<P>,
    keychain: KeychainHandle,
    built: ArcSwapOption<Built<P::Client>>,
}

/// The client of the newest keychain that was asked for one.
struct Built<C> {
    epoch: Epoch,
    fingerprint: Fingerprint,
    client: Arc<C>,
}

impl<P: Connect> Current<P> {
    /// The clients of `provider`, with the credentials that `keychain` shows.
    #[must_use]
    pub fn new(provider: Arc<P>, keychain: KeychainHandle) -> Self {
        Self { provider, keychain, built: ArcSwapOption::empty() }
    }

    /// The client of the current primary. Hold it for one operation.
    ///
    /// # Errors
    /// [`Unavailable`] when there is no credential, or it may not be used now.
    pub fn client(&self) -> Result<Held<P::Client>, Unavailable> {
        let keychain = self.keychain.load_full();
        let (client, fingerprint) = self.of(&keychain)?;
        Ok(Held { client, fingerprint, keeps: Keeps::Keychain(keychain) })
    }

    /// The same for one transfer, such as a file on its way to somebody who reads slowly.
    ///
    /// # Errors
    /// [`Unavailable`] when there is no credential, or it may not be used now.
    pub fn for_transfer(&self) -> Result<Held<P::Client>, Unavailable> {
        let keychain = self.keychain.load_full();
        let (client, fingerprint) = self.of(&keychain)?;
        let hold = self.keychain.hold(self.provider.secret(), &keychain)?;
        Ok(Held { client, fingerprint, keeps: Keeps::Credential(hold) })
    }

    /// The client of the primary in `keychain`, and the name of its credential.
    fn of(&self, keychain: &Keychain) -> Result<(Arc<P::Client>, Fingerprint), Unavailable> {
        let ring = keychain.verbatim(self.provider.secret())?;
        let fingerprint = ring.primary().fingerprint();
        let client = ring.make(|primary| match &*self.built.load() {
            Some(built) if built.fingerprint == fingerprint => Ok(Arc::clone(&built.client)),
            newest => {
                let client = Arc::new(self.provider.client(primary.expose())?);
                let epoch = keychain.epoch();
                // An operation that began long ago does not displace what all others use.
                if newest.as_ref().is_none_or(|newest| newest.epoch <= epoch) {
                    let client = Arc::clone(&client);
                    self.built.store(Some(Arc::new(Built { epoch, fingerprint, client })));
                }
                Ok::<_, Unavailable>(client)
            }
        })?;
        Ok((client, fingerprint))
    }

    /// What `operation` answers on the current client. If its credential is refused and
    /// another is primary by then, once more on that one's.
    ///
    /// # Errors
    /// [`Unavailable`], or what the provider answered.
    pub async fn run<T, F>(
        &self,
        operation: impl Fn(Held<P::Client>) -> F,
    ) -> Result<T, Unavailable>
    where
        F: Future<Output = Result<T, ProviderError>>,
    {
        let client = self.client()?;
        let used = client.fingerprint;
        match operation(client).await {
            Err(ProviderError::Refused(told)) => {
                let next = self.client()?;
                if next.fingerprint == used {
                    return Err(ProviderError::Refused(told).into());
                }
                Ok(operation(next).await?)
            }
            answer => Ok(answer?),
        }
    }
}

impl<P: Connect> fmt::Debug for Current<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Current").field("provider", &self.provider).finish_non_exhaustive()
    }
}

/// A client whose credential is not revoked, until this value is dropped.
pub struct Held<C> {
    client: Arc<C>,
    fingerprint: Fingerprint,
    #[expect(dead_code, reason = "it is kept, not read")]
    keeps: Keeps,
}

/// What keeps the credential from being revoked.
#[expect(dead_code, reason = "they are kept, not read")]
enum Keeps {
    /// While it is held, its epoch is not settled.
    Keychain(Arc<Keychain>),
    Credential(Hold),
}

impl<C> Held<C> {
    /// The name of its credential.
    #[must_use]
    pub const fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }
}

impl<C> Deref for Held<C> {
    type Target = C;

    fn deref(&self) -> &C {
        &self.client
    }
}

impl<C> fmt::Debug for Held<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("credential", &self.fingerprint).finish_non_exhaustive()
    }
}

/// Why a provider could not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// There is no credential: what it is for is switched off.
    #[error(transparent)]
    Off(#[from] NoKeyring),
    /// The process has no lease.
    #[error(transparent)]
    Fenced(#[from] Fenced),
    /// The provider did not do it.
    #[error(transparent)]
    Provider(#[from] ProviderError),
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;

    use super::*;
    use crate::{
        catalog::Secret,
        clock::Uptime,
        ids::KeyId,
        keyring::{AnyKeyring, Fence, Key, KeyState, Keyring},
    };

    const SECRET: Secret = Secret::AnthropicApiKey;

    /// Its clients are the credentials themselves.
    #[derive(Debug, Default)]
    struct Plain {
        built: AtomicUsize,
    }

    #[async_trait]
    impl Provider for Plain {
        fn secret(&self) -> Secret {
            SECRET
        }

        async fn probe(&self, _: &Material) -> Result<String, ProviderError> {
            Ok("it works".to_owned())
        }
    }

    impl Connect for Plain {
        type Client = String;

        fn client(&self, credential: &Material) -> Result<String, ProviderError> {
            self.built.fetch_add(1, Ordering::Relaxed);
            Ok(credential.expose_source().to_owned())
        }
    }

    fn chain(epoch: u64, credential: &str) -> Keychain {
        let id = KeyId::new(credential).unwrap();
        let material = Material::new(credential).unwrap();
        let key = Key::verbatim(id, KeyState::Primary, material, Arc::default());
        let ring = AnyKeyring::Verbatim(Keyring::new(vec![key]).unwrap());
        Keychain::new(Epoch(epoch)).with(SECRET, ring)
    }

    fn current(keychain: Keychain) -> (Current<Plain>, KeychainHandle) {
        let handle = KeychainHandle::new(keychain);
        (Current::new(Arc::default(), handle.clone()), handle)
    }

    #[test]
    fn a_client_is_built_once_a_credential() {
        let (current, handle) = current(chain(1, "old"));
        for epoch in 2..5 {
            assert_eq!(&**current.client().unwrap(), "old");
            handle.publish(chain(epoch, "old")).unwrap();
        }
        assert_eq!(current.provider.built.load(Ordering::Relaxed), 1);
        handle.publish(chain(5, "new")).unwrap();
        assert_eq!(&**current.client().unwrap(), "new");
        assert_eq!(&**current.client().unwrap(), "new");
        assert_eq!(current.provider.built.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn whoever_holds_a_client_holds_its_keychain() {
        let (current, handle) = current(chain(1, "old"));
        let held = current.client().unwrap();
        let keychain = Arc::downgrade(&handle.load_full());
        handle.publish(chain(2, "new")).unwrap();
        assert_eq!(&**current.client().unwrap(), "new");
        assert_eq!(&**held, "old");
        assert!(keychain.upgrade().is_some(), "the operation is in flight");
        drop(held);
        assert!(keychain.upgrade().is_none(), "the built client holds no keychain");
    }

    #[test]
    fn whoever_holds_a_client_for_a_transfer_lets_its_keychain_go() {
        let (current, handle) = current(chain(1, "old"));
        let held = current.for_transfer().unwrap();
        let keychain = Arc::downgrade(&handle.load_full());
        handle.publish(chain(2, "new")).unwrap();
        assert_eq!(&**held, "old");
        assert!(keychain.upgrade().is_none(), "others do not wait");
        assert_eq!(handle.settled(&handle.load()), Epoch(1), "its own rollover does");
        drop(held);
        assert_eq!(handle.settled(&handle.load()), Epoch(2));
    }

    #[test]
    fn without_a_credential_or_a_lease_nothing_is_lent() {
        let (off, _) = current(Keychain::new(Epoch(1)));
        assert_eq!(off.client().err(), Some(Unavailable::Off(NoKeyring(SECRET))));
        let fence = Fence::at(Uptime::from_nanos(0));
        let (fenced, _) = current(chain(1, "old").under(fence));
        assert_eq!(fenced.client().err(), Some(Unavailable::Fenced(Fenced)));
    }

    #[tokio::test]
    async fn a_call_that_is_refused_is_made_once_more_on_what_took_its_place() {
        let (current, handle) = current(chain(1, "old"));
        let calls = AtomicUsize::new(0);
        let revoked = |client: Held<String>| {
            calls.fetch_add(1, Ordering::Relaxed);
            let handle = handle.clone();
            async move {
                if *client == "old" {
                    handle.publish(chain(2, "new")).unwrap();
                    return Err(ProviderError::Refused("revoked".to_owned()));
                }
                Ok(client.to_string())
            }
        };
        assert_eq!(current.run(revoked).await.as_deref(), Ok("new"));
        assert_eq!(calls.swap(0, Ordering::Relaxed), 2);

        let refused = |_| {
            calls.fetch_add(1, Ordering::Relaxed);
            async { Err::<(), _>(ProviderError::Refused("revoked".to_owned())) }
        };
        let error = current.run(refused).await.unwrap_err();
        assert_eq!(error, Unavailable::Provider(ProviderError::Refused("revoked".to_owned())));
        assert_eq!(calls.load(Ordering::Relaxed), 1, "nothing took its place");
    }
}
