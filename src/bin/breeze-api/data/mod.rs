//! What the reference API keeps, as traits over domain types: no route knows which
//! database runs, and no SQL stands outside `postgres/` and `sqlite/`.
//!
//! 1. Sealed columns come and go as they are stored. Opening and sealing is the
//!    route's business, with the keys of its request.
//! 2. An edit writes the columns that it names and no others, so that it never puts
//!    back a ciphertext that a rewrap has replaced meanwhile.
//! 3. Whoever asks passes a [`Reach`]; a row outside it does not exist for them.

mod access;
mod api_keys;
mod draft;
mod error;
mod id;
mod mfa;
mod postgres;
mod recovery_codes;
mod sign_ons;
mod sqlite;

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use breeze_rollover::{
    catalog::Secret,
    clock::Timestamp,
    column::{Column, Registry},
    embed::Database,
    rollover::Reliance,
};
use sqlx::{FromRow, migrate::Migrator};

pub(crate) use access::{
    Agent, Agents, EnrolmentKey, EnrolmentKeys, NewAgent, NewEnrolmentKey, Under,
};
pub(crate) use api_keys::{ApiKeyRow, ApiKeys, Holders, NewApiKey};
pub(crate) use draft::{
    DiscoveryProfileDraft, SsoProviderDraft, TenantVariableDraft, UserDraft, WebhookDraft,
};
pub(crate) use error::DataError;
pub(crate) use id::RowId;
pub(crate) use mfa::{Factors, MfaOffer, NewFactor};
pub(crate) use recovery_codes::{
    RecoveryCodeSets, RecoveryCodes, RecoveryNotice, Standing, current_peppers,
};
pub(crate) use sign_ons::{SignOn, SignOns};

/// Every sealed column: Breeze's own, and that of seeds that are offered.
pub(crate) fn registry() -> Registry {
    let offers = Column::text("api_mfa_offers", "secret").under(Secret::MfaEncryptionKey);
    Registry::breeze().with(offers.bound_by_row())
}

/// The API's data in `database`.
pub(crate) fn of(database: &Database) -> anyhow::Result<Arc<dyn Data>> {
    Ok(match database {
        Database::Postgres(store) => Arc::new(postgres::PgData::new(store.pool().clone())),
        Database::Sqlite(store) => Arc::new(sqlite::SqliteData::new(store.pool().clone())),
        _ => anyhow::bail!("the API keeps its data on PostgreSQL or SQLite only"),
    })
}

/// Creates what is missing of the API's tables in `database`.
pub(crate) async fn migrate(database: &Database) -> anyhow::Result<()> {
    Ok(of(database)?.migrate().await?)
}

/// Everything that the API keeps.
#[async_trait]
pub(crate) trait Data:
    Users
    + RefreshTokens
    + SsoProviders
    + SignOns
    + Webhooks
    + DiscoveryProfiles
    + TenantVariables
    + EnrolmentKeys
    + Agents
    + ApiKeys
    + PasswordResets
    + RecoveryCodeSets
    + Factors
    + fmt::Debug
    + Send
    + Sync
    + 'static
{
    /// Creates what is missing of the tables. Safe to run from several processes at
    /// once, and again.
    async fn migrate(&self) -> Result<(), DataError>;

    /// Checks, changing nothing, that the tables are there and no newer version has
    /// migrated them.
    async fn check(&self) -> Result<(), DataError>;
}

/// Which rows somebody may see: all, or those of one organization.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    All,
    Organization(RowId),
}

impl Reach {
    /// The organization to filter by.
    pub(crate) const fn organization(self) -> Option<RowId> {
        match self {
            Self::All => None,
            Self::Organization(id) => Some(id),
        }
    }
}

/// Up to `limit` rows after the key `after`, ascending.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) after: Option<RowId>,
    pub(crate) limit: u32,
}

/// A user. Not `Debug`: it holds a password hash.
#[derive(Clone, FromRow)]
pub(crate) struct User {
    pub(crate) id: RowId,
    pub(crate) email: Option<String>,
    pub(crate) name: Option<String>,
    /// A PHC string.
    pub(crate) password_hash: Option<String>,
    pub(crate) status: String,
    pub(crate) scope: String,
    pub(crate) org_id: Option<RowId>,
    pub(crate) partner_id: Option<RowId>,
    /// Sealed.
    pub(crate) mfa_secret: Option<String>,
    pub(crate) mfa_enabled: bool,
    pub(crate) auth_epoch: i64,
    pub(crate) mfa_epoch: i64,
    pub(crate) version: i64,
}

impl User {
    /// Whether they may log in at all.
    pub(crate) fn is_active(&self) -> bool {
        self.status == "active"
    }
}

#[async_trait]
pub(crate) trait Users {
    async fn user_by_email(&self, email: &str) -> Result<Option<User>, DataError>;
    async fn user(&self, id: RowId, reach: Reach) -> Result<Option<User>, DataError>;
    async fn users(&self, reach: Reach, window: Window) -> Result<Vec<User>, DataError>;
    async fn create_user(&self, id: RowId, draft: &UserDraft) -> Result<User, DataError>;

    /// Creates the first user of all, unless there is one: of several processes that
    /// try at once, one does. Answers whether it was this one.
    async fn create_first_user(&self, id: RowId, draft: &UserDraft) -> Result<bool, DataError>;

    /// Whether there is a user who can log in.
    async fn has_users(&self) -> Result<bool, DataError>;

    /// Edits a user, if it is still of version `expected` where that is given. `None`
    /// when it is not, or is not there.
    async fn edit_user(
        &self,
        id: RowId,
        expected: Option<i64>,
        draft: &UserDraft,
    ) -> Result<Option<User>, DataError>;

    /// Sets a password, ends every session of the user and raises `auth_epoch`, in
    /// one transaction.
    async fn set_password(&self, id: RowId, password_hash: &str) -> Result<bool, DataError>;

    async fn delete_user(&self, id: RowId) -> Result<bool, DataError>;
}

/// A refresh token that is handed out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewRefreshToken {
    pub(crate) jti: RowId,
    pub(crate) family: RowId,
    pub(crate) user_id: RowId,
    pub(crate) expires_at: Timestamp,
}

/// What became of an exchange of one refresh token for the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exchange {
    /// It is spent, and the next one is stored.
    Done,
    /// It was spent before: somebody has a copy. Its whole family is revoked now.
    Reused,
    /// It is revoked, or was never handed out.
    Unknown,
}

#[async_trait]
pub(crate) trait RefreshTokens {
    /// Stores the first token of a family, and forgets expired ones.
    async fn begin_family(&self, token: NewRefreshToken, now: Timestamp) -> Result<(), DataError>;

    /// Spends `jti` and stores `next`, of the same family and user, in one
    /// transaction: of several that try at once, one is [`Exchange::Done`].
    async fn exchange(&self, jti: RowId, next: NewRefreshToken) -> Result<Exchange, DataError>;

    /// Sessions that a refresh token keeps alive at `now`.
    async fn live_sessions(&self, now: Timestamp) -> Result<u64, DataError>;

    /// Whether a refresh token keeps this session alive at `now`.
    async fn is_live(
        &self,
        user_id: RowId,
        family: RowId,
        now: Timestamp,
    ) -> Result<bool, DataError>;

    /// Revokes every token of a family.
    async fn revoke_family(&self, user_id: RowId, family: RowId) -> Result<(), DataError>;
}

/// A password reset that is about to be mailed.
#[derive(Debug)]
pub(crate) struct NewPasswordReset {
    pub(crate) user_id: RowId,
    /// SHA-256 of the token, in hexadecimal.
    pub(crate) token_hash: String,
    pub(crate) expires_at: Timestamp,
}

#[async_trait]
pub(crate) trait PasswordResets {
    /// Stores `reset` in place of one of the same user that expires by `replacing`.
    /// Answers false when there is one that expires later.
    async fn begin_password_reset(
        &self,
        reset: &NewPasswordReset,
        replacing: Timestamp,
    ) -> Result<bool, DataError>;

    /// Whose reset `token_hash` is, once: of several that try at once, one is told.
    async fn spend_password_reset(
        &self,
        token_hash: &str,
        now: Timestamp,
    ) -> Result<Option<RowId>, DataError>;
}

/// An SSO provider.
#[derive(Debug, Clone, FromRow)]
pub(crate) struct SsoProvider {
    pub(crate) id: RowId,
    pub(crate) org_id: Option<RowId>,
    pub(crate) name: Option<String>,
    pub(crate) issuer: Option<String>,
    pub(crate) client_id: Option<String>,
    /// Sealed.
    pub(crate) client_secret: Option<String>,
    pub(crate) version: i64,
}

/// A webhook.
#[derive(Debug, Clone, FromRow)]
pub(crate) struct Webhook {
    pub(crate) id: RowId,
    pub(crate) org_id: Option<RowId>,
    pub(crate) name: Option<String>,
    /// Sealed.
    pub(crate) url: String,
    /// Sealed.
    pub(crate) secret: Option<String>,
    /// A JSON document with sealed leaves.
    pub(crate) headers: Option<String>,
    pub(crate) version: i64,
}

/// A discovery profile.
#[derive(Debug, Clone, FromRow)]
pub(crate) struct DiscoveryProfile {
    pub(crate) id: RowId,
    pub(crate) org_id: Option<RowId>,
    pub(crate) name: Option<String>,
    /// A JSON array of sealed text.
    pub(crate) snmp_communities: Option<String>,
    /// A JSON document with sealed leaves.
    pub(crate) snmp_credentials: Option<String>,
    pub(crate) version: i64,
}

/// A tenant variable.
#[derive(Debug, Clone, FromRow)]
pub(crate) struct TenantVariable {
    pub(crate) id: RowId,
    pub(crate) org_id: Option<RowId>,
    pub(crate) name: Option<String>,
    /// Sealed, and bound to its row.
    pub(crate) value: String,
    pub(crate) version: i64,
}

macro_rules! resource {
    ($(#[$doc:meta])* $name:ident: $row:ty, $draft:ty;
     $find:ident, $page:ident, $create:ident, $edit:ident, $delete:ident) => {
        $(#[$doc])*
        #[async_trait]
        pub(crate) trait $name {
            async fn $find(&self, id: RowId, reach: Reach) -> Result<Option<$row>, DataError>;
            async fn $page(&self, reach: Reach, window: Window) -> Result<Vec<$row>, DataError>;
            async fn $create(
                &self,
                id: RowId,
                org_id: Option<RowId>,
                draft: &$draft,
            ) -> Result<$row, DataError>;

            /// Writes what `draft` names, if the row is still of version `expected`
            /// where that is given. `None` when it is not, or is out of reach.
            async fn $edit(
                &self,
                id: RowId,
                reach: Reach,
                expected: Option<i64>,
                draft: &$draft,
            ) -> Result<Option<$row>, DataError>;

            async fn $delete(&self, id: RowId, reach: Reach) -> Result<bool, DataError>;
        }
    };
}

resource!(
    /// SSO providers.
    SsoProviders: SsoProvider, SsoProviderDraft;
    sso_provider, sso_providers, create_sso_provider, edit_sso_provider, delete_sso_provider
);
resource!(
    /// Webhooks.
    Webhooks: Webhook, WebhookDraft;
    webhook, webhooks, create_webhook, edit_webhook, delete_webhook
);
resource!(
    /// Discovery profiles.
    DiscoveryProfiles: DiscoveryProfile, DiscoveryProfileDraft;
    discovery_profile, discovery_profiles, create_discovery_profile, edit_discovery_profile,
    delete_discovery_profile
);
resource!(
    /// Tenant variables.
    TenantVariables: TenantVariable, TenantVariableDraft;
    tenant_variable, tenant_variables, create_tenant_variable, edit_tenant_variable,
    delete_tenant_variable
);

/// The newest migration that this version has. One that a newer version has beside it
/// only adds, and is no reason not to serve.
fn newest(migrator: &Migrator) -> i64 {
    migrator.iter().map(|migration| migration.version).max().unwrap_or(0)
}

/// Rows that need a key, and rows that do not tell, as they were counted.
fn reliance((rows, unknown): (i64, i64)) -> Reliance {
    let count = |rows| u64::try_from(rows).unwrap_or(0);
    Reliance::Counted { rows: count(rows), unknown: count(unknown) }
}
