//! What a caller wants written. A member that is `None` is left as it is in an edit,
//! and `NULL` in a new row. Sealed members are sealed already.

use super::RowId;

/// Not `Debug`: it holds a password hash.
#[derive(Clone, Default)]
pub(crate) struct UserDraft {
    pub(crate) email: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) scope: Option<&'static str>,
    pub(crate) org_id: Option<RowId>,
    /// Of a new user only: later, [`super::Users::set_password`] ends sessions too.
    pub(crate) password_hash: Option<String>,
    /// Of a new user only: who begins with a seed is enrolled in MFA.
    pub(crate) mfa_secret: Option<String>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct SsoProviderDraft {
    pub(crate) name: Option<String>,
    pub(crate) issuer: Option<String>,
    pub(crate) client_id: Option<String>,
    pub(crate) client_secret: Option<String>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct WebhookDraft {
    pub(crate) name: Option<String>,
    pub(crate) url: Option<String>,
    pub(crate) secret: Option<String>,
    pub(crate) headers: Option<String>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct DiscoveryProfileDraft {
    pub(crate) name: Option<String>,
    pub(crate) snmp_communities: Option<String>,
    pub(crate) snmp_credentials: Option<String>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct TenantVariableDraft {
    pub(crate) name: Option<String>,
    pub(crate) value: Option<String>,
}
