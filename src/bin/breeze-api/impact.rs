//! What a rollover does to people, as only this application knows it.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use breeze_rollover::{catalog::Secret, clock::Clock, incident::Affected, worker::Impact};

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

    async fn invalidates(&self, secret: Secret) -> BTreeMap<String, u64> {
        let (what, count) = match secret {
            Secret::JwtSecret => ("sessions", self.live_sessions().await),
            Secret::SessionSecret => ("session cookies", self.live_sessions().await),
            Secret::MfaEncryptionKey => ("second factors", self.second_factors().await),
            _ => return BTreeMap::new(),
        };
        count.map(|n| (what.to_owned(), n)).into_iter().collect()
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

impl Effects {
    /// Users whose second factor rests on a seed.
    async fn second_factors(&self) -> Option<u64> {
        self.data
            .second_factors()
            .await
            .inspect_err(|error| tracing::warn!(%error, "second factors cannot be counted"))
            .ok()
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
