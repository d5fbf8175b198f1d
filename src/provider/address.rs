//! Where a provider is.
//!
//! 1. A credential goes out over TLS only, or stays on this machine.
//! 2. An address holds no credential, so that it can be told.

use std::{fmt, str::FromStr};

use reqwest::Url;

use crate::host::is_on_this_machine;

/// The address of a provider's API: `https`, or `http` on the loopback interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address(Url);

impl Address {
    /// The address of `path` below it. Each segment is escaped: none leads elsewhere.
    pub(super) fn join(&self, path: &[&str]) -> Url {
        let mut url = self.0.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }

    pub(super) const fn url(&self) -> &Url {
        &self.0
    }
}

impl FromStr for Address {
    type Err = UnfitAddress;

    fn from_str(text: &str) -> Result<Self, UnfitAddress> {
        let url = guarded(text)?;
        let is_bare = url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none();
        if is_bare { Ok(Self(url)) } else { Err(UnfitAddress::NotBare) }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An address that a credential may go to, whatever else it holds.
pub(super) fn guarded(text: &str) -> Result<Url, UnfitAddress> {
    let url = Url::parse(text).map_err(|_| UnfitAddress::NotAnAddress)?;
    let Some(host) = url.host_str() else { return Err(UnfitAddress::NotAnAddress) };
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_on_this_machine(host) => Ok(url),
        "http" => Err(UnfitAddress::InTheClear),
        _ => Err(UnfitAddress::NotAnAddress),
    }
}

/// Text that is no address of a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnfitAddress {
    /// No `https` address.
    #[error("an address of a provider is such as https://api.example.com")]
    NotAnAddress,
    /// No TLS, and another machine.
    #[error("a credential goes out over TLS only: use https, or http on the loopback interface")]
    InTheClear,
    /// More than an address.
    #[error("an address of a provider has neither user, password, query nor fragment")]
    NotBare,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_goes_out_over_tls_or_stays_here() {
        for fit in [
            "https://api.example.com",
            "http://127.0.0.1:9/x",
            "http://[::1]:9",
            "http://localhost",
        ] {
            assert!(fit.parse::<Address>().is_ok(), "{fit}");
        }
        for (text, unfit) in [
            ("http://api.example.com", UnfitAddress::InTheClear),
            ("http://127.0.0.1.example.com", UnfitAddress::InTheClear),
            ("http://localhost.example.com", UnfitAddress::InTheClear),
            ("ftp://127.0.0.1", UnfitAddress::NotAnAddress),
            ("api.example.com", UnfitAddress::NotAnAddress),
            ("", UnfitAddress::NotAnAddress),
            ("https://user:pass@api.example.com", UnfitAddress::NotBare),
            ("https://api.example.com/?key=k", UnfitAddress::NotBare),
        ] {
            assert_eq!(text.parse::<Address>(), Err(unfit), "{text}");
        }
    }

    #[test]
    fn a_segment_leads_nowhere_else() {
        let address: Address = "https://api.example.com/v4/".parse().unwrap();
        assert_eq!(
            address.join(&["zones", "a/../b?c#d"]).as_str(),
            "https://api.example.com/v4/zones/a%2F..%2Fb%3Fc%23d"
        );
    }
}
