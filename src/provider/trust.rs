//! Whose certificates are trusted: those of the public authorities, and an operator's own.
//!
//! Certificates are always verified; there is no way to switch that off.

use std::sync::Arc;

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};

/// Whom a provider's certificate must come from.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    own: Vec<CertificateDer<'static>>,
}

impl Trust {
    /// The public authorities, as Mozilla trusts them.
    #[must_use]
    pub const fn public() -> Self {
        Self { own: Vec::new() }
    }

    /// Those, and the authorities in `pem`: for servers of one's own.
    ///
    /// # Errors
    /// [`UnfitCertificate`] when `pem` holds none, or one that cannot be read.
    pub fn and_pem(mut self, pem: &[u8]) -> Result<Self, UnfitCertificate> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|_| UnfitCertificate)?;
            roots.add(certificate.clone()).map_err(|_| UnfitCertificate)?;
            self.own.push(certificate);
        }
        if roots.is_empty() { Err(UnfitCertificate) } else { Ok(self) }
    }

    /// The authorities of one's own.
    pub(super) fn own(&self) -> impl Iterator<Item = &CertificateDer<'static>> {
        self.own.iter()
    }

    pub(super) fn client_config(&self) -> ClientConfig {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        // Each was added to a store before.
        roots.add_parsable_certificates(self.own.iter().cloned());
        ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has suites for TLS 1.2 and 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth()
    }
}

/// What is no certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no certificate of an authority can be read; give one or more in PEM")]
pub struct UnfitCertificate;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_certificate_is_refused() {
        for pem in ["", "hello", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert_eq!(
                Trust::public().and_pem(pem.as_bytes()).err(),
                Some(UnfitCertificate),
                "{pem}"
            );
        }
        assert_eq!(Trust::public().own().count(), 0);
    }
}
