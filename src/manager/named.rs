//! The managers that variables name, by the names that their own tools use.

use std::fs;

use super::{
    SourcesError,
    sources::{setting, text},
};
use crate::{
    keyring::sources::Environment,
    provider::{Address, Limits, Trust},
};

#[cfg(feature = "vault")]
pub(super) fn vault(local: &Environment, path: &str) -> Result<super::vault::Vault, SourcesError> {
    use super::vault::{Login, Vault};
    const ADDRESS: &str = "VAULT_ADDR";
    let given = text(local, ADDRESS)?
        .ok_or_else(|| setting(ADDRESS, "is not set; set it to the manager's address"))?;
    let trust = trust(local, "VAULT_CACERT")?;
    let address = address(ADDRESS, &given)?;
    let login = Login::of(local.clone())?;
    let vault = Vault::new(address, &trust, Limits::default(), login, path);
    let vault = match text(local, "BREEZE_VAULT_MOUNT")? {
        Some(mount) => vault.mounted_at(&mount),
        None => vault,
    };
    match text(local, "VAULT_NAMESPACE")? {
        None => Ok(vault),
        Some(namespace) => vault
            .in_namespace(&namespace)
            .ok_or_else(|| setting("VAULT_NAMESPACE", "is no namespace; use visible ASCII")),
    }
}

#[cfg(feature = "aws")]
pub(super) fn aws(
    local: &Environment,
    secret: &str,
) -> Result<super::aws::SecretsManager, SourcesError> {
    use super::aws::SecretsManager;
    const ENDPOINTS: [&str; 2] = ["AWS_ENDPOINT_URL_SECRETS_MANAGER", "AWS_ENDPOINT_URL"];
    let region = match text(local, "AWS_REGION")? {
        None => text(local, "AWS_DEFAULT_REGION")?,
        region => region,
    };
    let region = region
        .ok_or_else(|| setting("AWS_REGION", "is not set; set it to the region of the secret"))?;
    let mut endpoint = None;
    for name in ENDPOINTS {
        if endpoint.is_none() {
            endpoint = text(local, name)?.map(|text| address(name, &text)).transpose()?;
        }
    }
    let endpoint = match endpoint {
        Some(endpoint) => endpoint,
        None => address("AWS_REGION", &SecretsManager::address(&region))?,
    };
    let trust = trust(local, "AWS_CA_BUNDLE")?;
    Ok(SecretsManager::new(endpoint, &trust, Limits::default(), &region, secret, local.clone()))
}

fn address(name: &'static str, text: &str) -> Result<Address, SourcesError> {
    text.parse().map_err(|error| setting(name, &format!("cannot be used: {error}")))
}

/// The public authorities, and those in the file that the variable `name` names.
fn trust(local: &Environment, name: &'static str) -> Result<Trust, SourcesError> {
    let Some(path) = text(local, name)? else { return Ok(Trust::public()) };
    let pem = fs::read(path).map_err(|error| {
        setting(name, &format!("names a file that cannot be read: {}", error.kind()))
    })?;
    Trust::public()
        .and_pem(&pem)
        .map_err(|error| setting(name, &format!("cannot be used: {error}")))
}
