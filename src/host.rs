//! Whether what goes to a host stays on this machine, where nobody in between reads it.

use std::net::IpAddr;

/// Whether `host`, as a URL writes it, is the loopback interface. Any other name may lead
/// anywhere, whatever it resolves to today.
pub(crate) fn is_on_this_machine(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_only_looks_like_this_machine_is_another() {
        for here in ["localhost", "LocalHost", "127.0.0.1", "127.9.9.9", "::1", "[::1]"] {
            assert!(is_on_this_machine(here), "{here}");
        }
        for elsewhere in ["", "db", "10.0.0.1", "127.0.0.1.example.com", "localhost.example.com"] {
            assert!(!is_on_this_machine(elsewhere), "{elsewhere}");
        }
    }
}
