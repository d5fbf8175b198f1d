//! The resources whose rows clients make, edit and read.

use breeze_rollover::material::Material;
use serde_json::{Value, json};

/// One resource.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Provider,
    Webhook,
    Variable,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Provider, Self::Webhook, Self::Variable];

    /// Where its rows are.
    pub(crate) const fn path(self) -> &'static str {
        match self {
            Self::Provider => "/api/v1/sso/providers",
            Self::Webhook => "/api/v1/webhooks",
            Self::Variable => "/api/v1/tenant-variables",
        }
    }

    /// An edit to `value`.
    pub(crate) fn edit(self, value: &str) -> Value {
        match self {
            Self::Provider => json!({ "clientSecret": value }),
            Self::Webhook => json!({ "url": url(value), "secret": value }),
            Self::Variable => json!({ "value": value }),
        }
    }

    /// Whether what was read shows `value`: of a secret, its last characters.
    pub(crate) fn shows(self, read: &Value, value: &str) -> bool {
        let ends = |hint: &Value| hint == &value[value.len() - 4..];
        match self {
            Self::Provider => ends(&read["clientSecretHint"]),
            Self::Webhook => read["url"] == url(value) && ends(&read["secretHint"]),
            Self::Variable => read["value"] == value,
        }
    }
}

fn url(value: &str) -> String {
    format!("https://hooks.test/{value}")
}

/// What a test of a provider tells of its secret.
pub(crate) fn fingerprint(value: &str) -> Value {
    json!(Material::new(value).unwrap().fingerprint())
}
