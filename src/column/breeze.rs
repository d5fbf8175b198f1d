//! Breeze's own sealed columns: its registry, and those that its registry forgets.

use std::borrow::Cow;

use super::registry::{Column, Registry};
use crate::catalog::Secret;

macro_rules! names {
    ($($name:literal)*) => { &[$(Cow::Borrowed($name)),*] };
}

/// The keys of a document under which Breeze seals strings (FORMATS section 3.2).
pub const SECRET_KEYS: &[Cow<'static, str>] = names![
    "secret" "webhookSecret" "clientSecret" "accessToken" "refreshToken" "token" "apiKey"
    "apiSecret" "apiKeyValue" "authToken" "authPassword" "routingKey" "integrationKey"
    "webhookUrl" "password" "privateKey" "encrypted" "elasticsearchApiKey"
    "elasticsearchPassword" "community" "authPassphrase" "privacyPassphrase" "privPassword"
];

impl Registry {
    /// Every column that Breeze seals (FORMATS sections 3 and 3.3).
    ///
    /// Three differ from what Breeze's own script does or would do:
    /// - `users.mfa_secret` is under `MFA_ENCRYPTION_KEY`, and bound by row once it is
    ///   rewrapped to `mfa:v2`.
    /// - `action_intents.result` is read strictly by Breeze, so it counts as migrated:
    ///   it keeps `enc:v3` under every target.
    /// - `device_commands.payload` has no secret keys: what a command carries in
    ///   plaintext is for its agent, so only envelopes are rewrapped. A script's
    ///   environment (`secretEnvEnvelope`) is bound to its device besides, which the
    ///   row does not tell: one that is not under the primary key does not
    ///   authenticate, so its document is left untouched and reported by its path,
    ///   until the command is gone or someone decides.
    #[must_use]
    pub fn breeze() -> Self {
        registered().chain(forgotten()).fold(Self::empty(), Self::with)
    }
}

/// The 42 columns of Breeze's registry, in its order.
fn registered() -> impl Iterator<Item = Column> {
    use Column as C;
    [
        C::text("sso_providers", "client_secret"),
        C::text("user_sso_identities", "access_token"),
        C::text("user_sso_identities", "refresh_token"),
        C::text("c2c_connections", "client_secret"),
        C::text("c2c_connections", "refresh_token"),
        C::text("c2c_connections", "access_token"),
        C::text("webhooks", "url"),
        C::text("webhooks", "secret"),
        C::json("webhooks", "headers"),
        C::json("notification_channels", "config"),
        C::text_array("discovery_profiles", "snmp_communities"),
        C::json("discovery_profiles", "snmp_credentials"),
        C::text("snmp_devices", "community"),
        C::text("snmp_devices", "auth_password"),
        C::text("snmp_devices", "priv_password"),
        C::json("automations", "trigger"),
        C::json("psa_connections", "credentials"),
        C::json("stripe_connect_accounts", "credentials"),
        C::text("stripe_connect_accounts", "api_key"),
        C::text("huntress_integrations", "api_key_encrypted"),
        C::text("huntress_integrations", "webhook_secret_encrypted"),
        C::text("pax8_integrations", "client_id_encrypted"),
        C::text("pax8_integrations", "client_secret_encrypted"),
        C::text("pax8_integrations", "access_token_encrypted"),
        C::text("pax8_integrations", "webhook_secret_encrypted"),
        C::text("accounting_connections", "realm_id_encrypted"),
        C::text("accounting_connections", "access_token_encrypted"),
        C::text("accounting_connections", "refresh_token_encrypted"),
        C::text("accounting_connections", "webhook_verifier_token_encrypted"),
        C::text("s1_integrations", "api_token_encrypted"),
        C::text("dns_filter_integrations", "api_key"),
        C::text("dns_filter_integrations", "api_secret"),
        C::text("storage_encryption_keys", "encrypted_private_key"),
        C::json("organizations", "settings"),
        C::json("partners", "settings"),
        C::json("sites", "settings"),
        C::json("td_synnex_digital_bridge_integrations", "credentials"),
        C::json("td_synnex_ec_express_integrations", "credentials"),
        C::json("td_synnex_sftp_integrations", "credentials"),
        C::text("device_recovery_keys", "encrypted_key"),
        C::text("tenant_variables", "value").bound_by_row(),
        C::text("invoices", "public_link_token_ct").bound_by_row(),
    ]
    .into_iter()
}

/// The sealed columns that Breeze's registry does not name.
fn forgotten() -> impl Iterator<Item = Column> {
    use Column as C;
    [
        C::text("users", "mfa_secret").under(Secret::MfaEncryptionKey).bound_by_row(),
        C::text("huntress_integrations", "account_key_encrypted"),
        C::text("s1_org_mappings", "registration_token"),
        C::text("unifi_integrations", "api_key_encrypted"),
        C::text("unifi_collectors", "local_api_key_encrypted"),
        C::text("m365_connections", "client_secret"),
        C::text("google_workspace_connections", "service_account_key"),
        C::text("manifest_signing_keys", "private_key_enc"),
        C::json("action_intents", "result").with_secret_keys(["temporaryPasswordEnc"]).migrated(),
        C::json("device_commands", "payload").with_secret_keys([""; 0]),
    ]
    .into_iter()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_rollover_works_on_what_its_keys_may_have_sealed() {
        let all = Registry::breeze();
        let mfa = all.sealed_by(Secret::MfaEncryptionKey);
        let names: Vec<_> = mfa.columns().map(ToString::to_string).collect();
        assert_eq!(names, ["users.mfa_secret"]);
        assert_eq!(mfa.column("users", "mfa_secret"), all.column("users", "mfa_secret"));
        // Old seeds are under the application key.
        assert_eq!(all.sealed_by(Secret::AppEncryptionKey).columns().count(), 52);
        assert_eq!(all.sealed_by(Secret::JwtSecret), Registry::empty());
    }

    #[test]
    fn every_column_stands_once() {
        let all: HashSet<_> = registered().chain(forgotten()).map(|c| c.to_string()).collect();
        assert_eq!((registered().count(), forgotten().count(), all.len()), (42, 10, 52));
        assert_eq!(Registry::breeze().columns().count(), 52);
        let tables: HashSet<_> = registered().map(|c| c.table().to_owned()).collect();
        assert_eq!(tables.len(), 25);
        assert_eq!(SECRET_KEYS.iter().collect::<HashSet<_>>().len(), 23);
    }
}
