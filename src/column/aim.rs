//! What is final, in a form that SQL can test.

use crate::{
    envelope::{Form, Target},
    keyring::{Keychain, NoKeyring},
};

use super::{cell::final_forms, registry::Column};

/// What a value of one column looks like when nothing is left to do with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aim {
    /// Any of these prefixes is final: `enc:v3:<primary>:` for the target `bound`.
    /// Empty where the final form names no key (`mfa:v1`): then nothing is certainly
    /// final by its looks.
    pub prefixes: Vec<String>,
}

impl Column {
    /// What its values look like once they are rewrapped.
    ///
    /// # Errors
    /// [`NoKeyring`] when the keychain has no keys for its secret.
    pub fn aim(&self, chain: &Keychain, target: Target) -> Result<Aim, NoKeyring> {
        let primary = chain.sealing(self.secret())?.primary().id();
        if self.is_legacy_alone() {
            let prefixes = [Form::MfaV1, Form::MfaV2].map(|form| form.prefix().to_owned());
            return Ok(Aim { prefixes: prefixes.into() });
        }
        let prefixes = final_forms(self, target)
            .iter()
            .filter(|form| form.names_key())
            .map(|form| format!("{}{primary}:", form.prefix()))
            .collect();
        Ok(Aim { prefixes })
    }
}
