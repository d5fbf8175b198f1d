//! What a rollover does to people, as only this application knows it.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use breeze_rollover::{
    catalog::Secret, clock::Clock, ids::KeyId, incident::Affected, rollover::Reliance,
    worker::Impact,
};

use crate::data::{Data, DataError, Reach, User, Window};

/// Looks at sessions and users.
#[derive(Debug)]
pub(crate) struct Effects {
    pub(crate) data: Arc<dyn Data>,
    pub(crate) clock: Arc<dyn Clock>,
}

/// Users that are read at once.
const PAGE: u32 = 500;

#[async_trait]
impl Impact for Effects {
    async fn live_sessions(&self) -> Option<u64> {
        self.data
            .live_sessions(self.clock.now())
            .await
            .inspect_err(|error| tracing::warn!(%error, "live sessions cannot be counted"))
            .ok()
    }

    async fn invalidates(&self, secret: Secret, keys: &[KeyId]) -> Option<BTreeMap<String, u64>> {
        let counted = self.count(secret, keys).await.inspect_err(
            |error| tracing::warn!(%error, %secret, "what it makes invalid cannot be counted"),
        );
        counted.ok().map(|counted| counted.map(|(what, n)| (what.to_owned(), n)).collect())
    }

    async fn affected(&self, secret: Secret) -> Option<Vec<Affected>> {
        let concerns_users = matches!(
            secret,
            Secret::JwtSecret
                | Secret::SessionSecret
                | Secret::AppEncryptionKey
                | Secret::MfaEncryptionKey
                | Secret::MfaRecoveryCodePepper
                | Secret::UserApiKeys
                | Secret::DatabaseUrl
        );
        if !concerns_users {
            return Some(vec![]);
        }
        let everybody = self.everybody().await;
        let everybody = everybody
            .inspect_err(|error| tracing::warn!(%error, "users to notify cannot be listed"))
            .ok()?;
        let concerned = everybody
            .into_iter()
            .filter(|user| secret != Secret::MfaEncryptionKey || user.mfa_enabled)
            .filter_map(|user| {
                Some(Affected { id: user.id.to_string().parse().ok()?, email: user.email? })
            });
        Some(concerned.collect())
    }
}

/// All that stands under a key, or does not tell under which.
const fn all(reliance: Reliance) -> u64 {
    match reliance {
        Reliance::Uncounted => 0,
        Reliance::Counted { rows, unknown } => rows + unknown,
    }
}

impl Effects {
    /// What a hard rollover of `secret` makes invalid that stands under `keys`.
    async fn count(
        &self,
        secret: Secret,
        keys: &[KeyId],
    ) -> Result<impl Iterator<Item = (&'static str, u64)>, DataError> {
        let ids: Vec<String> = keys.iter().map(KeyId::to_string).collect();
        let (data, now) = (&self.data, self.clock.now());
        let one = |what, n| vec![(what, n)];
        Ok(match secret {
            Secret::JwtSecret => one("sessions", data.live_sessions(now).await?),
            // A cookie is kept by its browser alone.
            Secret::SessionSecret => one("sessionCookiesAtMost", data.live_sessions(now).await?),
            Secret::MfaRecoveryCodePepper => {
                let (codes, users) = data.count_recovery_codes().await?;
                vec![("recoveryCodes", codes), ("usersWithRecoveryCodes", users)]
            }
            Secret::UserApiKeys => one("apiKeys", all(data.live_api_keys(keys, now).await?)),
            Secret::AgentTokens => one("agents", all(data.agents_under(&ids, now).await?)),
            Secret::EnrollmentKeyPepper => {
                one("enrolmentKeys", all(data.enrolment_keys_under(&ids, now).await?))
            }
            Secret::AgentEnrollmentSecret => {
                one("enrolmentKeysBesideIt", data.enrolment_keys_without_secret(now).await?)
            }
            _ => vec![],
        }
        .into_iter())
    }

    /// Every user, also one who may not log in any more: their data was exposed as well.
    async fn everybody(&self) -> Result<Vec<User>, DataError> {
        let (mut found, mut after) = (vec![], None);
        loop {
            let page = self.data.users(Reach::All, Window { after, limit: PAGE }).await?;
            let is_last = page.len() < PAGE as usize;
            after = page.last().map(|user| user.id);
            found.extend(page);
            if is_last {
                return Ok(found);
            }
        }
    }
}
