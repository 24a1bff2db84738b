//! Networks, and where a token may come from.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
    sync::Arc,
};

use serde::{Deserialize, Deserializer, de::Error as _};

/// The prefix of IPv4 addresses written as IPv6.
const MAPPED_BITS: u8 = 96;

/// An address and the length of its prefix, written `10.0.0.0/8` or `192.0.2.1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// The networks that a token is good from. Most tokens are good from anywhere, and hold nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources(Option<Arc<[Network]>>);

// === impl Network ===

impl Network {
    /// Is the address inside? IPv4 written as IPv6 counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                let shift = 32 - u32::from(self.prefix);
                let difference = ours.to_bits() ^ theirs.to_bits();
                difference.checked_shr(shift).unwrap_or(0) == 0
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => {
                let shift = 128 - u32::from(self.prefix);
                let difference = ours.to_bits() ^ theirs.to_bits();
                difference.checked_shr(shift).unwrap_or(0) == 0
            }
            _ => false,
        }
    }

    /// Whether the address has bits past its prefix: perhaps a smaller network was meant.
    pub fn has_host_bits(self) -> bool {
        self.masked() != self
    }

    /// The one way to write this network: nothing past the prefix, and IPv4 as IPv4.
    #[must_use]
    pub fn canonical(self) -> Self {
        let masked = self.masked();
        let IpAddr::V6(address) = masked.address else {
            return masked;
        };
        match (
            address.to_ipv4_mapped(),
            self.prefix.checked_sub(MAPPED_BITS),
        ) {
            (Some(address), Some(prefix)) => Self {
                address: address.into(),
                prefix,
            },
            _ => masked,
        }
    }

    fn masked(self) -> Self {
        let address = match self.address {
            IpAddr::V4(address) => {
                let past = u32::MAX.checked_shr(self.prefix.into()).unwrap_or(0);
                Ipv4Addr::from_bits(address.to_bits() & !past).into()
            }
            IpAddr::V6(address) => {
                let past = u128::MAX.checked_shr(self.prefix.into()).unwrap_or(0);
                Ipv6Addr::from_bits(address.to_bits() & !past).into()
            }
        };
        Self { address, ..self }
    }

    /// 4 or 16 bytes of address, then the length of the prefix.
    pub fn to_bytes(self) -> Vec<u8> {
        let mut bytes = match self.address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        bytes.push(self.prefix);
        bytes
    }

    /// The same back; `None` for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (prefix, address) = bytes.split_last()?;
        let address: IpAddr = match address.len() {
            4 => <[u8; 4]>::try_from(address).ok()?.into(),
            16 => <[u8; 16]>::try_from(address).ok()?.into(),
            _ => return None,
        };
        Self::new(address, *prefix)
    }

    fn new(address: IpAddr, prefix: u8) -> Option<Self> {
        (prefix <= longest(address)).then_some(Self { address, prefix })
    }
}

fn longest(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a network such as 10.0.0.0/8");
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let prefix = match prefix {
            Some(prefix) => prefix.parse().map_err(|_| wrong())?,
            None => longest(address),
        };
        Self::new(address, prefix).ok_or_else(wrong)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

// === impl Sources ===

impl Sources {
    /// Anywhere.
    pub const ANYWHERE: Self = Self(None);

    /// These networks and nowhere else; with none, nowhere at all.
    pub fn only(networks: impl IntoIterator<Item = Network>) -> Self {
        Self(Some(networks.into_iter().collect()))
    }

    /// Whether there is an address that they leave out.
    #[inline]
    pub fn is_restricted(&self) -> bool {
        self.0.is_some()
    }

    /// Whether they hold that address. IPv4 written as IPv6 counts as IPv4.
    #[inline]
    pub fn allow(&self, address: IpAddr) -> bool {
        match &self.0 {
            None => true,
            Some(networks) => networks.iter().any(|network| network.contains(address)),
        }
    }

    /// Each of them; none also where they are anywhere.
    pub fn networks(&self) -> &[Network] {
        self.0.as_deref().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().expect("a network")
    }

    #[test]
    fn a_network_is_written_in_one_way_whatever_it_was_read_from() {
        for (text, canonical) in [
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("192.0.2.1", "192.0.2.1/32"),
            ("1.2.3.4/0", "0.0.0.0/0"),
            ("2001:DB8::1/32", "2001:db8::/32"),
            ("2001:db8::1", "2001:db8::1/128"),
            ("::ffff:192.0.2.9/120", "192.0.2.0/24"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("::/0", "::/0"),
        ] {
            let read = network(text).canonical();
            assert_eq!(read.to_string(), canonical, "{text}");
            assert_eq!(network(canonical).canonical(), read);
            assert!(!read.has_host_bits());
            assert_eq!(Network::from_bytes(&read.to_bytes()), Some(read));
        }
    }

    #[test]
    fn an_address_with_bits_past_its_prefix_is_told_from_a_network() {
        for (text, has) in [
            ("10.1.2.3/8", true),
            ("10.0.0.0/8", false),
            ("192.0.2.1", false),
            ("::1/127", true),
            ("::/0", false),
        ] {
            assert_eq!(network(text).has_host_bits(), has, "{text}");
        }
    }

    #[test]
    fn bytes_that_are_no_network_are_none() {
        for bytes in [
            &[][..],
            &[24],
            &[10, 0, 0, 0, 33],
            &[10, 0, 0, 8],
            &[0; 16],
            &[129; 17],
        ] {
            assert_eq!(Network::from_bytes(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn a_token_is_good_from_its_networks_alone_and_from_anywhere_without_any() {
        let some = Sources::only([network("192.0.2.0/24"), network("2001:db8::/32")]);
        for (address, is_in) in [
            ("192.0.2.7", true),
            ("::ffff:192.0.2.7", true),
            ("192.0.3.7", false),
            ("2001:db8:1::1", true),
            ("2001:db9::1", false),
        ] {
            let address = address.parse().expect("an address");
            assert_eq!(some.allow(address), is_in, "{address}");
            assert!(Sources::ANYWHERE.allow(address));
            assert!(!Sources::only([]).allow(address));
        }
        assert!(some.is_restricted() && Sources::only([]).is_restricted());
        assert!(!Sources::ANYWHERE.is_restricted());
    }
}
