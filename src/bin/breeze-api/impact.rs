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

    async fn invalidates(&self, secret: Secret, keys: &[KeyId]) -> BTreeMap<String, u64> {
        let ids: Vec<String> = keys.iter().map(KeyId::to_string).collect();
        let (data, now) = (&self.data, self.clock.now());
        let (what, counted) = match secret {
            Secret::JwtSecret => ("sessions", data.live_sessions(now).await),
            Secret::SessionSecret => ("sessionCookies", data.live_sessions(now).await),
            Secret::MfaEncryptionKey => ("secondFactors", data.second_factors().await),
            Secret::MfaRecoveryCodePepper => return self.recovery_codes().await,
            Secret::UserApiKeys => ("apiKeys", data.live_api_keys(keys, now).await.map(all)),
            Secret::AgentTokens => ("agents", data.agents_under(&ids, now).await.map(all)),
            Secret::EnrollmentKeyPepper => {
                ("enrolmentKeys", data.enrolment_keys_under(&ids, now).await.map(all))
            }
            Secret::AgentEnrollmentSecret => {
                ("enrolmentKeysBesideIt", data.enrolment_keys_without_secret(now).await)
            }
            _ => return BTreeMap::new(),
        };
        counted
            .inspect_err(
                |error| tracing::warn!(%error, %secret, "what it makes invalid cannot be counted"),
            )
            .map(|count| BTreeMap::from([(what.to_owned(), count)]))
            .unwrap_or_default()
    }

    async fn affected(&self, secret: Secret) -> Vec<Affected> {
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
            return vec![];
        }
        self.everybody()
            .await
            .inspect_err(|error| tracing::warn!(%error, "users to notify cannot be listed"))
            .unwrap_or_default()
            .into_iter()
            .filter(|user| secret != Secret::MfaEncryptionKey || user.mfa_enabled)
            .filter_map(|user| {
                Some(Affected { id: user.id.to_string().parse().ok()?, email: user.email? })
            })
            .collect()
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
    /// Unused recovery codes, and of how many users.
    async fn recovery_codes(&self) -> BTreeMap<String, u64> {
        match self.data.count_recovery_codes().await {
            Ok((codes, users)) => BTreeMap::from([
                ("recoveryCodes".to_owned(), codes),
                ("usersWithRecoveryCodes".to_owned(), users),
            ]),
            Err(error) => {
                tracing::warn!(%error, "recovery codes cannot be counted");
                BTreeMap::new()
            }
        }
    }

    /// Every user who may log in.
    async fn everybody(&self) -> Result<Vec<User>, DataError> {
        let (mut found, mut after) = (vec![], None);
        loop {
            let page = self.data.users(Reach::All, Window { after, limit: PAGE }).await?;
            let is_last = page.len() < PAGE as usize;
            after = page.last().map(|user| user.id);
            found.extend(page.into_iter().filter(User::is_active));
            if is_last {
                return Ok(found);
            }
        }
    }
}
