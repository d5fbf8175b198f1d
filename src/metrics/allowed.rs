//! Who may scrape, by address.

use std::{net::IpAddr, str::FromStr};

/// Addresses and networks, such as `10.0.0.7, 192.168.0.0/16, fd00::/8`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed(Vec<Network>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Network {
    base: IpAddr,
    prefix: u32,
}

impl Allowed {
    /// Whether the peer at `address` may scrape. An IPv4 address that comes as an IPv6
    /// one counts as what it is.
    #[must_use]
    pub fn covers(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.covers(address))
    }
}

impl Network {
    fn covers(self, address: IpAddr) -> bool {
        let differs = match (self.base, address) {
            (IpAddr::V4(base), IpAddr::V4(address)) => {
                (base.to_bits() ^ address.to_bits()).checked_shr(32 - self.prefix).unwrap_or(0) != 0
            }
            (IpAddr::V6(base), IpAddr::V6(address)) => {
                (base.to_bits() ^ address.to_bits()).checked_shr(128 - self.prefix).unwrap_or(0)
                    != 0
            }
            _ => true,
        };
        !differs
    }
}

impl FromStr for Allowed {
    type Err = AllowedFault;

    fn from_str(text: &str) -> Result<Self, AllowedFault> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let networks = parts.map(network).collect::<Option<Vec<_>>>().ok_or(AllowedFault)?;
        if networks.is_empty() { Err(AllowedFault) } else { Ok(Self(networks)) }
    }
}

fn network(text: &str) -> Option<Network> {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix.parse::<u32>().ok()?)),
        None => (text, None),
    };
    let base: IpAddr = address.parse().ok()?;
    let longest = if base.is_ipv4() { 32 } else { 128 };
    let prefix = prefix.unwrap_or(longest);
    (prefix <= longest).then_some(Network { base, prefix })
}

/// Text that is no list of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it must be addresses or networks with commas between, such as 10.0.0.7, 192.168.0.0/16")]
pub struct AllowedFault;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_covered_by_itself_and_by_its_network() {
        let allowed: Allowed = "10.0.0.7, 192.168.0.0/16,fd00::/8".parse().unwrap();
        let covers = |text: &str| allowed.covers(text.parse().unwrap());
        for covered in ["10.0.0.7", "192.168.255.1", "fdff::1", "::ffff:10.0.0.7"] {
            assert!(covers(covered), "{covered}");
        }
        for other in ["10.0.0.8", "192.169.0.1", "fe00::1", "::1", "::a00:7"] {
            assert!(!covers(other), "{other}");
        }
        assert!("0.0.0.0/0".parse::<Allowed>().unwrap().covers("1.2.3.4".parse().unwrap()));
    }

    #[test]
    fn what_is_no_list_of_addresses_is_refused() {
        for text in ["", " , ", "localhost", "10.0.0.0/33", "10.0.0.7 10.0.0.8", "::/129"] {
            assert_eq!(text.parse::<Allowed>(), Err(AllowedFault), "{text}");
        }
    }
}
