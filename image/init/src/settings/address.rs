//! IPv4 addresses with their networks.

use core::{fmt, net::Ipv4Addr, str::FromStr};

/// Where the guest's address comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Address {
    /// A DHCP server.
    Dhcp,
    /// The configuration.
    Static {
        /// The address with the bits of its network, 1 to 32.
        address: Ipv4Net,
        /// The router, in the same network.
        gateway: Option<Ipv4Addr>,
    },
}

/// An IPv4 address and how many of its bits are its network's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ipv4Net {
    /// The address.
    pub address: Ipv4Addr,
    /// 1 to 32.
    pub prefix: u8,
}

impl Ipv4Net {
    /// Whether an address is of the same network.
    #[must_use]
    pub fn contains(&self, other: Ipv4Addr) -> bool {
        let shift = 32_u32.saturating_sub(u32::from(self.prefix));
        let network = |address: Ipv4Addr| u64::from(address.to_bits()) >> shift;
        network(self.address) == network(other)
    }

    /// The broadcast address, if the network has one (RFC 3021: those of 31
    /// bits have none).
    #[must_use]
    pub fn broadcast(&self) -> Option<Ipv4Addr> {
        let hosts = u32::MAX.checked_shr(u32::from(self.prefix)).unwrap_or(0);
        (self.prefix < 31).then(|| Ipv4Addr::from_bits(self.address.to_bits() | hosts))
    }
}

impl fmt::Display for Ipv4Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for Ipv4Net {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (address, prefix) = text.split_once('/').ok_or(())?;
        let address: Ipv4Addr = address.parse().map_err(|_| ())?;
        let prefix = prefix.parse().map_err(|_| ())?;
        let unusable = address.is_unspecified() || address.is_multicast() || address.is_broadcast();
        if unusable || !(1..=32).contains(&prefix) {
            return Err(());
        }
        Ok(Self { address, prefix })
    }
}
