//! Links, addresses and routes of the kernel, over a routing socket. Each
//! request waits for the kernel's answer.

use core::net::Ipv4Addr;
use std::{io, net::IpAddr};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressMessage, AddressScope},
    link::{LinkFlags, LinkMessage},
    route::{
        RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol,
        RouteScope, RouteType,
    },
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use crate::settings::Ipv4Net;

/// How many messages of others are passed over until the answer comes.
const MAX_OTHERS: usize = 64;

/// The kernel did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// No socket.
    #[error("The kernel's routing socket does not work")]
    Socket(#[source] io::Error),
    /// It refused.
    #[error("The kernel refused to {what}")]
    Refused {
        /// What it was asked.
        what: String,
        /// Its answer.
        #[source]
        source: io::Error,
    },
    /// It said something else.
    #[error("The kernel did not answer when it was asked to {0}")]
    Answer(String),
}

/// A routing socket.
pub struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    /// Opens one.
    ///
    /// # Errors
    /// [`NetlinkError::Socket`].
    pub fn open() -> Result<Self, NetlinkError> {
        let open = || {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind_auto()?;
            socket.connect(&SocketAddr::new(0, 0))?;
            Ok(socket)
        };
        Ok(Self {
            socket: open().map_err(NetlinkError::Socket)?,
            sequence: 0,
        })
    }

    /// Takes a link up.
    ///
    /// # Errors
    /// [`NetlinkError`].
    pub fn up(&mut self, link: u32) -> Result<(), NetlinkError> {
        let mut message = LinkMessage::default();
        message.header.index = link;
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        let message = RouteNetlinkMessage::SetLink(message);
        self.request(message, 0, || format!("take link {link} up"))
    }

    /// Gives a link an address.
    ///
    /// # Errors
    /// [`NetlinkError`].
    pub fn add_address(&mut self, link: u32, net: Ipv4Net) -> Result<(), NetlinkError> {
        let message = RouteNetlinkMessage::NewAddress(address(link, net));
        self.request(message, NLM_F_CREATE | NLM_F_REPLACE, || {
            format!("take the address {net}")
        })
    }

    /// Takes an address away, with the routes over it.
    ///
    /// # Errors
    /// [`NetlinkError`].
    pub fn remove_address(&mut self, link: u32, net: Ipv4Net) -> Result<(), NetlinkError> {
        let message = RouteNetlinkMessage::DelAddress(address(link, net));
        self.request(message, 0, || format!("give the address {net} back"))
    }

    /// Routes everything else over a gateway. One outside of the link's
    /// network is taken to be on the link: some clouds give addresses of 32
    /// bits.
    ///
    /// # Errors
    /// [`NetlinkError`].
    pub fn add_default_route(
        &mut self,
        link: u32,
        net: Ipv4Net,
        gateway: Ipv4Addr,
    ) -> Result<(), NetlinkError> {
        let message = RouteNetlinkMessage::NewRoute(default_route(link, net, gateway));
        self.request(message, NLM_F_CREATE | NLM_F_REPLACE, || {
            format!("route over the gateway {gateway}")
        })
    }

    fn request(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
        what: impl Fn() -> String,
    ) -> Result<(), NetlinkError> {
        self.sequence = self.sequence.wrapping_add(1);
        let bytes = encode(message, flags, self.sequence);
        self.socket.send(&bytes, 0).map_err(NetlinkError::Socket)?;
        for _ in 0..MAX_OTHERS {
            let (bytes, _) = self.socket.recv_from_full().map_err(NetlinkError::Socket)?;
            match answer(&bytes, self.sequence) {
                None => {}
                Some(Ok(())) => return Ok(()),
                Some(Err(source)) => {
                    return Err(NetlinkError::Refused {
                        what: what(),
                        source,
                    });
                }
            }
        }
        Err(NetlinkError::Answer(what()))
    }
}

fn encode(message: RouteNetlinkMessage, flags: u16, sequence: u32) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
    header.sequence_number = sequence;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

/// What the kernel said to a request, if these bytes are about it.
fn answer(bytes: &[u8], sequence: u32) -> Option<io::Result<()>> {
    let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(bytes).ok()?;
    match message.payload {
        NetlinkPayload::Error(error) if message.header.sequence_number == sequence => {
            Some(match error.code {
                None => Ok(()),
                Some(_) => Err(error.to_io()),
            })
        }
        _ => None,
    }
}

fn address(link: u32, net: Ipv4Net) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.prefix_len = net.prefix;
    message.header.scope = AddressScope::Universe;
    message.header.index = link;
    let address = IpAddr::V4(net.address);
    message.attributes = vec![
        AddressAttribute::Local(address),
        AddressAttribute::Address(address),
    ];
    if let Some(broadcast) = net.broadcast() {
        message
            .attributes
            .push(AddressAttribute::Broadcast(broadcast));
    }
    message
}

fn default_route(link: u32, net: Ipv4Net, gateway: Ipv4Addr) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header = RouteHeader {
        address_family: AddressFamily::Inet,
        table: RouteHeader::RT_TABLE_MAIN,
        protocol: RouteProtocol::Static,
        scope: RouteScope::Universe,
        kind: RouteType::Unicast,
        flags: if net.contains(gateway) {
            RouteFlags::empty()
        } else {
            RouteFlags::Onlink
        },
        ..RouteHeader::default()
    };
    message.attributes = vec![
        RouteAttribute::Gateway(RouteAddress::Inet(gateway)),
        RouteAttribute::Oif(link),
    ];
    message
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hex(message: RouteNetlinkMessage, flags: u16) -> String {
        hex::encode(encode(message, flags, 7))
    }

    #[test]
    fn requests_are_what_the_kernel_reads() {
        // struct nlmsghdr, struct ifaddrmsg, then attributes: rtnetlink(7).
        let net = "10.0.2.15/24".parse().unwrap();
        let message = RouteNetlinkMessage::NewAddress(address(2, net));
        assert_eq!(
            hex(message, NLM_F_CREATE | NLM_F_REPLACE),
            concat!(
                "30000000", "1400", "0505", "07000000", "00000000", "02180000", "02000000", "0800",
                "0200", "0a00020f", "0800", "0100", "0a00020f", "0800", "0400", "0a0002ff",
            )
        );
        let gateway = "10.0.2.2".parse().unwrap();
        let message = RouteNetlinkMessage::NewRoute(default_route(2, net, gateway));
        assert_eq!(
            hex(message, NLM_F_CREATE),
            concat!(
                "2c000000", "1800", "0504", "07000000", "00000000", "02000000", "fe040001",
                "00000000", "0800", "0500", "0a000202", "0800", "0400", "02000000",
            )
        );
    }

    proptest! {
        #[test]
        fn any_answer_is_passed_over_or_understood(bytes: Vec<u8>, sequence: u32) {
            let _ = answer(&bytes, sequence);
        }
    }
}
