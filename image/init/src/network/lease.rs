//! DHCP's messages (RFC 2131, RFC 2132), as far as a client with one Ethernet
//! link needs them. What servers send is bounded and judged before it is
//! believed: an address that no host can have is no offer.

use core::{net::Ipv4Addr, time::Duration};

use smoltcp::wire::{DhcpMessageType, DhcpPacket, DhcpRepr, EthernetAddress};

use crate::settings::Ipv4Net;

/// Longest message that is read, in bytes: an Ethernet frame's.
pub const MAX_MESSAGE: usize = 1500;
/// Shortest that BOOTP relays take (RFC 1542, section 2.1), in bytes.
const MIN_MESSAGE: usize = 300;
const SUBNET_MASK: u8 = 1;
const ROUTER: u8 = 3;
const NAME_SERVERS: u8 = 6;
/// A lease that is shorter is renewed all the time; none is given out.
const SHORTEST: Duration = Duration::from_mins(1);
/// 32 bits of ones are for ever (RFC 2131, section 3.3); a year is, here.
const LONGEST: Duration = Duration::from_hours(24 * 365);

/// An address for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The address in its network.
    pub net: Ipv4Net,
    /// The first router.
    pub gateway: Option<Ipv4Addr>,
    /// Name servers, at most three.
    pub dns: Vec<Ipv4Addr>,
    /// Who gave it.
    pub server: Ipv4Addr,
    /// T1: when to ask that server to renew it.
    pub renew: Duration,
    /// T2: when to ask anybody.
    pub rebind: Duration,
    /// When it is over.
    pub expire: Duration,
}

/// What a server says to this client.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// An offer.
    Offer(Lease),
    /// The lease is given, or renewed.
    Ack(Lease),
    /// It is refused.
    Nak,
}

/// What a client says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// Who gives an address?
    Discover,
    /// The offered one, please.
    Request {
        /// Which.
        address: Ipv4Addr,
        /// Whose.
        server: Ipv4Addr,
    },
    /// The one that this client has, for longer; from its server or, once
    /// that is late, from anybody.
    Renew {
        /// Which.
        address: Ipv4Addr,
    },
}

/// The message for a question; `None` is impossible with these sizes.
#[must_use]
pub fn message(question: Question, mac: [u8; 6], transaction: u32, secs: u16) -> Option<Vec<u8>> {
    let unset = Ipv4Addr::UNSPECIFIED;
    let mac = EthernetAddress(mac);
    let (kind, client_ip, requested_ip, server) = match question {
        Question::Discover => (DhcpMessageType::Discover, unset, None, None),
        Question::Request { address, server } => {
            (DhcpMessageType::Request, unset, Some(address), Some(server))
        }
        Question::Renew { address } => (DhcpMessageType::Request, address, None, None),
    };
    let repr = DhcpRepr {
        message_type: kind,
        transaction_id: transaction,
        secs,
        client_hardware_address: mac,
        client_ip,
        your_ip: unset,
        server_ip: unset,
        router: None,
        subnet_mask: None,
        relay_agent_ip: unset,
        // Without an address, only broadcasts come in.
        broadcast: client_ip.is_unspecified(),
        requested_ip,
        client_identifier: Some(mac),
        server_identifier: server,
        parameter_request_list: Some(&[SUBNET_MASK, ROUTER, NAME_SERVERS]),
        dns_servers: None,
        max_size: u16::try_from(MAX_MESSAGE).ok(),
        lease_duration: None,
        renew_duration: None,
        rebind_duration: None,
        additional_options: &[],
    };
    let mut bytes = vec![0; repr.buffer_len().max(MIN_MESSAGE)];
    let mut packet = DhcpPacket::new_checked(bytes.as_mut_slice()).ok()?;
    repr.emit(&mut packet).ok()?;
    Some(bytes)
}

/// What a message says, if it is an answer to this client's transaction that
/// makes sense.
#[must_use]
pub fn answer(bytes: &[u8], mac: [u8; 6], transaction: u32) -> Option<Answer> {
    let packet = DhcpPacket::new_checked(bytes).ok()?;
    let repr = DhcpRepr::parse(&packet).ok()?;
    if repr.transaction_id != transaction || repr.client_hardware_address.0 != mac {
        return None;
    }
    let kind: fn(Lease) -> Answer = match repr.message_type {
        DhcpMessageType::Offer => Answer::Offer,
        DhcpMessageType::Ack => Answer::Ack,
        DhcpMessageType::Nak => return Some(Answer::Nak),
        _ => return None,
    };
    // Of several routers the first; the parser knows one only.
    let first = |option: &[u8]| option.first_chunk::<4>().copied().map(Ipv4Addr::from);
    let router = packet
        .options()
        .find(|option| option.kind == ROUTER)
        .and_then(|option| first(option.data));
    let net = net(repr.your_ip, repr.subnet_mask)?;
    let expire = Duration::from_secs(repr.lease_duration?.into()).clamp(SHORTEST, LONGEST);
    // RFC 2131, section 4.4.5.
    let in_order = |of: Option<u32>, otherwise: Duration| {
        let of = of.map(|seconds| Duration::from_secs(seconds.into()));
        of.filter(|of| !of.is_zero() && *of < expire)
            .unwrap_or(otherwise)
    };
    let rebind = in_order(repr.rebind_duration, expire.saturating_mul(7) / 8);
    let renew = in_order(repr.renew_duration, expire / 2).min(rebind);
    Some(kind(Lease {
        net,
        gateway: router.filter(|router| is_host(*router) && *router != net.address),
        dns: repr
            .dns_servers
            .iter()
            .flatten()
            .copied()
            .filter(|server| is_host(*server))
            .collect(),
        server: repr.server_identifier.filter(|server| is_host(*server))?,
        renew,
        rebind,
        expire,
    }))
}

/// Without a mask the old classes are no help: the link has no other host.
fn net(address: Ipv4Addr, mask: Option<Ipv4Addr>) -> Option<Ipv4Net> {
    let mask = mask.map_or(u32::MAX, Ipv4Addr::to_bits);
    let prefix = mask.leading_ones();
    let is_prefix =
        prefix > 0 && prefix.saturating_add(mask.trailing_zeros()) == 32 || mask == u32::MAX;
    let prefix = u8::try_from(prefix).ok()?;
    (is_prefix && is_host(address) && !address.is_loopback()).then_some(Ipv4Net { address, prefix })
}

fn is_host(address: Ipv4Addr) -> bool {
    !address.is_unspecified() && !address.is_broadcast() && !address.is_multicast()
}
