//! Where Vault is, and how it is asked.

use http::{HeaderName, HeaderValue, Method};
use reqwest::RequestBuilder;

use crate::{
    manager::{ManagerError, heard::Heard},
    provider::{
        Address, Limits, Trust,
        http::{Api, sensitive},
        patience::Again,
        words::Withheld,
    },
};

const TOKEN: HeaderName = HeaderName::from_static("x-vault-token");
const NAMESPACE: HeaderName = HeaderName::from_static("x-vault-namespace");
/// Proves that no browser was talked into the request.
const REQUEST: HeaderName = HeaderName::from_static("x-vault-request");

pub(super) struct Door {
    api: Api,
    address: String,
    namespace: Option<HeaderValue>,
}

impl Door {
    pub(super) fn new(address: Address, trust: &Trust, limits: Limits) -> Self {
        let told = address.to_string();
        Self { api: Api::new(address, trust, limits), address: told, namespace: None }
    }

    pub(super) fn in_namespace(self, namespace: &str) -> Option<Self> {
        let namespace = HeaderValue::from_str(namespace).ok()?;
        Some(Self { namespace: Some(namespace), ..self })
    }

    pub(super) fn address(&self) -> &str {
        self.address.trim_end_matches('/')
    }

    pub(super) fn request(&self, method: Method, segments: &[&str]) -> RequestBuilder {
        let request = self.api.request(method, segments).header(REQUEST, "true");
        match &self.namespace {
            Some(namespace) => request.header(NAMESPACE, namespace),
            None => request,
        }
    }

    /// The answer to a call of the bearer of `token`; neither it nor `withheld` is told.
    pub(super) async fn asked(
        &self,
        token: &str,
        withheld: &[&str],
        again: Again,
        call: impl Fn() -> RequestBuilder,
    ) -> Result<Heard, ManagerError> {
        let header = sensitive(token).ok_or_else(|| {
            ManagerError::NoLogin("the token can be none; use visible ASCII".to_owned())
        })?;
        let parts: Vec<_> = [token].iter().chain(withheld).copied().collect();
        let call = || call().header(TOKEN, header.clone());
        Heard::of(&self.api, Withheld::parts(&parts), again, call).await
    }

    /// The answer to a call of nobody, with `withheld` in it.
    pub(super) async fn asked_by_nobody(
        &self,
        withheld: &[&str],
        call: impl Fn() -> RequestBuilder,
    ) -> Result<Heard, ManagerError> {
        Heard::of(&self.api, Withheld::parts(withheld), Again::Always, call).await
    }
}
