//! With whom a connection is: whether the server proves who it is.
//!
//! 1. On the way to another machine it does (`verify-full`), unless the URL says otherwise.
//! 2. What the URL says (`sslmode`, or libpq's own `PGSSLMODE`) is the operator's word, and
//!    is followed; that it leaves the server unproven is told, with each start.
//! 3. Authorities of one's own count beside the public ones, unless the URL names its own.

use std::env;

use sqlx::postgres::{PgConnectOptions, PgSslMode};

use crate::host::is_on_this_machine;

/// `options` as `url` gave them, with the proof that they want of the server.
pub(super) fn proven(
    url: &str,
    options: PgConnectOptions,
    authorities: Option<&[u8]>,
) -> PgConnectOptions {
    let is_said = says(url, &["sslmode", "ssl-mode"]) || env::var_os("PGSSLMODE").is_some();
    let options = wanted(url, options, authorities, is_said);
    if is_exposed(&options) {
        tracing::warn!(
            host = options.get_host(),
            sslmode = ?options.get_ssl_mode(),
            "the database does not prove who it is, and what goes to it, the password too, may be read on the way; use sslmode=verify-full, with BREEZE_TRUSTED_CA or sslrootcert for an authority of your own"
        );
    }
    options
}

fn wanted(
    url: &str,
    options: PgConnectOptions,
    authorities: Option<&[u8]>,
    is_said: bool,
) -> PgConnectOptions {
    let options = match authorities {
        Some(pem) if !says(url, &["sslrootcert", "ssl-root-cert", "ssl-ca"]) => {
            options.ssl_root_cert_from_pem(pem.to_vec())
        }
        _ => options,
    };
    if is_said || stays_here(&options) { options } else { options.ssl_mode(PgSslMode::VerifyFull) }
}

/// Whether somebody in between could be the server.
fn is_exposed(options: &PgConnectOptions) -> bool {
    let proves = matches!(options.get_ssl_mode(), PgSslMode::VerifyFull | PgSslMode::VerifyCa);
    !proves && !stays_here(options)
}

fn stays_here(options: &PgConnectOptions) -> bool {
    let host = options.get_host();
    options.get_socket().is_some() || host.starts_with('/') || is_on_this_machine(host)
}

/// Whether `url` has one of these parameters.
fn says(url: &str, names: &[&str]) -> bool {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    query.split('&').any(|pair| names.contains(&pair.split('=').next().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> PgConnectOptions {
        wanted(url, url.parse().unwrap(), None, says(url, &["sslmode", "ssl-mode"]))
    }

    #[test]
    fn another_machine_proves_who_it_is_unless_the_url_says_otherwise() {
        for url in ["postgres://api:pw@db/breeze", "postgres://10.0.0.7/b?application_name=x"] {
            let options = read(url);
            assert!(matches!(options.get_ssl_mode(), PgSslMode::VerifyFull), "{url}");
            assert!(!is_exposed(&options), "{url}");
        }
        for mode in ["disable", "prefer", "require"] {
            let options = read(&format!("postgres://db/breeze?sslmode={mode}"));
            assert!(format!("{:?}", options.get_ssl_mode()).eq_ignore_ascii_case(mode));
            assert!(is_exposed(&options), "{mode}");
        }
    }

    #[test]
    fn nothing_is_wanted_of_this_machine() {
        for url in [
            "postgres://api:pw@127.0.0.1:5432/breeze",
            "postgres://localhost/breeze",
            "postgres:///breeze?host=/var/run/postgresql",
            "postgres://[::1]/breeze",
        ] {
            let options = read(url);
            assert!(matches!(options.get_ssl_mode(), PgSslMode::Prefer), "{url}");
            assert!(!is_exposed(&options), "{url}");
        }
    }
}
