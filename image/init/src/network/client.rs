//! The stage `dhcp`: keeps a lease for as long as the guest runs. What comes
//! from the network is parsed here, not in PID 1.

use core::{net::Ipv4Addr, time::Duration};
use std::{
    ffi::OsString,
    io::{self, ErrorKind},
    net::{IpAddr, SocketAddr, UdpSocket},
    time::Instant,
};

use nix::sys::socket::{setsockopt, sockopt};
use zipnet_attest::report;

use super::{
    Link, LinkError, Netlink, NetworkError, configure, describe,
    dhcp::{Client, Step, To},
    lease::{Lease, MAX_MESSAGE},
};
use crate::say;

const CLIENT_PORT: u16 = 68;
const SERVER_PORT: u16 = 67;
/// How often it is said that nobody answers.
const COMPLAIN: Duration = Duration::from_secs(30);
/// A link that cannot send now may send later.
const RETRY: Duration = Duration::from_secs(1);

/// DHCP came to an end; PID 1 starts it again.
#[derive(Debug, thiserror::Error)]
pub enum DhcpError {
    /// The interface.
    #[error("DHCP has no interface")]
    Link(#[from] LinkError),
    /// The socket.
    #[error("DHCP's socket does not work")]
    Socket(#[source] io::Error),
    /// No randomness.
    #[error("This machine gives no randomness")]
    Entropy(#[source] getrandom::Error),
    /// The address.
    #[error("DHCP's lease could not be used")]
    Network(#[from] NetworkError),
}

/// Gets a lease for a link and keeps it; comes back with an error only.
/// `dns` are the name servers to use instead of the lease's.
///
/// # Errors
/// [`DhcpError`].
pub fn run(link: &str, dns: &[IpAddr]) -> Result<core::convert::Infallible, DhcpError> {
    let link = Link::named(link.to_owned())?;
    let transaction = getrandom::u32().map_err(DhcpError::Entropy)?;
    let socket = open(&link).map_err(DhcpError::Socket)?;
    let mut client = Client::new(link.mac, transaction, Instant::now());
    let mut held: Option<Lease> = None;
    let mut heard = Instant::now();
    let mut buffer = [0; MAX_MESSAGE];
    loop {
        if held.is_none() && heard.elapsed() >= COMPLAIN {
            heard = Instant::now();
            say!(
                "network: no DHCP server has answered on {} for {} s; still asking",
                link.name,
                COMPLAIN.as_secs()
            );
        }
        match client.step(Instant::now()) {
            Step::Send(message, to) => {
                let to = match to {
                    To::All => Ipv4Addr::BROADCAST,
                    To::Server(server) => server,
                };
                // Lost or not: it is sent again until an answer comes.
                if let Err(error) = socket.send_to(&message, SocketAddr::from((to, SERVER_PORT))) {
                    say!("network: could not ask {to} for an address: {error}");
                }
            }
            Step::Lost(lease) => {
                say!("network: the lease of {} is over", lease.net);
                release(&link, &lease);
                held = None;
                heard = Instant::now();
            }
            Step::Wait(until) => {
                let wait = until.saturating_duration_since(Instant::now()).min(RETRY);
                let wait = wait.max(Duration::from_millis(1));
                socket
                    .set_read_timeout(Some(wait))
                    .map_err(DhcpError::Socket)?;
                let length = match socket.recv(&mut buffer) {
                    Ok(length) => length,
                    Err(error) if is_harmless(&error) => continue,
                    Err(error) => return Err(DhcpError::Socket(error)),
                };
                let bytes = buffer.get(..length).unwrap_or_default();
                if let Some(lease) = client.receive(bytes, Instant::now()) {
                    take(&link, held.as_ref(), &lease, dns)?;
                    held = Some(lease);
                }
            }
        }
    }
}

fn open(link: &Link) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, CLIENT_PORT))?;
    setsockopt(
        &socket,
        sockopt::BindToDevice,
        &OsString::from(link.name.clone()),
    )?;
    socket.set_broadcast(true)?;
    Ok(socket)
}

/// No answer yet, or the network's word that a server was not there.
fn is_harmless(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock
            | ErrorKind::TimedOut
            | ErrorKind::Interrupted
            | ErrorKind::ConnectionRefused
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::NetworkDown
    )
}

fn take(
    link: &Link,
    held: Option<&Lease>,
    lease: &Lease,
    dns: &[IpAddr],
) -> Result<(), NetworkError> {
    let of_lease: Vec<_> = lease.dns.iter().copied().map(IpAddr::V4).collect();
    let dns = if dns.is_empty() { &of_lease } else { dns };
    let same = held.is_some_and(|held| {
        (held.net, held.gateway, &held.dns) == (lease.net, lease.gateway, &lease.dns)
    });
    if same {
        return Ok(());
    }
    if let Some(held) = held {
        release(link, held);
    }
    configure(link, lease.net, lease.gateway, dns)?;
    say!(
        "network: {} has {} by DHCP from {}, for {} s",
        link.name,
        describe(lease.net, lease.gateway, dns),
        lease.server,
        lease.expire.as_secs()
    );
    Ok(())
}

fn release(link: &Link, lease: &Lease) {
    let removed =
        Netlink::open().and_then(|mut kernel| kernel.remove_address(link.index, lease.net));
    if let Err(error) = removed {
        say!("network: {}", report::chain(&error));
    }
}
