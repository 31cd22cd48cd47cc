//! Where a server or an aggregator is found.

use core::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::{canonical::Canonical, ids::PeerKey};

/// Most addresses of one door.
pub const MAX_ADDRESSES: usize = 4;

/// Where a process is found, as its bundle says: up to [`MAX_ADDRESSES`] addresses of
/// its door, which may be tried, and of a server the key under which the committee's
/// own network knows it, 32 bytes. A wrong address costs its reader a packet: whoever
/// answers has to prove the process's own key.
///
/// The zero key stands for that key itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whereabouts {
    member: PeerKey,
    addresses: Vec<SocketAddr>,
}

impl Default for Whereabouts {
    fn default() -> Self {
        Self::nowhere()
    }
}

impl Whereabouts {
    /// The first addresses of those at which a door may be found, and the key of a
    /// member of the committee's network.
    #[must_use]
    pub fn new(member: PeerKey, addresses: impl IntoIterator<Item = SocketAddr>) -> Self {
        Self {
            member,
            addresses: addresses.into_iter().take(MAX_ADDRESSES).collect(),
        }
    }

    /// A door of one who is no member of the committee's network.
    #[must_use]
    pub fn of_door(addresses: impl IntoIterator<Item = SocketAddr>) -> Self {
        Self::new(PeerKey::new([0; 32]), addresses)
    }

    /// Nothing: whoever asks has to know already.
    #[must_use]
    pub fn nowhere() -> Self {
        Self::of_door([])
    }

    /// The key in the committee's network of a process with this key of its own.
    #[must_use]
    pub fn member(&self, own: &PeerKey) -> PeerKey {
        if self.member.as_bytes() == &[0; 32] {
            *own
        } else {
            self.member
        }
    }

    /// Where it may be found.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Whether it names no more addresses than it may.
    pub(crate) const fn is_bounded(&self) -> bool {
        self.addresses.len() <= MAX_ADDRESSES
    }

    /// Adds it to what is signed: the key, the number of addresses, and of each its
    /// 16 bytes (IPv4 as mapped to IPv6) and its port.
    pub(crate) fn describe(&self, body: Canonical) -> Canonical {
        let many = u32::try_from(self.addresses.len()).unwrap_or(u32::MAX);
        let mut body = body.fixed(self.member.as_bytes()).u32(many);
        for address in &self.addresses {
            let ip = match address.ip() {
                IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                IpAddr::V6(v6) => v6,
            };
            body = body.fixed(&ip.octets()).u32(address.port().into());
        }
        body
    }
}
